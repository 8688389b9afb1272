"""One photograph to EG3D's crop of it and its camera, without a hand's help."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from lightning import LightningModule

from faceforward.errors import ConfigurationError
from faceforward.faces.camera import SIZE, CameraResult, MeshBackend, estimate_camera
from faceforward.faces.detect import Detector, default_detector
from faceforward.faces.face import choose_face
from faceforward.faces.mean_face import MeanFace, mean_face
from faceforward.faces.mesh import FaceMesh
from faceforward.faces.refine import Refinement
from faceforward.modules.photo_steps import recorded
from faceforward.modules.provenance import named_backends
from faceforward.records import Photo

VERSION = 3  # of the estimation: results of another one are made anew


class CameraEstimator(LightningModule):
    """Estimates cameras: `predict_step` turns a `Photo` into a `CameraResult`, or a `Rejected` that says why.

    Nothing here is drawn: the same photograph and settings give the same label.

    Args:
        mesh: Fits the mesh that poses are fitted to; None takes the package's face mesh.
        detector: Finds faces; None takes the best one that is here.
        mean: File of a mean face, as `benchmarks/mean_face.py` makes it; None takes the package's.
        size: Side of the crops in pixels.
        refinement: Makes the fitted camera more exact; None keeps it as it is.

    Raises:
        ConfigurationError: `size` is not positive, or weights are missing.
    """

    def __init__(
        self,
        *,
        mesh: MeshBackend | None = None,
        detector: Detector | None = None,
        mean: Path | None = None,
        size: int = SIZE,
        refinement: Refinement | None = None,
    ) -> None:
        super().__init__()
        if size < 16:
            raise ConfigurationError(f"size {size}: crops need 16 pixels at least; 512 is usual")
        self.mesh = mesh or FaceMesh()
        self.detector = detector or default_detector()
        self.mean = mean_face() if mean is None else MeanFace.load(mean)
        self.size = size
        self.refinement = refinement

    def settings(self, *, face: int | None) -> dict[str, Any]:
        """Everything that decides the result of a photograph beside its pixels, as JSON values.

        Args:
            face: Which face is taken.
        """
        return {
            "version": VERSION,
            **named_backends(mesh=self.mesh, detector=self.detector),
            "mean_face": self.mean.digest,
            "size": self.size,
            "refinement": None if self.refinement is None else self.refinement.settings(),
            "face": face,
        }

    def estimate(self, photo: Photo) -> CameraResult:
        """Estimate the camera of one photograph.

        Raises:
            UnusablePhotoError: There is no face in it, or not the wanted one, or it cannot be made out.
        """
        start = time.perf_counter()
        taken, _, notes = choose_face(photo, self.detector)
        found = estimate_camera(photo.pixels, taken, self.mesh, mean=self.mean, size=self.size)
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
