"""Identity descriptors of aligned faces, and how far two of them are apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from faceforward.faces.crops import Window, check_crop, cut
from faceforward.pretrained import require

CHIP_SIZE = 150  # pixels; the network's input
CHIP_PADDING = 0.25  # dlib's own, of the mean face's side on each side
#: The box in which the landmark predictor looks, in units of the crop's side.
FACE_BOX = (0.2, 0.25, 0.8, 0.85)
#: dlib's chip in the FFHQ frame: the mean over 240 photographs of the train split, with standard deviations
#: of 0.007 (centre), 0.028 (side) and 2.2 degrees.
CHIP_WINDOW = Window(0.5, 0.613, 0.686)
#: Farthest that a plausible chip lies from that mean: about eight, five and seven standard deviations.
LARGEST_SHIFT, LARGEST_SCALING, LARGEST_TURN = 0.06, 1.15, 15.0


class Embedder(Protocol):
    """Turns aligned faces into descriptors of the person."""

    name: str

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return `(N, D)` float32 descriptors of `(S, S, 3)` uint8 RGB crops, FFHQ-aligned, of any size."""
        ...


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the Euclidean distance of descriptors `(..., D)`, with broadcasting; lower is more alike."""
    return np.linalg.norm(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64), axis=-1)


class DlibEmbedder:
    """dlib's face recognition ResNet (128 numbers), with the weights of `face_recognition_models`.

    The face is cut out as dlib does it, by its own five-point predictor: on 175 photographs of 128 px this
    tells autoencoder round trips from other people better than a fixed chip (d' 3.51 against 3.35; 3.49
    against 3.07 when the alignment is off by 3 degrees and 2 pixels as well: benchmarks/identity_chip.py).
    A chip far from where an aligned face has it, as the predictor gives for profiles, is replaced by the mean
    one.

    dlib's usual threshold of 0.6 does not hold for these photographs: see `faceforward.metrics.thresholds`.

    Args:
        folder: The folder with dlib's two `.dat` files; None means the installed package's.
        batch_size: Crops that go through the network at once.

    Raises:
        WeightsUnavailableError: The package with the weights is not installed.
    """

    name = "dlib-recognition"

    def __init__(self, folder: Path | None = None, *, batch_size: int = 16) -> None:
        self.folder = Path(folder) if folder is not None else require(self.name)
        self.batch_size = batch_size

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Describe faces.

        Args:
            images: `(S, S, 3)` uint8 RGB crops, aligned like FFHQ; sizes may differ.

        Returns:
            `(N, 128)` float32.

        Raises:
            ValueError: A crop is not a square uint8 RGB picture.
        """
        network, _ = self._networks
        rows = [np.zeros((0, 128), dtype=np.float32)]
        for start in range(0, len(images), self.batch_size):
            chips = [self.chip(image) for image in images[start : start + self.batch_size]]
            rows.append(np.asarray(network.compute_face_descriptor(chips), dtype=np.float32))
        return np.concatenate(rows)

    def chip(self, image: np.ndarray) -> np.ndarray:
        """Cut out what the network sees.

        Args:
            image: `(S, S, 3)` uint8 RGB crop, aligned like FFHQ.

        Returns:
            `(150, 150, 3)` uint8 RGB.
        """
        import dlib

        image = np.ascontiguousarray(check_crop(image))
        side = image.shape[0]
        _, predictor = self._networks
        box = dlib.rectangle(*(round(edge * side) for edge in FACE_BOX))
        details = dlib.get_face_chip_details(predictor(image, box), CHIP_SIZE, CHIP_PADDING)
        centre, scaling = details.rect.dcenter(), details.rect.width() / side / CHIP_WINDOW.side
        # dlib counts from the middle of the first pixel, the window from its edge
        shift = np.hypot((centre.x + 0.5) / side - CHIP_WINDOW.x, (centre.y + 0.5) / side - CHIP_WINDOW.y)
        turn = abs((np.degrees(details.angle) + 180) % 360 - 180)
        plausible = (
            shift < LARGEST_SHIFT and 1 / LARGEST_SCALING < scaling < LARGEST_SCALING and turn < LARGEST_TURN
        )
        return dlib.extract_image_chip(image, details) if plausible else cut(image, CHIP_WINDOW, CHIP_SIZE)

    @cached_property
    def _networks(self) -> tuple[Any, Any]:
        import dlib

        return (
            dlib.face_recognition_model_v1(str(self.folder / "dlib_face_recognition_resnet_model_v1.dat")),
            dlib.shape_predictor(str(self.folder / "shape_predictor_5_face_landmarks.dat")),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_networks"}
