"""What the generator promises at any size: values, gradients, chunks, shared codes."""

import dataclasses

import numpy as np
import pytest
import torch

from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.eg3d.planes import AXES, plane_features
from faceforward.eg3d.renderer import Renderer, RenderSettings, march
from faceforward.eg3d.resampling import resample_filter, upsample
from faceforward.errors import ConfigurationError


def codes(tiny, count=1, seed=1):
    return torch.randn(count, tiny.config.z, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_planes_are_values(tiny, cameras):
    ws = tiny.map(codes(tiny), cameras[:1])
    planes = tiny.planes(ws)
    together = tiny.render(planes, cameras, ws)
    for index in range(2):
        alone = tiny.render(planes, cameras[index : index + 1], ws)
        for name in ("image", "raw", "depth", "opacity"):
            torch.testing.assert_close(getattr(together, name)[index], getattr(alone, name)[0])
    assert (together.raw[0] - together.raw[1]).abs().max() > 1e-3
    assert together.image.shape == (2, 3, 32, 32)
    assert together.depth.shape == together.opacity.shape == (2, 1, 8, 8)


@torch.no_grad()
def test_codes_of_their_own_and_one_for_all_agree(tiny, cameras):
    ws = tiny.map(codes(tiny), cameras[:1])
    planes = tiny.planes(ws)
    shared = tiny.render(planes, cameras, ws)
    own = tiny.render(planes.expand(2, -1, -1, -1, -1), cameras, ws.expand(2, -1, -1))
    torch.testing.assert_close(shared.image, own.image, rtol=1e-4, atol=1e-5)
    both = tiny.planes(torch.cat([ws, ws]))  # the layers' other way
    torch.testing.assert_close(both[:1], planes, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_of_rays_change_memory_alone(tiny, cameras, chunk):
    ws = tiny.map(codes(tiny), cameras[:1])
    planes = tiny.planes(ws)
    whole = tiny.render(planes, cameras[:1], ws, chunk=4096)
    parts = tiny.render(planes, cameras[:1], ws, chunk=chunk)
    torch.testing.assert_close(parts.raw, whole.raw)
    torch.testing.assert_close(parts.image, whole.image)


@torch.no_grad()
def test_jitter_moves_the_samples_and_is_drawn_from_its_generator(tiny, cameras):
    ws = tiny.map(codes(tiny), cameras[:1])
    planes = tiny.planes(ws)
    drawn = [
        tiny.render(planes, cameras[:1], ws, generator=torch.Generator().manual_seed(seed)).raw
        for seed in (3, 3, 4)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_batches_that_do_not_fit_are_refused(tiny, cameras):
    ws = tiny.map(codes(tiny, 3), cameras[:1].expand(3, -1))
    with pytest.raises(ValueError, match="3 ws for 2 cameras"):
        tiny.render(torch.zeros(1, 3, 4, 16, 16), cameras, ws)


@torch.no_grad()
def test_truncation_goes_to_the_average(tiny, cameras):
    tiny.backbone.mapping.w_avg.copy_(torch.arange(8.0))
    ws = tiny.map(codes(tiny), cameras[:1])
    none = tiny.map(codes(tiny), cameras[:1], truncation=0.0)
    half = tiny.map(codes(tiny), cameras[:1], truncation=0.5, cutoff=2)
    assert torch.equal(none[0, 0], torch.arange(8.0))
    torch.testing.assert_close(half[:, :2], (ws[:, :2] + torch.arange(8.0)) / 2)
    assert torch.equal(half[:, 2:], ws[:, 2:])


def test_gradients_are_those_of_finite_differences(tiny_config, cameras):
    torch.manual_seed(0)
    # Importance samples are chosen without gradients, so that finite differences would see more.
    config = dataclasses.replace(
        tiny_config, raw_resolution=4, resolution=16, render=RenderSettings(samples=6, importance_samples=0)
    )
    generator = TriPlaneGenerator(config).double().eval()
    camera = cameras[1:].double()
    ws = generator.map(codes(generator).double(), camera).detach().requires_grad_()

    def image(given):
        return generator.render(generator.planes(given), camera, given).image

    torch.autograd.gradcheck(image, (ws,), atol=1e-6, rtol=1e-3, fast_mode=True)
    planes = generator.planes(ws.detach()).detach().requires_grad_()
    torch.autograd.gradcheck(
        lambda given: generator.render(given, camera, ws.detach()).image, (planes,), rtol=1e-3, fast_mode=True
    )
    weight = generator.superresolution.block0.conv0.weight
    (gradient,) = torch.autograd.grad(image(ws.detach()).square().sum(), weight)
    step, direction = 1e-6, torch.randn_like(weight)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * step * direction
            values.append(float(image(ws.detach()).square().sum()))
            weight -= sign * step * direction
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(
        float((gradient * direction).sum()), rel=1e-4
    )


@torch.no_grad()
def test_every_parameter_counts(tiny, cameras):
    before = tiny(codes(tiny), cameras[:1]).image
    for name, parameter in tiny.named_parameters():
        if "superresolution" in name and "noise_strength" in name:
            continue  # the release renders without noise there
        kept = parameter.clone()
        parameter += 0.1
        assert not torch.equal(tiny(codes(tiny), cameras[:1]).image, before), name
        parameter.copy_(kept)


def test_upsampling_is_zeros_and_a_low_pass():
    x = torch.randn(1, 2, 5, 5)
    spread = torch.zeros(1, 2, 10, 10)
    spread[:, :, ::2, ::2] = x
    padded = torch.nn.functional.pad(spread, (2, 1, 2, 1))
    kernel = (4 * resample_filter()).flip((0, 1)).expand(2, 1, 4, 4)
    expected = torch.nn.functional.conv2d(padded, kernel, groups=2)
    torch.testing.assert_close(upsample(x), expected)
    assert resample_filter().sum() == pytest.approx(1)


@pytest.mark.parametrize("axes", ["released", "corrected"])
def test_planes_lie_over_their_axes(axes):
    settings = RenderSettings(plane_axes=axes, box_warp=2.0)
    ramp = (torch.arange(16.0) + 0.5) / 8 - 1  # a plane's value is its own coordinate
    planes = torch.stack([ramp.expand(16, 16), ramp[:, None].expand(16, 16)])  # columns, rows
    points = torch.tensor([[0.1, 0.3, -0.5], [-0.2, 0.6, 0.4]])
    for number, (column, row) in enumerate(AXES[axes]):
        one = torch.zeros(3, 2, 16, 16)
        one[number] = planes
        found = plane_features(one, points, settings) * 3
        torch.testing.assert_close(found, points[:, [column, row]], atol=1e-5, rtol=1e-5)
    assert (plane_features(torch.ones(3, 1, 16, 16), torch.tensor([[5.0, 0, 0]]), settings) < 1).all()


@pytest.mark.parametrize("axes", ["released", "corrected"])
def test_pixels_read_together_are_those_of_grid_sample(axes):
    """Within the box, at its edge and far outside, values and gradients."""
    settings = RenderSettings(plane_axes=axes)
    planes = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    points = (torch.rand(20_000, 3, generator=torch.Generator().manual_seed(1)) - 0.5) * 1.4
    points[:3] = torch.tensor([[0.5, -0.5, 0.5], [1e12, 0.0, 0.0], [0.4375, 0.4375, -0.4375]])
    values = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(2))
    together = plane_features(planes, points, settings)
    apart = plane_features(planes, points.clone().requires_grad_(), settings)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)
    one, two = (torch.autograd.grad(found, planes, values)[0] for found in (together, apart))
    torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-4)


