"""Cameras that are off find back to where a picture was taken from."""

import pytest
import torch

from faceforward.eg3d import cameras
from faceforward.eg3d.refinement import refine_cameras

SIDE = 24


def render(labels: torch.Tensor) -> torch.Tensor:
    """A head of 20 soft coloured balls."""
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(20, 3, generator=generator) - 0.5) * torch.tensor([0.45, 0.45, 0.3])
    colours = torch.rand(20, 3, generator=generator)
    seen = cameras.project(points + torch.tensor(cameras.PIVOT), labels)
    axis = (torch.arange(SIDE) + 0.5) / SIDE
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    weight = torch.exp(-(grid[None, None] - seen[:, :, None, None]).square().sum(-1) / (2 * 0.05**2))
    return torch.einsum("nphw,pc->nchw", weight, colours).clamp(max=2) - 1


@pytest.fixture(scope="module")
def cameras_and_pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    truth = cameras.at_radius(cameras.labels(cameras.look_at([0, 25, -50], [5, -5, 8], [0, 4, -6])))
    start = cameras.at_radius(cameras.labels(cameras.look_at([5, 20, -46], [1, -1, 4], [3, 0, -8])))
    return start, truth, render(truth)


def error(labels: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return cameras.rotation_error(cameras.pose(labels), cameras.pose(truth))


def test_the_camera_is_found(cameras_and_pictures: tuple[torch.Tensor, ...]) -> None:
    start, truth, pictures = cameras_and_pictures
    with torch.inference_mode(False), torch.no_grad():
        refined = refine_cameras(start, pictures, render, steps=60)
    assert (error(start, truth) > 5).all()
    assert (error(refined.label, truth) < 1.5).all()
    assert (refined.losses[:, -1] < 0.3 * refined.losses[:, 0]).all()
    torch.testing.assert_close(refined.degrees, error(refined.label, start))
    torch.testing.assert_close(refined.label[:, [3, 7, 11]].norm(dim=1), torch.full((3,), 2.7))
    assert not refined.label.requires_grad


def test_no_step_is_no_change(cameras_and_pictures: tuple[torch.Tensor, ...]) -> None:
    start, _, pictures = cameras_and_pictures
    refined = refine_cameras(start, pictures, render, steps=0)
    torch.testing.assert_close(refined.label, start)
    assert refined.losses.shape == (3, 1)


def test_a_camera_that_would_end_worse_stays(cameras_and_pictures: tuple[torch.Tensor, ...]) -> None:
    _, truth, pictures = cameras_and_pictures
    refined = refine_cameras(truth, pictures, render, steps=3, rate=0.2)
    torch.testing.assert_close(refined.label, truth)


def test_pictures_that_cannot_work(cameras_and_pictures: tuple[torch.Tensor, ...]) -> None:
    start, _, pictures = cameras_and_pictures
    with pytest.raises(ValueError, match="do not depend on the cameras"):
        refine_cameras(start, pictures, lambda labels: render(labels).detach())
    with pytest.raises(ValueError, match=r"rendered \(3, 3, 24, 24\)"):
        refine_cameras(start, pictures[..., :12], render)
