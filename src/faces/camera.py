"""From a photograph to EG3D's crop of it and the 25 numbers of its camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
import torch

from faceforward.eg3d import cameras
from faceforward.errors import UnusablePhotoError
from faceforward.faces.align import Alignment, cut_out
from faceforward.faces.crop3d import FIVE_POINTS, crop3d_of
from faceforward.faces.mean_face import MeanFace, mean_face
from faceforward.faces.mesh import EYES, LIPS, Mesh
from faceforward.faces.pose import WORLD_ORIGIN, WORLD_SCALE, HeadPose, fit_pose

if TYPE_CHECKING:
    from faceforward.records import Detection, Photo

SIZE = 512
NOSE_TIP = 4  # point of the mesh: where the overlay's axes start
AXES = ((230, 60, 60), (60, 200, 60), (70, 110, 255))  # colours of x (to the head's left), y (up), z (ahead)
LINE = (255, 230, 80)
LEAST_SCORE = 0.5  # of the mesh's own probability that it lies on a face
UNSURE = 0.02  # residual, in sides of the crop, beyond which the points are hardly those of a face
UNSTEADY = (
    6.0  # degrees between the poses of the picture and of its mirror image, beyond which neither is sure
)
MOST_YAW = 60.0  # degrees, beyond which half of the face is the network's guess
#: What the overlay draws of the mesh beside eyes and lips, as numbers of MediaPipe's points.
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10),
)
NOSE = (168, 6, 197, 195, 5, 4)


class MeshBackend(Protocol):
    """Fits the mesh of 468 points.

    Attributes:
        name: What manifests say.
    """

    name: str

    def fit(self, image: np.ndarray, landmarks: np.ndarray) -> Mesh:
        """Fit the mesh to the face with these five landmarks, see `FaceMesh.fit`."""
        ...


@dataclass(frozen=True, eq=False)
class CameraEstimate:
    """A 3D crop and its camera.

    Attributes:
        crop: `(S, S, 3)` uint8 RGB.
        alignment: Between crop and photograph: scale and shift alone.
        label: `(25,)` float32.
        points: `(468, 2)` pixels of the photograph: the mesh that the pose was fitted to.
        landmarks: Name of the network that gave it.
        residual: Median distance of its points from where the fit has them, in sides of the crop.
        uncertainty: Degrees between the poses of the photograph and of its mirror image.
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
    backend: MeshBackend,
    *,
    mean: MeanFace | None = None,
    size: int = SIZE,
) -> CameraEstimate:
    """Crop a face as EG3D does and find its camera.

    The mesh is fitted to the photograph and to its mirror image, and the pose to the mean of both. The crop
    is placed by where the fitted head has the standard five points, not by the detector's own: they jitter.

    Args:
        image: `(H, W, 3)` uint8 RGB photograph.
        face: Where the face is in it.
        backend: Fits the mesh.
        mean: The head that is laid over it; None takes the package's.
        size: Side of the crop.

    Raises:
        UnusablePhotoError: No face can be made out where the detector found one.
    """
    mean = mean or mean_face()
    both, score = fit_both(image, face.landmarks, backend, mean)
    if not score >= LEAST_SCORE:
        raise UnusablePhotoError(
            f"A face was detected, but its features cannot be made out (score {score:.2f} of the mesh, "
            f"{LEAST_SCORE} is needed): take a sharper photograph in which the face is not covered."
        )
    points = both.mean(axis=0)
    alignment = crop3d_of(face.landmarks, size)
    for _ in range(2):
        pose = fit_pose(_shares(points[None], alignment), mean.points)
        five = pose.seen(FIVE_POINTS)[0]
        alignment = crop3d_of(alignment.points_to_photo(five * size - 0.5), size)
    pose = fit_pose(_shares(np.concatenate([points[None], both]), alignment), mean.points)
    labels = pose.label()
    apart = cameras.rotation_error(*cameras.pose(labels[1:])).item()
    return CameraEstimate(
        crop=cut_out(image, alignment),
        alignment=alignment,
        label=labels[0],
        points=points[:, :2],
        landmarks=backend.name,
        residual=float(pose.residual[0]),
        uncertainty=apart,
        notes=tuple(_doubts(pose, labels[0], apart)),
    )


