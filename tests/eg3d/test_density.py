"""What is asked of density, against densities that are known."""

import numpy as np
import pytest
import torch

from faceforward.eg3d.cameras import labels, look_at
from faceforward.eg3d.density import HeadPrior, density_variation
from faceforward.eg3d.rays import rays
from faceforward.faces.mean_face import mean_face
from faceforward.faces.pose import WORLD_ORIGIN, WORLD_SCALE


def test_head_prior_is_solid_in_the_head_and_behind_the_wall():
    prior = HeadPrior()
    points = torch.tensor([prior.centre, (0.4, 0.4, -0.49), (0.4, 0.0, 0.3), (0.0, 0.0, -0.55)])
    assert prior.density(points).tolist() == [14, 14, -5, -5]
    surface = torch.tensor([prior.centre[0] + prior.half[0], *prior.centre[1:]])
    assert prior.density(surface).abs() < 1e-3


@pytest.mark.parametrize("yaw", [-40.0, -20.0, 0.0, 20.0, 40.0])
def test_no_camera_looks_past_the_wall(yaw):
    """Along every ray there is something solid, and on those beside the head nothing before the wall."""
    prior = HeadPrior()
    origins, directions = rays(labels(look_at(yaw)), 32)
    depths = torch.linspace(2.0, 3.5, 300)
    points = origins[0] + directions[0, :, None] * depths[:, None]
    solid = prior.density(points) > 0
    assert solid.any(dim=1).all()
    first = points[torch.arange(len(points)), solid.int().argmax(dim=1)]
    beside = (((first - torch.tensor(prior.centre)) / torch.tensor(prior.half)).norm(dim=-1)) > 1.05
    assert 0.2 < beside.float().mean() < 0.8
    assert (first[beside][:, 2] < prior.rim + 0.01).all()


def test_head_prior_has_its_front_where_faces_are():
    prior, face = HeadPrior(), mean_face()
    points = face.points * WORLD_SCALE + WORLD_ORIGIN
    away = np.linalg.norm((points - prior.centre) / np.array(prior.half), axis=1)
    assert away.mean() == pytest.approx(1, abs=0.1)  # shares of the half axes


def test_losses_know_what_they_ask_for(tiny, tiny_config):
    renderer = tiny.renderer
    planes = torch.zeros(2, 3, 4, 16, 16)  # the same density everywhere
    rng = torch.Generator().manual_seed(0)
    assert density_variation(renderer, planes, points=50, generator=rng).item() < 1e-6
    uneven = torch.randn(2, 3, 4, 16, 16, requires_grad=True)
    near = density_variation(renderer, uneven, points=200, distance=0.001, generator=rng)
    far = density_variation(renderer, uneven, points=200, distance=0.02, generator=rng)
    assert 0 < near < far
    far.backward()
    assert uneven.grad.abs().sum() > 0


def test_prior_can_be_learnt(tiny):
    planes = torch.zeros(1, 3, 4, 16, 16, requires_grad=True)
    optimizer = torch.optim.Adam([planes, *tiny.decoder.parameters()], lr=0.05)
    prior, first, last = HeadPrior(), None, None
    for step in range(150):
        loss = prior.loss(tiny.renderer, planes, points=300, generator=torch.Generator().manual_seed(step))
        first = first or loss.item()
        last = loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert last < first / 3
    probes = torch.tensor([prior.centre, (0.45, 0.3, 0.3)])
    inside, outside = tiny.renderer.density(planes[0], probes).tolist()
    assert inside > 1 > -1 > outside


@pytest.mark.parametrize("seed", [0, 1])
def test_points_come_from_the_generator(tiny, seed):
    planes = torch.randn(1, 3, 4, 16, 16)
    rolls = [
        HeadPrior().loss(tiny.renderer, planes, points=20, generator=torch.Generator().manual_seed(s)).item()
        for s in (seed, seed, seed + 5)
    ]
    assert rolls[0] == rolls[1] != rolls[2]
