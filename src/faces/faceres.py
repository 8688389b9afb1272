"""A second reader of age, independent of dlib's: HSE FaceRes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from faceforward.errors import WeightsUnavailableError
from faceforward.faces.age import estimate_of
from faceforward.faces.crops import Window, cut
from faceforward.faces.networks import onnx_session
from faceforward.pretrained import require
from faceforward.records import AgeEstimate

if TYPE_CHECKING:
    import onnxruntime

FILE = "faceres.onnx"
SIDE = 224  # of the network's input, pixels
MEANS = np.array([103.939, 116.779, 123.68], dtype=np.float32)  # blue, green, red; taken off 0..255
AGES = np.arange(1, 101, dtype=np.float64)  # years that the classes stand for
#: Where it looks in the FFHQ frame: 1.3 times the longer side of MTCNN's box there, and the same middle.
#: Smaller windows are better on children, larger ones on old people; over all decades of two samples, 0.9 and
#: 0.96 are the best and equal (benchmarks/estimator_error.py --reader faceres --search).
FACERES_WINDOW = Window(0.5, 0.55, 0.9)


class FaceResAgeEstimator:
    """HSE FaceRes (Savchenko, PeerJ Computer Science 5:e197, 2019); its weights travel with the package.

    It was learnt from other photographs than dlib's networks (VGGFace2 and IMDB-Wiki, offered for research),
    so the two can check each other: one may choose models and settings, the other judges them. Its makers'
    data make it fit for research only; `AgeEditor` does without it when told so. Picture and mirror image are
    averaged, as dlib's are: the two differ by up to 7 years where a face is lit from one side.

    Args:
        folder: The folder with `faceres.onnx`; None means the package's own.
        threads: Threads of ONNX Runtime.
        batch_size: Crops that go through the network at once.
        window: The part of the crop that the network sees.

    Raises:
        WeightsUnavailableError: The weights are not there.
    """

    name = "faceres"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        threads: int = 1,
        batch_size: int = 16,
        window: Window = FACERES_WINDOW,
    ) -> None:
        self.folder = Path(folder) if folder is not None else require(self.name)
        self.threads = threads
        self.batch_size = batch_size
        self.window = window
        if not (self.folder / FILE).is_file():
            raise WeightsUnavailableError(f"no {FILE} in {self.folder}: reinstall faceforward")

    def estimate(self, images: Sequence[np.ndarray]) -> list[AgeEstimate]:
        """Estimate age and gender.

        Args:
            images: `(S, S, 3)` uint8 RGB crops, aligned like FFHQ; sizes may differ.

        Returns:
            One record per crop: the distribution over 100 ages, its mean and standard deviation, the gender.

        Raises:
            ValueError: A crop is not a square uint8 RGB picture.
        """
        ages, males = self.probabilities(images)
        return [
            estimate_of(age, AGES, {"female": 1 - male, "male": male}, self.name)
            for age, male in zip(ages, males.tolist(), strict=True)
        ]

    def probabilities(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Run the network on each picture and its mirror image.

        Returns:
            Ages, `(N, 100)` float64 whose rows sum to one, and the probability of a man, `(N,)` in [0, 1].
        """
        ages, males = [np.zeros((0, len(AGES)))], [np.zeros(0)]
        for start in range(0, len(images), self.batch_size):
            chips = [cut(image, self.window, SIDE) for image in images[start : start + self.batch_size]]
            values = np.stack(chips)[..., ::-1].astype(np.float32) - MEANS
            both = np.ascontiguousarray(np.concatenate([values, values[:, :, ::-1]]))
            age, male = self._session.run(["age", "gender"], {"input_1": both})
            ages.append(_halves_averaged(age))
            males.append(_halves_averaged(male)[:, 0])
        distributions = np.concatenate(ages)
        return distributions / distributions.sum(axis=1, keepdims=True), np.concatenate(males)

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return onnx_session(self.folder / FILE, self.threads)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_session"}


def _halves_averaged(rows: np.ndarray) -> np.ndarray:
    """The mean of the first half of rows and of the second, float64."""
    first, second = np.split(rows.astype(np.float64), 2)
    return (first + second) / 2
