import pytest
import torch

from faceforward.diffusion.blending import LocalBlend
from faceforward.errors import ConfigurationError


def attention(*peaks, side=8):
    """A map of 0.1 with values at given positions."""
    maps = torch.full((side, side), 0.1)
    for row, column, value in peaks:
        maps[row, column] = value
    return maps


def test_a_mask_by_hand():
    """A peak grows to 3 x 3 by pooling and to 6 x 6 by resizing; what reaches 0.3 of the maximum counts."""
    source = attention((1, 1, 1.0))
    target = attention((5, 5, 2.0), (1, 6, 0.59))  # 0.59 / 2 is below the threshold
    masks = LocalBlend().masks(torch.stack([source, target]), (16, 16))
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[0:6, 0:6] = True  # the source's
    expected[8:14, 8:14] = True  # the target's
    assert masks.shape == (1, 1, 16, 16)
    assert torch.equal(masks[0, 0], expected)


def test_the_threshold_is_strict_and_relative():
    # 0.75 of the maximum is exact in floating point: not above the threshold
    masks = LocalBlend(threshold=0.75, pool=1).masks(
        torch.stack([attention((0, 0, 8.0)), attention((0, 0, 8.0), (3, 3, 6.0))]), (8, 8)
    )
    assert masks[0, 0].nonzero().tolist() == [[0, 0]]


def test_each_target_has_its_own_mask():
    maps = torch.stack([attention((0, 0, 1.0)), attention((3, 3, 1.0)), attention((6, 6, 1.0))])
    masks = LocalBlend(pool=1).masks(maps, (8, 8))
    assert masks[:, 0].nonzero().tolist() == [[0, 0, 0], [0, 3, 3], [1, 0, 0], [1, 6, 6]]


@pytest.mark.parametrize("pool", [0, 2])
def test_pool_is_odd(pool):
    with pytest.raises(ConfigurationError, match="odd number"):
        LocalBlend(pool=pool)
