"""One photograph to views of the person from every side."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from lightning import LightningModule

from faceforward.checks import at_least
from faceforward.eg3d import cameras as eg3d
from faceforward.eg3d.mesh import needed
from faceforward.eg3d.views import Angle, Orbit, grid, turntable
from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.faces.align import align
from faceforward.faces.camera import CameraEstimate, MeshBackend, estimate_camera
from faceforward.faces.detect import Detector, default_detector, find_faces
from faceforward.faces.face import choose_face
from faceforward.faces.heads import PhotoHeads, default_heads
from faceforward.faces.identity import DlibEmbedder, Embedder, distance
from faceforward.faces.mean_face import mean_face
from faceforward.faces.mesh import FaceMesh
from faceforward.metrics.strangers import shipped_strangers
from faceforward.modules.photo_steps import recorded
from faceforward.modules.provenance import named_backends
from faceforward.report.video import require_av

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceforward.eg3d.mesh import Mesh
    from faceforward.faces.relief import ReliefView
    from faceforward.faces.relief_mesh import TexturedMesh
    from faceforward.records import Detection, Photo

VERSION = 3  # of the views: results of another one are made anew
MOST_SIDE = 1024  # pixels of the crop that a head is made of
CAMERA_ERROR = 5.0  # degrees by which a photograph's own yaw may be wrong
MOST_POSE_ERROR = 10.0  # degrees between the camera and what a view looks like
MOST_APART = 65.0  # degrees between the photograph's own view and another: its edges look 80 degrees away
FARTHEST = 60.0  # degrees of yaw or pitch that can be asked for


@dataclass(frozen=True, eq=False)
class SeenView:
    """One view, and how well it holds.

    Attributes:
        angle: (yaw, pitch) of its camera in degrees, as `look_at` takes them.
        camera: `(25,)`.
        view: Picture, depth and visibility.
        within: Whether the head holds so far from the photograph's own view.
        distance: Descriptor distance to the photograph, both detected and aligned anew; None where no face
            was found.
        pose_error: Degrees between the camera and the one that is estimated from the picture; None likewise.
        limit: Of the distance; None where it is not known for the embedder.
    """

    angle: Angle
    camera: torch.Tensor
    view: ReliefView
    within: bool
    distance: float | None
    pose_error: float | None
    limit: float | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the view is not to be relied on, in words; empty where nothing speaks against it."""
        found = []
        if not self.within:
            found.append("farther from the photograph's own view than the head holds")
        if self.distance is None:
            found.append("no face is found in it")
        elif self.limit is not None and self.distance > self.limit:
            found.append("as unlike the photograph as a stranger is")
        if self.pose_error is not None and self.pose_error > MOST_POSE_ERROR:
            found.append(f"it looks turned {self.pose_error:.0f} degrees otherwise than asked")
        return tuple(found)


@dataclass(frozen=True, eq=False)
class ViewResult:
    """Everything about one photograph's views that goes to disk.

    Attributes:
        photo: The photograph.
        detection: The face that was taken.
        detector: Which detector found it.
        estimate: The crop and its camera.
        head: Name of the kind of head.
        why: Why it was taken.
        own: The head from the photograph's own camera.
        psnr: dB of that picture against the crop.
        views: As asked for.
        turning: Frames of the turntable, `(S, S, 3)` uint8 RGB; empty when none was asked for.
        mesh: The head's surface; None when none was asked for, or the head has none.
        notes: How the face was found, and what is doubtful, one sentence each.
        seconds: Wall time spent on this photograph.
        settings: What decided the result (JSON values only).
    """

    photo: Photo
    detection: Detection
    detector: str
    estimate: CameraEstimate
    head: str
    why: str
    own: ReliefView
    psnr: float
    views: tuple[SeenView, ...]
    turning: tuple[np.ndarray, ...]
    mesh: TexturedMesh | Mesh | None
    notes: tuple[str, ...]
    seconds: float
    settings: dict[str, Any] = field(default_factory=dict)


