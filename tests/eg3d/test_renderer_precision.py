"""Under autocast rays, rendering and density are those of float32, and so is the planes' gradient."""

import pytest
import torch
from torch.nn import functional as F

from faceforward.eg3d.cameras import labels, look_at
from faceforward.eg3d.density import HeadPrior, density_variation
from faceforward.eg3d.rays import rays
from faceforward.eg3d.renderer import Decoder, Renderer, RenderSettings

CAMERAS = labels(look_at([0.0, 40.0], [0.0, 10.0]))
OFF, ON = ({"enabled": enabled, "dtype": torch.bfloat16} for enabled in (False, True))


@pytest.fixture
def renderer():
    torch.manual_seed(0)
    return Renderer(Decoder(4, 3), RenderSettings(samples=12, importance_samples=12))


@pytest.fixture
def planes():
    return torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_ray_keeps_its_direction(dtype):
    with torch.autocast("cpu", **ON):
        origins, directions = rays(CAMERAS.to(dtype), 128)
    assert origins.dtype == directions.dtype == torch.float32
    assert len(directions[1].unique(dim=0)) == 128**2
    if dtype == torch.float32:
        assert torch.equal(directions, rays(CAMERAS, 128)[1])


def _gradient(loss, planes, context):
    leaf = planes.clone().requires_grad_()
    with torch.autocast("cpu", **context):
        value = loss(leaf)
    value.backward()
    return value.detach(), leaf.grad


@pytest.mark.parametrize("which", ["picture", "variation", "prior"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_those_of_float32(renderer, planes, which, dtype):
    def loss(leaf):
        rng = torch.Generator().manual_seed(2)
        if which == "variation":
            return density_variation(renderer, leaf, generator=rng)
        if which == "prior":
            return HeadPrior().loss(renderer, leaf, generator=rng)
        seen = renderer(leaf, CAMERAS, 16, generator=rng)
        assert seen.features.dtype == seen.depth.dtype == torch.float32
        return (seen.features.square() + seen.depth).mean()

    planes = planes.to(dtype)  # as autocast leaves them behind
    expected, gradient = _gradient(loss, planes.float(), OFF)
    found, other = _gradient(loss, planes, ON)
    torch.testing.assert_close(found, expected)
    assert F.cosine_similarity(other.float().flatten(), gradient.flatten(), dim=0) > 0.9999
