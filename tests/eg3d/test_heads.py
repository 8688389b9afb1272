"""Heads as values, from a pair of generator and encoder and from seeds."""

import pytest
import torch

from faceforward.eg3d.heads import code
from faceforward.eg3d.image_encoder import ImageEncoder
from faceforward.eg3d.pair import PairEncoder, encode, save_pair
from faceforward.errors import ConfigurationError


@pytest.fixture
def pair(tmp_path, tiny):
    torch.manual_seed(1)
    tmp_path.joinpath("pair").mkdir()
    save_pair(tiny, ImageEncoder(8, resolution=16, widths=(4, 4, 4), hidden=8), tmp_path / "pair")
    return PairEncoder(str(tmp_path / "pair"))


@torch.no_grad()
def test_each_photograph_gets_its_own_head(pair, cameras):
    images = torch.rand(2, 3, 40, 40) * 2 - 1
    heads = pair.encode(images, cameras)
    ws, planes = encode(pair.generator, pair.encoder, images, cameras)
    expected = pair.generator.render(planes, cameras, ws).image
    assert not torch.allclose(expected[0], expected[1])
    for head, camera, picture in zip(heads, cameras, expected, strict=True):
        torch.testing.assert_close(head.render(camera[None]).image[0], picture)
    assert heads[0].render(cameras).image.shape == (2, 3, 32, 32)


def test_labels_that_are_none_are_refused(pair, cameras):
    with pytest.raises(ConfigurationError, match=r"cameras of \(2, 24\) for 2 pictures"):
        pair.encode(torch.zeros(2, 3, 32, 32), cameras[:, :24])


def test_a_seed_is_always_the_same_head(tiny):
    assert torch.equal(code(tiny, 3, 0.7), code(tiny, 3, 0.7))
    assert not torch.equal(code(tiny, 3, 0.7), code(tiny, 4, 0.7))
