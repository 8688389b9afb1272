"""One photograph to EG3D's crop of it and its camera, without a hand's help."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from lightning import LightningModule

from faceforward.errors import ConfigurationError
from faceforward.faces.camera import SIZE, CameraResult, estimate_camera
from faceforward.faces.detect import Detector, default_detector
from faceforward.faces.face import choose_face
from faceforward.faces.face_model import face_model
from faceforward.faces.landmarks import LandmarkDetector, default_landmarks
from faceforward.faces.refine import Refinement
from faceforward.modules.photo_steps import recorded
from faceforward.modules.provenance import named_backends
from faceforward.records import Photo

VERSION = 2  # of the estimation: results of another one are made anew


class CameraEstimator(LightningModule):
    """Estimates cameras: `predict_step` turns a `Photo` into a `CameraResult`, or a `Rejected` that says why.

    Nothing here is drawn: the same photograph and settings give the same label.

    Args:
        landmarks: Finds the points that the pose is fitted to; None takes the best that are here.
        detector: Finds faces; None takes the best one that is here.
        model: File of a face model, as `benchmarks/face_model.py` makes it; None takes the package's.
        size: Side of the crops in pixels.
        refinement: Makes the fitted camera more exact; None keeps it as it is.

    Raises:
        ConfigurationError: `size` is not positive, or weights are missing.
    """

    def __init__(
        self,
        *,
        landmarks: LandmarkDetector | None = None,
        detector: Detector | None = None,
        model: Path | None = None,
        size: int = SIZE,
        refinement: Refinement | None = None,
    ) -> None:
        super().__init__()
        if size < 16:
            raise ConfigurationError(f"size {size}: crops need 16 pixels at least; 512 is usual")
        self.landmarks = landmarks or default_landmarks()
        self.detector = detector or default_detector()
        self.face_model = face_model(model)
        self.size = size
        self.refinement = refinement

    def settings(self, *, face: int | None) -> dict[str, Any]:
        """Everything that decides the result of a photograph beside its pixels, as JSON values.

        Args:
            face: Which face is taken.
        """
        return {
            "version": VERSION,
            **named_backends(landmarks=self.landmarks, detector=self.detector),
            "face_model": self.face_model.digest,
            "size": self.size,
            "refinement": None if self.refinement is None else self.refinement.settings(),
            "face": face,
        }

    def estimate(self, photo: Photo) -> CameraResult:
        """Estimate the camera of one photograph.

        Raises:
            UnusablePhotoError: There is no face in it, or not the wanted one.
        """
        start = time.perf_counter()
        taken, _, notes = choose_face(photo, self.detector)
        found = estimate_camera(photo.pixels, taken, self.landmarks, model=self.face_model, size=self.size)
        if self.refinement is not None:
            refined = self.refinement.refine(found.crop, found.label)
            found = dataclasses.replace(found, label=refined.label[0], refined=float(refined.degrees[0]))
        return CameraResult(
            photo=photo,
            detection=taken,
            detector=self.detector.name,
            estimate=found,
            notes=(*photo.notes, *notes, *found.notes),
            seconds=time.perf_counter() - start,
            settings=self.settings(face=photo.face),
        )

    def predict_step(self, sample: Any, batch_idx: int) -> Any:
        """A `Photo` becomes its `CameraResult`; whatever goes wrong with it becomes its record.

        Raises:
            ConfigurationError: What was asked for cannot work for any photograph.
        """
        return recorded(sample, self.estimate)
