"""The shipped face model: symmetric, in the standard frame, numbers alone; and what is refused."""

import numpy as np
import pytest

from faceforward import pretrained
from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.faces.crop3d import FIVE_POINTS
from faceforward.faces.face_model import FILE, FIRST_OF_FIVE, face_model, save_face_model
from faceforward.faces.landmarks import MIRRORED_68

MIRRORED = np.concatenate([MIRRORED_68, FIRST_OF_FIVE + np.array([1, 0, 2, 4, 3])])


def test_it_is_symmetric():
    model = face_model()
    other = model.only(MIRRORED[model.numbers])
    assert np.allclose(model.mean, other.mean * [-1, 1, 1], atol=1e-4)
    assert np.allclose(model.modes, other.modes * [-1, 1, 1], atol=1e-4)
    assert np.allclose(model.noise, other.noise, atol=1e-7)


def test_it_lies_in_the_standard_frame():
    model = face_model()
    five = model.only(np.arange(FIRST_OF_FIVE, FIRST_OF_FIVE + 5))
    assert np.abs(five.mean - FIVE_POINTS).max() < 0.03
    assert np.abs(model.mean).max() < 1
    assert (model.noise > 0).all()


def test_modes_hold_nothing_that_looks_like_a_turn():
    model = face_model()
    middle = model.mean - model.mean.mean(axis=0)
    for to, by in ((1, 2), (2, 1), (2, 2)):
        pattern = np.zeros_like(middle)
        pattern[:, to] = middle[:, by]
        pattern /= np.linalg.norm(pattern)
        assert np.abs((model.modes * pattern).sum(axis=(1, 2))).max() < 0.03


def test_the_file_is_small_and_holds_numbers():
    path = pretrained.EMBEDDED / FILE
    assert path.stat().st_size < 20_000
    with np.load(path, allow_pickle=False) as stored:
        assert {name: stored[name].dtype.kind for name in stored.files} == {
            "numbers": "i",
            "mean": "f",
            "modes": "f",
            "noise": "f",
        }


def test_it_survives_the_disk(tmp_path):
    model = face_model()
    save_face_model(model, tmp_path / "m.npz")
    again = face_model(tmp_path / "m.npz")
    assert again.digest == model.digest
    assert (again.mean == model.mean).all()
    save_face_model(model.only(model.numbers[:9]), tmp_path / "other.npz")
    assert face_model(tmp_path / "other.npz").digest != model.digest


def test_points_that_it_lacks():
    with pytest.raises(ValueError, match="has the points"):
        face_model().only(np.array([30, 0]))


def test_no_file_and_no_model(tmp_path):
    with pytest.raises(WeightsUnavailableError, match="reinstall faceforward"):
        face_model(tmp_path / "m.npz")
    (tmp_path / "m.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "n.npz", mean=np.zeros(3))
    for name in ("m.npz", "n.npz"):
        with pytest.raises(ConfigurationError, match="is no face model"):
            face_model(tmp_path / name)
