"""From a photograph to EG3D's crop of it and the 25 numbers of its camera."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from faceforward.eg3d import cameras
from faceforward.faces.align import Alignment, cut_out
from faceforward.faces.crop3d import crop3d_of
from faceforward.faces.face_model import FIRST_OF_FIVE, FaceModel, face_model
from faceforward.faces.landmarks import LandmarkDetector
from faceforward.faces.pose import WORLD_ORIGIN, WORLD_SCALE, HeadPose, fit_pose

if TYPE_CHECKING:
    from faceforward.records import Detection, Photo

SIZE = 512
FIVE = np.arange(FIRST_OF_FIVE, FIRST_OF_FIVE + 5)
NOSE = 2  # of the five: where the overlay's axes start
AXES = ((230, 60, 60), (60, 200, 60), (70, 110, 255))  # colours of x (to the head's left), y (up), z (ahead)
UNSURE = 0.01  # residual, in sides of the crop, beyond which the points are hardly those of a face


@dataclass(frozen=True, eq=False)
class CameraEstimate:
    """A 3D crop and its camera.

    Attributes:
        crop: `(S, S, 3)` uint8 RGB.
        alignment: Between crop and photograph: scale and shift alone.
        label: `(25,)` float32.
        points: `(P, 2)` pixels of the photograph: the landmarks that the pose was fitted to.
        landmarks: Name of the detector that gave them.
        residual: Median distance of the landmarks from where the fit has them, in sides of the crop.
        uncertainty: Degrees that the points' noise alone leaves; the face's own shape adds about four.
        notes: What is doubtful, one sentence each.
        refined: Degrees by which a refinement turned the camera; None without one.
    """

    crop: np.ndarray
    alignment: Alignment
    label: torch.Tensor
    points: np.ndarray
    landmarks: str
    residual: float
    uncertainty: float
    notes: tuple[str, ...] = ()
    refined: float | None = None


@dataclass(frozen=True, eq=False)
class CameraResult:
    """Everything about one photograph's camera that goes to disk.

    Attributes:
        photo: The photograph.
        detection: The face that was taken.
        detector: Which detector found it.
        estimate: Crop and camera.
        notes: How the face was found, and what is doubtful.
        seconds: Wall time spent on this photograph.
        settings: What decided the result (JSON values only).
    """

    photo: Photo
    detection: Detection
    detector: str
    estimate: CameraEstimate
    notes: tuple[str, ...]
    seconds: float
    settings: dict[str, Any] = field(default_factory=dict)


def estimate_camera(
    image: np.ndarray,
    face: Detection,
    landmarks: LandmarkDetector,
    *,
    model: FaceModel | None = None,
    size: int = SIZE,
) -> CameraEstimate:
    """Crop a face as EG3D does and find its camera.

    The crop is placed by the five points that the fitted head has, not by the detector's own: they jitter
    less.

    Args:
        image: `(H, W, 3)` uint8 RGB photograph.
        face: Where the face is in it.
        landmarks: Finds the points that the pose is fitted to.
        model: Of faces; None takes the package's.
        size: Side of the crop.
    """
    model = model or face_model()
    points = landmarks.detect(image, face)
    numbers = FIVE if landmarks.points == "five" else model.numbers[model.numbers < FIRST_OF_FIVE]
    used = points if landmarks.points == "five" else points[numbers]
    alignment = crop3d_of(face.landmarks, size)
    for _ in range(2):
        pose = fit_pose(_shares(used, alignment)[None], model.only(numbers))
        five = head_points(pose, model.only(FIVE))[0]
        alignment = crop3d_of(alignment.points_to_photo(five * size - 0.5), size)
    pose = fit_pose(_shares(used, alignment)[None], model.only(numbers))
    residual = float(pose.residual[0])
    doubt = (
        f"The landmarks fit a face badly ({100 * residual:.1f} % of the crop's side): look at the overlay "
        "before the camera is used."
    )
    return CameraEstimate(
        crop=cut_out(image, alignment),
        alignment=alignment,
        label=pose.label()[0],
        points=points,
        landmarks=landmarks.name,
        residual=residual,
        uncertainty=float(pose.uncertainty[0]),
        notes=(doubt,) if residual > UNSURE else (),
    )


def head_points(pose: HeadPose, model: FaceModel) -> np.ndarray:
    """Where fitted heads have points, `(N, P, 2)` in sides of the crop."""
    solid = model.mean + np.tensordot(pose.shape, model.modes, axes=1)
    camera = solid @ pose.rotation.transpose(0, 2, 1) + pose.translation[:, None]
    return 0.5 + cameras.FOCAL * camera[..., :2] / camera[..., 2:]


def overlay(estimate: CameraEstimate) -> np.ndarray:
    """The crop with its landmarks and the head's axes by the label: red to its left, green up, blue ahead.

    Returns:
        `(S, S, 3)` uint8 RGB.
    """
    picture = estimate.crop.copy()
    size = picture.shape[0]
    thick = max(1, size // 170)
    for x, y in np.rint(estimate.alignment.points_to_crop(estimate.points)).astype(int).tolist():
        cv2.circle(picture, (x, y), thick, (255, 230, 80), -1, cv2.LINE_AA)
    nose = face_model().only(FIVE).mean[NOSE] * WORLD_SCALE + WORLD_ORIGIN
    ends = torch.from_numpy(np.concatenate([nose[None], nose + 0.25 * np.eye(3)])).float()
    places = cameras.project(ends, estimate.label[None])[0].numpy() * size - 0.5
    start, *tips = np.rint(places).astype(int).tolist()
    for tip, colour in zip(tips, AXES, strict=True):
        cv2.line(picture, start, tip, colour, thick, cv2.LINE_AA)
    return picture


def _shares(points: np.ndarray, alignment: Alignment) -> np.ndarray:
    return (alignment.points_to_crop(points) + 0.5) / alignment.size
