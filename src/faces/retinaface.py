"""RetinaFace: the better face detector, once its weights are on this machine."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.faces.detect import largest_first, ordered_landmarks
from faceforward.records import Detection

Network = Callable[[np.ndarray], list[np.ndarray]]

ENGINE = "DEEPFACE_BACKEND_ENGINE"  # the variable by which `retina-face` is told what to import


class RetinaFaceDetector:
    """Single-stage detector with a ResNet-50 and five landmarks (Deng et al., CVPR 2020, arXiv 1905.00641).

    Pre- and post-processing are those of the package `retina-face`, which downloads weights unasked; here the
    network is built from a file that must be there and handed to the package.

    Args:
        weights: `retinaface.onnx` or `retinaface.pth` as the package publishes them; None takes what
            `faceforward download retinaface` has fetched.
        threshold: Least score of a face.

    Raises:
        WeightsUnavailableError: The weights are not there.
        ConfigurationError: The file is neither `.onnx` nor `.pth`.
    """

    name = "retinaface"

    def __init__(self, weights: Path | None = None, *, threshold: float = 0.9) -> None:
        self.threshold = threshold
        self._package = _package()
        self._network = load_network(weights or _located())

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Find the faces in `image`, `(H, W, 3)` uint8 RGB; the largest first."""
        answer = self._package.detect_faces(
            np.ascontiguousarray(image[..., ::-1]), threshold=self.threshold, model=self._network
        )
        names = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")  # right is the person's
        found = [
            Detection(
                box=tuple(float(edge) for edge in face["facial_area"]),
                landmarks=ordered_landmarks(np.array([face["landmarks"][name] for name in names])),
                score=float(face["score"]),
            )
            for face in answer.values()
        ]
        return largest_first(found, image.shape)


def load_network(weights: Path) -> Network:
    """Build the network from a file: NHWC pixels in, the nine score, box and landmark maps out.

    Raises:
        WeightsUnavailableError: The file, or the package `retina-face`, is not here.
    """
    if not weights.is_file():
        raise WeightsUnavailableError(
            f"There are no RetinaFace weights at {weights}: faceforward download retinaface"
        )
    _package()
    if weights.suffix == ".onnx":
        import onnxruntime
        from retinaface.model.retinaface_onnx_model import RetinaFace as OnnxRetinaFace

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        available = onnxruntime.get_available_providers()
        wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
        return OnnxRetinaFace(onnxruntime.InferenceSession(str(weights), options, providers=wanted))
    if weights.suffix == ".pth":
        import torch
        from retinaface.model.retinaface_pth_model import RetinaFace as TorchRetinaFace

        network = TorchRetinaFace()
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        network.eval()

        def run(images: np.ndarray) -> list[np.ndarray]:
            with torch.inference_mode():
                return [maps.numpy() for maps in network(torch.from_numpy(images))]

        return run
    raise ConfigurationError(f"RetinaFace weights end in .onnx or .pth, not {weights.suffix!r}: {weights}")


def _located() -> Path:
    """Return the weights that were downloaded."""
    from faceforward.pretrained import locate

    weights = locate("retinaface")
    if weights is None:
        raise WeightsUnavailableError("The RetinaFace weights are not here: faceforward download retinaface")
    return weights


def _package() -> ModuleType:
    """Import `retinaface.RetinaFace` so that it hands NumPy arrays to the network it is given.

    The package picks TensorFlow or PyTorch when one is installed and then passes its tensors; under `onnx` it
    passes arrays, which is what both kinds of network here take. It also silences all warnings on import.
    """
    before = os.environ.get(ENGINE)
    os.environ[ENGINE] = "onnx"
    try:
        with warnings.catch_warnings():
            from retinaface import RetinaFace
            from retinaface.commons import backend_utils
    except ImportError as error:
        raise WeightsUnavailableError("RetinaFace needs its package: pip install retina-face") from error
    finally:
        if before is None:
            del os.environ[ENGINE]
        else:
            os.environ[ENGINE] = before
    if not backend_utils.is_onnx():
        raise ConfigurationError(
            f"The package retina-face was imported with another engine: set {ENGINE}=onnx for this run."
        )
    return RetinaFace
