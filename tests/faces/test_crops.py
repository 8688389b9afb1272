import numpy as np
import pytest

from faceforward.faces.crops import Window, check_crop, cut


def test_a_window_is_cut_where_it_says():
    image = np.zeros((100, 100, 3), np.uint8)
    image[40:60, 50:70] = 255
    assert (cut(image, Window(0.6, 0.5, 0.2), 20) == 255).all()


def test_the_same_window_is_seen_at_every_size(astronaut):
    window = Window(0.5, 0.6, 0.61)
    large, small = cut(astronaut, window, 64), cut(astronaut[::2, ::2], window, 64)
    assert np.abs(large.astype(int) - small).mean() < 6


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((32, 32, 3), np.float32),
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32, 40, 3), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
    ],
)
def test_what_is_no_crop_is_refused(image):
    with pytest.raises(ValueError, match="crop"):
        check_crop(image)
