"""The module: photographs become results, everything else a record that says why not."""

import json

import numpy as np
import pytest

from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.faces.camera import CameraResult
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.modules.camera_estimator import CameraEstimator
from faceforward.records import Photo, Rejected


@pytest.fixture(scope="module")
def module():
    return CameraEstimator(detector=MTCNNDetector(), size=64)


def photo(pixels, **facts):
    return Photo(id="a", file="a.png", pixels=pixels, **facts)


def test_a_photograph_becomes_its_camera(module, astronaut):
    result = module.predict_step(photo(astronaut, notes=("scanned",)), 0)
    assert isinstance(result, CameraResult)
    assert result.estimate.crop.shape == (64, 64, 3)
    assert result.notes == ("scanned",)
    assert result.settings == module.settings(face=None)
    assert json.loads(json.dumps(result.settings)) == result.settings
    again = module.predict_step(photo(astronaut), 0)
    assert again.estimate.label.equal(result.estimate.label)


def test_what_is_no_photograph_passes(module):
    record = Rejected("a", "a.png", "skipped", "empty")
    assert module.predict_step(record, 0) is record


def test_no_face_is_skipped(module):
    record = module.predict_step(photo(np.full((200, 200, 3), 128, np.uint8)), 0)
    assert record.status == "skipped"
    assert "No face was found" in record.reason


def test_a_face_that_is_not_there_is_skipped(module, astronaut):
    record = module.predict_step(photo(astronaut, face=7), 0)
    assert record.status == "skipped"
    assert "no face 7" in record.reason


class _Broken:
    """A mesh with a fault, or one that cannot work at all."""

    name = "broken"

    def __init__(self, error):
        self.error = error

    def fit(self, image, landmarks):
        raise self.error


def test_our_own_fault_costs_one_photograph(astronaut):
    module = CameraEstimator(mesh=_Broken(RuntimeError("a fault")), detector=MTCNNDetector())
    record = module.predict_step(photo(astronaut), 0)
    assert (record.status, record.reason) == ("failed", "RuntimeError: a fault")
    module = CameraEstimator(mesh=_Broken(WeightsUnavailableError("no weights")), detector=MTCNNDetector())
    with pytest.raises(WeightsUnavailableError):
        module.predict_step(photo(astronaut), 0)


def test_settings_tell_what_decides(module, tmp_path):
    other = CameraEstimator(detector=MTCNNDetector(), size=128)
    assert other.settings(face=None) != module.settings(face=None)
    assert module.settings(face=2) != module.settings(face=None)


def test_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="16 pixels at least"):
        CameraEstimator(size=0)
    with pytest.raises(ConfigurationError, match="mean face"):
        CameraEstimator(mean=tmp_path / "none.npz", detector=MTCNNDetector())
