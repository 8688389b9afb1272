"""The real RetinaFace network, weights by formula, inside the package's pre- and post-processing."""

from __future__ import annotations

import os
import sys
import warnings

import numpy as np
import pytest
import torch

from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.faces.mtcnn import weights_folder
from faceforward.faces.retinaface import RetinaFaceDetector, _package, load_network

#: Where the heads below put the points of a face, in sides of its box from its centre; the package's order.
POINTS = np.array([[-0.2, -0.2], [0.2, -0.2], [0.0, 0.05], [-0.15, 0.25], [0.15, 0.25]])


def network():
    """The package's network whose largest anchor fires everywhere, with landmarks at POINTS."""
    _package()
    from retinaface.model.retinaface_pth_model import RetinaFace

    torch.manual_seed(0)
    built = RetinaFace()
    for stride in (32, 16, 8):
        head = getattr(built, f"face_rpn_stride{stride}")
        for layer in (head.cls_score, head.bbox_pred, head.landmark_pred):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    head = built.face_rpn_stride32
    head.cls_score.bias.data = torch.tensor([0.0, 0.0, 6.0, -6.0])  # background of two anchors, face of two
    head.landmark_pred.bias.data[:10] = torch.tensor(POINTS, dtype=torch.float32).ravel()
    return built


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("retinaface") / "retinaface.pth"
    torch.save(network().state_dict(), path)
    return path


def test_boxes_and_points_come_back_in_the_photographs_pixels(weights, astronaut):
    """The package enlarges 256 pixels to 1024; an anchor of 512 is then 128 pixels of the photograph.

    It takes BGR and turns it round: the network has to see RGB.
    """
    picture = astronaut[:256, 100:356]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = RetinaFaceDetector(weights, threshold=0.9)
        answer, seen = detector._network, []
        detector._network = lambda images: seen.append(images) or answer(images)
        faces = detector.detect(picture)
        assert warnings.filters[0][0] == "error"  # the package would have silenced everything
    assert detector.name == "retinaface"
    assert np.abs(seen[0][0, ::4, ::4] - picture).mean() < 8
    assert faces
    areas = [(face.box[2] - face.box[0]) * (face.box[3] - face.box[1]) for face in faces]
    assert areas == sorted(areas, reverse=True)
    for face in faces:
        assert face.score == pytest.approx(1 / (1 + np.exp(-6)), abs=1e-4)
        left, right, nose, *mouth = face.landmarks
        assert left[0] < right[0]  # the person's right eye is the image's left one
        assert mouth[0][0] < mouth[1][0]
        centre = nose - 128 * POINTS[2]
        assert np.allclose(face.landmarks, centre + 128 * POINTS, atol=0.05)
        assert np.all(np.array(face.box) <= 256)
    whole = [face for face in faces if face.box[2] - face.box[0] > 126 and face.box[3] - face.box[1] > 126]
    for face in whole:
        middle = np.add(face.box[:2], face.box[2:]) / 2
        assert np.allclose(middle, face.landmarks[2] - 128 * POINTS[2], atol=1.0)


def test_an_onnx_file_is_run_by_onnx_runtime():
    """Any graph with pixels in and maps out: MTCNN's first stage stands for the 100 MB that are not here."""
    maps = load_network(weights_folder() / "pnet.onnx")(np.zeros((1, 24, 24, 3)))
    assert [m.shape for m in maps] == [(1, 7, 7, 4), (1, 7, 7, 2)]


def test_missing_weights_are_never_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsUnavailableError, match="faceforward download retinaface"):
        RetinaFaceDetector()
    with pytest.raises(WeightsUnavailableError, match=r"gone\.onnx"):
        RetinaFaceDetector(tmp_path / "gone.onnx")
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "retinaface.h5"
    path.write_bytes(b"weights of the TensorFlow network")
    with pytest.raises(ConfigurationError, match=r"\.onnx or \.pth"):
        RetinaFaceDetector(path)


def test_the_users_environment_is_left_alone(monkeypatch):
    for value in (None, "pytorch"):
        if value is None:
            monkeypatch.delenv("DEEPFACE_BACKEND_ENGINE", raising=False)
        else:
            monkeypatch.setenv("DEEPFACE_BACKEND_ENGINE", value)
        _package()
        assert os.environ.get("DEEPFACE_BACKEND_ENGINE") == value


def test_an_engine_chosen_before_is_refused(monkeypatch):
    _package()
    backend_utils = sys.modules["retinaface.commons.backend_utils"]
    monkeypatch.setattr(backend_utils, "_backend_engine", "pytorch")
    with pytest.raises(ConfigurationError, match="DEEPFACE_BACKEND_ENGINE=onnx"):
        _package()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "retinaface", None)
    with pytest.raises(WeightsUnavailableError, match="pip install retina-face"):
        _package()
