"""Inversion, edits, fusion and refinement on tiny networks of the real classes."""

from dataclasses import replace

import pytest
import torch

from faceforward.eg3d import cameras as cam
from faceforward.errors import ConfigurationError
from faceforward.goae.afa import Afa, AfaConfig
from faceforward.goae.encoder import GoaeEncoder
from faceforward.goae.fusion import mix, visibility
from faceforward.goae.halves import first_half, second_half
from faceforward.goae.inversion import Goae
from faceforward.goae.people import fuse
from faceforward.goae.refine import refine_heads
from tiny_crops import TINY
from tiny_goae import TINY_ENCODER, tiny_goae

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network():
    return tiny_goae()


@pytest.fixture(scope="module")
def photographs():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(3, 3, 32, 32, generator=generator) * 2 - 1, cam.labels(cam.look_at([-20.0, 0.0, 20.0]))


def test_batches_are_the_single_ones(network, photographs):
    images, cameras = photographs
    together = network.invert(images, cameras)
    for index in range(3):
        alone = network.invert(images[index : index + 1], cameras[index : index + 1])
        torch.testing.assert_close(together.planes[index], alone.planes[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.mask[index], alone.mask[0])
    assert not together.planes.requires_grad
    assert together.render(cameras).image.shape == (3, 3, 32, 32)
    assert together.render(cameras, head=1).image.shape == (3, 3, 32, 32)


def test_halves_are_the_whole(network):
    ws = torch.randn(2, network.generator.num_ws, 8)
    whole = network.generator.planes(ws)
    assert torch.equal(second_half(network.generator, ws, first_half(network.generator, ws, 8)), whole)
    with pytest.raises(ConfigurationError, match="split at 16"):
        first_half(network.generator, ws, 16)


def test_stages_reach_their_codes_only(network, photographs):
    images, _ = photographs
    base = network.encoder.codes(images)[1]
    for stage, end in (("base", 1), ("coarse", 2), ("mid", 4), ("fine", 6)):
        offsets = network.encoder(images, stage) - base
        moved = offsets.abs().amax(dim=(0, 2)) > 0
        assert moved.tolist() == [0 < layer < end for layer in range(6)]


def test_an_edit_of_nothing_changes_nothing_and_one_and_back_neither(network, photographs):
    found = network.invert(*photographs)
    torch.testing.assert_close(found.edit(torch.zeros(6, 8)).planes, found.planes)
    delta = torch.randn(3, 6, 8)
    edited = found.edit(delta)
    assert (edited.planes - found.planes).abs().mean() > 1e-2
    torch.testing.assert_close(edited.edit(-delta).planes, found.planes, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="an edit of"):
        found.edit(torch.zeros(8))


def test_without_afa_planes_are_those_of_the_codes(photographs):
    plain = tiny_goae(afa=False)
    found = plain.invert(*photographs)
    torch.testing.assert_close(found.planes, plain.generator.planes(found.ws))
    delta = torch.randn(6, 8)
    torch.testing.assert_close(found.edit(delta).planes, plain.generator.planes(found.ws + delta))


def test_a_place_is_seen_where_points_are():
    settings = TINY.render
    grid = torch.linspace(-0.2, 0.2, 60)
    points = torch.cartesian_prod(grid, grid)
    points = torch.cat([points + torch.tensor([0.15, 0.0]), torch.full((3600, 1), 0.1)], dim=1)[None]
    mask = visibility(points, 64, settings)[0, 0]
    assert mask[32, 41] > 0.99  # x 0.15 right of the middle: columns are x
    assert mask[32, 8] == 0
    assert mask[3, 41] == 0
    points[..., 2] = torch.linspace(0.05, 0.15, 60).repeat(60)
    side = visibility(points, 64, settings, plane=1)[0, 0]
    assert side[38, 41] > 0.99  # z 0.1: rows of the second plane are z
    assert side[32, 41] < 0.5


def test_mixing_leaves_the_other_planes():
    aligned, plain = torch.ones(1, 3, 2, 4, 4), torch.zeros(1, 3, 2, 4, 4)
    mixed = mix(aligned, plain, torch.full((1, 1, 4, 4), 0.25))
    assert (mixed[:, 0] == 0.25).all()
    assert (mixed[:, 1:] == 1).all()


def test_one_photograph_fused_is_itself_and_several_agree(network, photographs):
    images, cameras = photographs
    alone = network.invert(images[:1], cameras[:1])
    torch.testing.assert_close(fuse(alone, cameras[:1]).planes, alone.planes, rtol=1e-3, atol=1e-4)
    same = network.invert(images[:1].repeat(3, 1, 1, 1), cameras[:1].repeat(3, 1))
    torch.testing.assert_close(
        fuse(same, cameras[:1].repeat(3, 1)).planes, alone.planes, rtol=1e-3, atol=1e-4
    )
    several = fuse(network.invert(images, cameras), cameras)
    assert several.planes.shape == alone.planes.shape
    assert several.seen.shape == (3, 3, 16, 16)
    with pytest.raises(ValueError, match="cameras of its photographs"):
        fuse(alone, cameras)


@pytest.mark.parametrize("what", ["ws", "planes"])
def test_refinement_keeps_the_best_and_is_off(network, photographs, what):
    images, cameras = photographs
    found = network.invert(images, cameras)
    off = refine_heads(found, images, cameras, what=what)
    torch.testing.assert_close(off.planes, found.planes, rtol=1e-4, atol=1e-5)
    done = refine_heads(found, images, cameras, what=what, steps=8, rate=0.05)
    view = network.generator.render(done.planes, cameras, done.ws)
    before, after = ((v.image - images).abs().mean(dim=(1, 2, 3)) for v in (found.render(cameras), view))
    assert (done.losses.amin(dim=1) < done.losses[:, 0]).all()
    assert (after < before).all()
    wild = refine_heads(found, images, cameras, what=what, steps=2, rate=1e4)
    torch.testing.assert_close(wild.planes, found.planes, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigurationError, match="0 to 500"):
        refine_heads(found, images, cameras, steps=501)


def test_what_does_not_fit_is_refused(network, photographs):
    images, cameras = photographs
    with pytest.raises(ConfigurationError, match="the generator's side"):
        network.invert(images[..., :16, :16], cameras)
    with pytest.raises(ConfigurationError, match="give \\(3, 25\\)"):
        network.invert(images, cameras[:2])
    with pytest.raises(ConfigurationError, match="another generator"):
        Goae(network.generator, GoaeEncoder(replace(TINY_ENCODER, codes=(1, 2, 3))))
    with pytest.raises(ConfigurationError, match="another generator"):
        Goae(network.generator, network.encoder, Afa(AfaConfig((16,), 1, 12, 8, 2, 16)))