def fit_both(
    image: np.ndarray, landmarks: np.ndarray, backend: MeshBackend, mean: MeanFace
) -> tuple[np.ndarray, float]:
    """Fit the mesh to a photograph and to its mirror image.

    Args:
        image: `(H, W, 3)` uint8 RGB.
        landmarks: `(5, 2)` in the order of `Detection`.
        backend: Fits it.
        mean: Knows what each point is called on the mirrored face.

    Returns:
        The points of both, carried back to the photograph, `(2, 468, 3)` as `Mesh` has them; the mean of the
        two scores.
    """
    last = image.shape[1] - 1
    straight = backend.fit(image, landmarks)
    others = (landmarks * [-1, 1] + [last, 0])[[1, 0, 2, 4, 3]]
    mirrored = backend.fit(np.ascontiguousarray(image[:, ::-1]), others)
    back = mirrored.points.astype(np.float64)[mean.mirrored] * [-1, 1, 1] + [last, 0, 0]
    return np.stack([straight.points, back]), (straight.score + mirrored.score) / 2


def overlay(estimate: CameraEstimate) -> np.ndarray:
    """The crop with the mesh and the head's axes by the label: red to its left, green up, blue ahead.

    Returns:
        `(S, S, 3)` uint8 RGB.
    """
    picture = estimate.crop.copy()
    size = picture.shape[0]
    thick = max(1, size // 170)
    mean = mean_face()
    places = np.rint(estimate.alignment.points_to_crop(estimate.points)).astype(np.int32)
    picture[tuple(places[((places >= 0) & (places < size)).all(axis=1)].T[::-1])] = LINE
    outlines = [OVAL, NOSE, *((*closed, closed[0]) for closed in (LIPS, *EYES))]
    for line in outlines:
        cv2.polylines(picture, [places[list(line)]], False, LINE, max(1, thick // 2), cv2.LINE_AA)
    nose = mean.points[NOSE_TIP] * WORLD_SCALE + WORLD_ORIGIN
    ends = torch.from_numpy(np.concatenate([nose[None], nose + 0.25 * np.eye(3)])).float()
    seen = cameras.project(ends, estimate.label[None])[0].numpy() * size - 0.5
    start, *tips = np.rint(seen).astype(int).tolist()
    for tip, colour in zip(tips, AXES, strict=True):
        cv2.line(picture, start, tip, colour, thick, cv2.LINE_AA)
    return picture


def _doubts(pose: HeadPose, label: torch.Tensor, apart: float) -> Iterator[str]:
    """One sentence for each reason to doubt the camera."""
    look = "look at the overlay before the camera is used."
    residual, yaw = float(pose.residual[0]), float(cameras.angles(cameras.pose(label))[0])
    if residual > UNSURE:
        yield f"The mesh fits a face badly ({100 * residual:.1f} % of the crop's side): {look}"
    if apart > UNSTEADY:
        yield f"The photograph and its mirror image give poses {apart:.0f} degrees apart: {look}"
    if abs(yaw) > MOST_YAW:
        yield f"The head is turned {abs(yaw):.0f} degrees, so that half of the mesh is a guess: {look}"


def _shares(meshes: np.ndarray, alignment: Alignment) -> np.ndarray:
    """Meshes `(N, P, 3)` in pixels of the photograph, in sides of the crop."""
    places = alignment.points_to_crop(meshes[..., :2].reshape(-1, 2)).reshape(*meshes.shape[:2], 2)
    depths = meshes[..., 2:] / alignment.scale
    return np.concatenate([places + 0.5, depths], axis=-1) / alignment.size