def test_pixels_read_together_have_gradients_of_gradients():
    settings = RenderSettings(plane_axes="corrected")
    points = torch.rand(7, 3, generator=torch.Generator().manual_seed(1)).double() - 0.5
    planes = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0)).double().requires_grad_()

    def features(planes):
        return plane_features(planes, points, settings).square()

    assert torch.autograd.gradcheck(features, planes)
    assert torch.autograd.gradgradcheck(features, planes)


def test_marching_through_fog_is_beer_and_lambert():
    depths = torch.linspace(2.25, 3.3, 50).expand(2, -1)
    densities = torch.tensor([[0.5], [4.0]]).expand(-1, 50)
    shares, depth, weights = march(densities, depths)
    thickness = torch.nn.functional.softplus(densities[:, 0] - 1) * (3.3 - 2.25)
    torch.testing.assert_close(weights.sum(1), 1 - torch.exp(-thickness))
    torch.testing.assert_close(shares.sum(1), weights.sum(1))
    assert 2.25 < depth[1] < depth[0] < 3.3


def test_a_wall_is_found_where_it_stands(cameras):
    class Wall(torch.nn.Module):
        def forward(self, features):
            return features[:, :1] * 1e4 - 5e3, features.new_full((len(features), 3), 0.25)

    planes = torch.zeros(1, 3, 1, 64, 64)
    planes[0, 1, 0, 32:] = 3.0  # filled where z > 0: rows of the second plane
    rendered = Renderer(Wall(), RenderSettings(plane_axes="corrected"))(planes, cameras[:1], 9)
    middle = rendered.depth[0, 0, 4, 4]
    assert middle == pytest.approx(2.25, abs=0.03)  # the box is full from its front to the middle
    assert rendered.opacity[0, 0, 4, 4] == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(rendered.features[0, :, 4, 4], -0.5, atol=2e-3)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_close(tiny, cameras, dtype):
    ws = tiny.map(codes(tiny), cameras[:1])
    exact = tiny.render(tiny.planes(ws), cameras[:1], ws).image
    planes = tiny.planes(ws, dtype=dtype)
    assert planes.dtype == torch.float32
    close = tiny.render(planes, cameras[:1], ws, dtype=dtype).image
    assert (close - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_super_resolution_by_two_keeps_the_raw_side(tiny_config, cameras):
    torch.manual_seed(0)
    config = dataclasses.replace(tiny_config, sr_factor=2, raw_resolution=16)
    generator = TriPlaneGenerator(config).eval()
    assert generator.superresolution.side == 16
    assert not generator.superresolution.block0.up
    ws = generator.map(torch.randn(2, 8), cameras)
    with torch.no_grad():
        view = generator.render(generator.planes(ws), cameras, ws)
    assert view.raw.shape == (2, 3, 16, 16)
    assert view.image.shape == (2, 3, 32, 32)


def test_shapes_of_no_generator_are_refused(tiny_config):
    for wrong in ({"sr_factor": 3}, {"resolution": 100}, {"features": 2}, {"z": 0}, {"clamp": float("nan")}):
        with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))} is "):
            dataclasses.replace(tiny_config, **wrong)


def test_views_of_nothing_are_refused(tiny, cameras):
    ws = tiny.map(torch.randn(2, 8), cameras)
    planes = tiny.planes(ws)
    for wrong in ({"raw_resolution": 0}, {"raw_resolution": -3}, {"chunk": 0}):
        with pytest.raises(ValueError, match="give 1 or more"):
            tiny.render(planes, cameras, ws, **wrong)
    for odd in (cameras[:, :16], cameras[:0]):
        with pytest.raises(ValueError, match="25"):
            tiny.render(planes[: len(odd)], odd, ws[: len(odd)])