class ViewSynthesizer(LightningModule):
    """Turns heads: `predict_step` makes a `ViewResult` of a `Photo`, or a `Rejected` that says why not.

    Nothing here is drawn: the same photograph and settings give the same pictures.

    Args:
        yaws: Degrees of the views, positive to the right of the picture, as `look_at` takes them.
        pitches: Degrees; every yaw is shown at each.
        size: Side of the views in pixels.
        frames: Of the turntable; 0 makes none.
        turn: Farthest yaw of the turntable to either side, degrees.
        mesh_file: Whether a mesh is made.
        heads: Makes heads; None takes the best that this machine has weights for, see `default_heads`.
        mesh: Fits the face's mesh; None takes the package's.
        detector: Finds faces; None takes the best one that is here.
        embedder: Compares faces; None takes dlib's.

    Raises:
        ConfigurationError: An angle or a size is out of range.
        WeightsUnavailableError: Weights are missing, or a package: trimesh for the mesh, PyAV for the
            turntable.
    """

    def __init__(
        self,
        *,
        yaws: Sequence[float] = (-40.0, -25.0, -15.0, 0.0, 15.0, 25.0, 40.0),
        pitches: Sequence[float] = (0.0,),
        size: int = 512,
        frames: int = 60,
        turn: float = 25.0,
        mesh_file: bool = True,
        heads: PhotoHeads | None = None,
        mesh: MeshBackend | None = None,
        detector: Detector | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        super().__init__()
        at_least(64, size=size)
        at_least(0, frames=frames, turn=turn)
        for name, degrees in (("yaws", yaws), ("pitches", pitches), ("turn", (turn,))):
            if not degrees or not all(abs(angle) <= FARTHEST for angle in degrees):
                raise ConfigurationError(
                    f"{name} is {list(degrees)}: give degrees from {-FARTHEST:.0f} to {FARTHEST:.0f}, one at "
                    "least; a photograph shows nothing of the back of a head"
                )
        if mesh_file:
            needed("trimesh")
        if frames:
            require_av()
        self.yaws, self.pitches = tuple(map(float, yaws)), tuple(map(float, pitches))
        self.size, self.frames, self.turn, self.mesh_file = size, frames, float(turn), mesh_file
        self.heads: PhotoHeads = heads or default_heads()
        self.mesh = mesh or FaceMesh()
        self.detector = detector or default_detector()
        self.embedder = embedder or DlibEmbedder()

    def settings(self, *, face: int | None) -> dict[str, Any]:
        """Everything that decides the result of a photograph beside its pixels, as JSON values.

        Args:
            face: Which face is taken.
        """
        return {
            "version": VERSION,
            **named_backends(
                heads=self.heads, mesh=self.mesh, detector=self.detector, embedder=self.embedder
            ),
            "head": self.heads.settings(),
            "mean_face": mean_face().digest,
            "yaws": list(self.yaws),
            "pitches": list(self.pitches),
            "size": self.size,
            "frames": self.frames,
            "turn": self.turn,
            "mesh_file": self.mesh_file,
            "face": face,
        }

    def synthesize(self, photo: Photo) -> ViewResult:
        """Make the views of one photograph.

        Raises:
            UnusablePhotoError: There is no face in it, or it cannot be turned.
        """
        start = time.perf_counter()
        taken, _, notes = choose_face(photo, self.detector)
        found = self._camera(photo, taken)
        landmarks = found.alignment.points_to_crop(taken.landmarks)
        points = np.asarray(self.mesh.fit(found.crop, landmarks).points, dtype=np.float64)
        try:
            head = self.heads.build(found.crop, found.label, points)
        except ValueError as error:
            raise UnusablePhotoError(f"The head cannot be turned: {error}.") from error
        angles, left_out = _shown(grid(self.yaws, self.pitches), found.label)
        if not angles:
            raise UnusablePhotoError(
                f"None of the views can be shown: all are more than {MOST_APART:.0f} degrees from the "
                "photograph's own. Ask for others (--model.init_args.yaws)."
            )
        cameras = Orbit().cameras(angles)
        own, *rendered = head.render(torch.cat([found.label[None], cameras]), self.size)
        turning: tuple[np.ndarray, ...] = ()
        if self.frames:
            way, _ = _shown(turntable(self.frames, yaw=self.turn), found.label)
            if way:
                path = Orbit().cameras(way)
                turning = tuple(view.image for view in head.render(path, self.size))
        return ViewResult(
            photo=photo,
            detection=taken,
            detector=self.detector.name,
            estimate=found,
            head=self.heads.name,
            why=self.heads.why,
            own=own,
            psnr=_psnr(own.image, found.crop),
            views=self._seen(found, taken, photo, angles, cameras, rendered, head.reach),
            turning=turning,
            mesh=head.surface() if self.mesh_file else None,
            notes=(*photo.notes, *notes, *found.notes, *left_out),
            seconds=time.perf_counter() - start,
            settings=self.settings(face=photo.face),
        )

    def _camera(self, photo: Photo, taken: Detection) -> CameraEstimate:
        """The crop at the photograph's own resolution, `MOST_SIDE` at most, and its camera."""
        found = estimate_camera(photo.pixels, taken, self.mesh, size=self.size)
        side = min(MOST_SIDE, round(self.size * found.alignment.scale))
        if side <= self.size:
            return found
        return estimate_camera(photo.pixels, taken, self.mesh, size=side)

    def _seen(
        self,
        found: CameraEstimate,
        taken: Detection,
        photo: Photo,
        angles: Sequence[Angle],
        cameras: torch.Tensor,
        rendered: Sequence[ReliefView],
        reach: float,
    ) -> tuple[SeenView, ...]:
        """Every view held against the photograph: the person, and the pose that was asked for."""
        source = self.embedder.embed([align(photo.pixels, taken.landmarks, 512)[0]])
        yaw = float(eg3d.angles(eg3d.pose(found.label))[0])
        strangers = shipped_strangers() if isinstance(self.embedder, DlibEmbedder) else None
        seen = []
        for angle, camera, view in zip(angles, cameras, rendered, strict=True):
            apart, error, limit = None, None, None
            faces, _ = find_faces(view.image, self.detector)
            if faces:
                crop = align(view.image, faces[0].landmarks, 512)[0]
                found_again = self.embedder.embed([crop])
                apart = float(distance(found_again, source)[0])
                if strangers is not None:
                    limit = strangers.limit(photo.age, source[0], found_again[0])
                try:
                    other = estimate_camera(view.image, faces[0], self.mesh).label
                    error = float(eg3d.rotation_error(eg3d.pose(other), eg3d.pose(camera)))
                except UnusablePhotoError:
                    error = None
            within = abs(angle[0] - yaw) <= reach + CAMERA_ERROR
            seen.append(SeenView(angle, camera, view, within, apart, error, limit))
        return tuple(seen)

    def predict_step(self, sample: Any, batch_idx: int) -> Any:
        """A `Photo` becomes its `ViewResult`; whatever goes wrong with it becomes its record.

        Raises:
            ConfigurationError: What was asked for cannot work for any photograph.
        """
        return recorded(sample, self.synthesize)


def _shown(angles: Sequence[Angle], own: torch.Tensor) -> tuple[list[Angle], tuple[str, ...]]:
    """The angles of which a photograph shows anything at all, and a note on the others.

    Args:
        angles: (yaw, pitch) in degrees.
        own: `(25,)` the photograph's label.
    """
    apart = eg3d.rotation_error(eg3d.pose(own)[None], eg3d.pose(Orbit().cameras(angles))).tolist()
    far = [angle for angle, degrees in zip(angles, apart, strict=True) if degrees > MOST_APART]
    if not far:
        return list(angles), ()
    named = ", ".join(f"{yaw:+g}" + (f" / {pitch:+g}" if pitch else "") for yaw, pitch in dict.fromkeys(far))
    note = f"Left out, more than {MOST_APART:.0f} degrees from the photograph's own view: {named} degrees."
    return [angle for angle in angles if angle not in far], (note,)


def _psnr(picture: np.ndarray, crop: np.ndarray) -> float:
    """Peak signal-to-noise ratio of a view against the crop at the size of the view, dB."""
    size = len(picture)
    known = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA) if len(crop) != size else crop
    error = float(np.mean((picture.astype(np.float64) - known) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)
