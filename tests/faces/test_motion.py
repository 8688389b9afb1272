import numpy as np

from faceforward.faces.motion import at_side, blurred, motion, moved


def textured(shift=(0, 0)):
    """Blurred noise, moved by whole pixels."""
    noise = np.random.default_rng(0).normal(128, 60, (160, 160, 3)).astype(np.float32)
    soft = blurred(noise, 4)
    soft = 128 + (soft - 128) * 12
    return np.clip(np.roll(soft, shift, axis=(0, 1))[16:-16, 16:-16], 0, 255)


def test_the_flow_of_a_shift_is_that_shift():
    flow = motion(textured((2, -3)), textured())
    middle = flow[20:-20, 20:-20].reshape(-1, 2)
    np.testing.assert_allclose(np.median(middle, axis=0), [3, -2], atol=0.4)
    again = moved(textured(), flow)[20:-20, 20:-20]
    assert (
        np.abs(again - textured((2, -3))[20:-20, 20:-20]).mean()
        < 0.3 * np.abs(textured()[20:-20, 20:-20] - textured((2, -3))[20:-20, 20:-20]).mean()
    )


def test_pictures_without_anything_in_common_do_not_flow():
    other = np.random.default_rng(1).normal(128, 60, (128, 128, 3)).astype(np.float32)
    still = np.abs(motion(textured(), textured())).mean()
    assert still < 0.05
    assert np.isfinite(motion(blurred(other, 3), textured())).all()


def test_a_picture_moves_by_its_field():
    picture = textured()
    field = np.zeros((128, 128, 2), np.float32)
    field[..., 0] = 5
    np.testing.assert_allclose(moved(picture, field)[:, :-8], picture[:, 5:-3], atol=1e-3)


def test_sides():
    picture = textured()
    assert at_side(picture, 128) is picture
    assert at_side(picture, 300).shape == (300, 300, 3)
    np.testing.assert_allclose(at_side(picture, 64).mean(), picture.mean(), rtol=1e-4)
