"""Where the person is in a portrait: MediaPipe's selfie segmentation."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from faceforward.faces.networks import onnx_session
from faceforward.pretrained import require

if TYPE_CHECKING:
    import onnxruntime

FILE = "selfie.onnx"
SIDE = 256  # of the network's input, pixels


class PersonMask:
    """Tells people from what is behind them, with the weights that travel with the package.

    Args:
        folder: The folder with `selfie.onnx`; None means the package's own.
        threads: Threads of ONNX Runtime.

    Raises:
        WeightsUnavailableError: The weights are not there.
    """

    name = "person-mask"

    def __init__(self, folder: Path | None = None, *, threads: int = 1) -> None:
        self.folder = Path(folder) if folder is not None else require(self.name)
        self.threads = threads

    def find(self, image: np.ndarray) -> np.ndarray:
        """Find the people in a portrait.

        Args:
            image: `(S, S, 3)` uint8 RGB.

        Returns:
            `(S, S)` float32: the probability that a pixel shows a person; soft, since the network sees 256
            pixels a side.

        Raises:
            ValueError: The picture is not square uint8 RGB.
        """
        size = image.shape[0]
        if image.dtype != np.uint8 or image.shape != (size, size, 3):
            raise ValueError(f"expected a (S, S, 3) uint8 RGB picture, got {image.dtype} {image.shape}")
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        values = small[None].astype(np.float32) / 255
        person = self._session.run(["person"], {"input_1": values})[0][0].astype(np.float32)
        return cv2.resize(person, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 1)

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return onnx_session(self.folder / FILE, self.threads)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_session"}
