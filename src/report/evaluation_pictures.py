"""Pictures of folders and galleries, read, found to hold a face, and measured one case at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from faceforward.datamodules.face_crops import ALIGNED, pixels_of
from faceforward.datamodules.stored_files import StoredFile
from faceforward.errors import UnusablePhotoError
from faceforward.faces.align import Alignment, align, alignment_of, cut_out
from faceforward.faces.crops import check_crop
from faceforward.faces.detect import Detector, find_faces
from faceforward.faces.finish import LEAST_SIDE, MOST_SIDE
from faceforward.metrics.columns import MeasuredCase
from faceforward.metrics.finding import RealPhotos
from faceforward.metrics.measure import EditMaterial, measure
from faceforward.report.evaluation_folders import Failure
from faceforward.report.visible_mark import strip_height, without_strip

if TYPE_CHECKING:
    from pathlib import Path

    from faceforward.faces.age import AgeEstimator
    from faceforward.faces.identity import Embedder
    from faceforward.faces.mesh import FaceMesh
    from faceforward.report.evaluation_folders import AgedCase
    from faceforward.report.evaluation_gallery import GalleryPhoto

SEEN = 0.5  # least probability of a face by the mesh: faces have .9 and more, other things .01
SAME_FRAME = 0.06  # crops of equal pictures lie over each other when no corner is farther off, in sides
NO_FACE = "no face was found in it"


@dataclass(frozen=True)
class Networks:
    """What looks at the pictures; may be sent to other processes.

    Attributes:
        readers: Read ages and genders.
        embedder: Describes people.
        mesh: Finds the face in an aligned crop, and its pose.
        detector: Finds faces in pictures of other programs, made when first needed.
    """

    readers: tuple[AgeEstimator, ...]
    embedder: Embedder
    mesh: FaceMesh
    detector: Callable[[], Detector]
    _made: list[Detector] = field(default_factory=list, repr=False)

    def find(self, pixels: np.ndarray) -> np.ndarray:
        """Landmarks `(5, 2)` of the largest face.

        Raises:
            UnusablePhotoError: There is none.
        """
        if not self._made:
            self._made.append(self.detector())
        found, _ = find_faces(pixels, self._made[0])
        if not found:
            raise UnusablePhotoError(NO_FACE)
        return found[0].landmarks


class Seen(NamedTuple):
    """A face that was found in a picture.

    Attributes:
        crop: `(S, S, 3)` uint8 RGB, aligned like FFHQ.
        points: `(468, 3)` of its mesh, in pixels of the crop.
        alignment: Of the crop in its picture; None where the picture is the crop.
        shape: Of the picture.
    """

    crop: np.ndarray
    points: np.ndarray
    alignment: Alignment | None
    shape: tuple[int, ...]


def read_whole(path: Path) -> np.ndarray:
    """Read a picture, `(H, W, 3)` uint8 RGB, upright.

    Raises:
        UnusablePhotoError: It cannot be read, or not all of it: grey rows would be measured as if they were
            of the picture.
    """
    return pixels_of(StoredFile(str(path), path.name))


def see(
    path: Path, networks: Networks, *, aligned: bool, like: Seen | None = None, marked: bool = False
) -> Seen:
    """Read a picture and find the face in it.

    Args:
        path: The picture.
        networks: Find it.
        aligned: The picture is a crop already.
        like: The photograph that the picture was made from: a picture of the same size whose face lies at
            the same place is cut out exactly as the photograph was, so that they can be laid over each other.
        marked: The crop may have this program's words at its lower edge: the photograph's rows are taken
            there.

    Raises:
        UnusablePhotoError: It cannot be read as a whole, holds no face, or is not square where it should be
            a crop.
    """
    pixels = read_whole(path)
    if aligned:
        try:
            check_crop(pixels)
        except ValueError as error:
            raise UnusablePhotoError(str(error)) from error
        if marked and like is not None:
            pixels = without_strip(pixels, like.crop)
        return Seen(pixels, _mesh(pixels, networks), None, pixels.shape)
    landmarks = networks.find(pixels)
    side = int(np.clip(round(alignment_of(landmarks, 512).scale * 512), LEAST_SIDE, MOST_SIDE))
    alignment = alignment_of(landmarks, side)
    before = like.alignment if like is not None and pixels.shape == like.shape else None
    if before is not None and _apart(alignment, before) <= SAME_FRAME:
        alignment = before
    crop = cut_out(pixels, alignment)
    return Seen(crop, _mesh(crop, networks), alignment, pixels.shape)


def _mesh(crop: np.ndarray, networks: Networks) -> np.ndarray:
    mesh = networks.mesh.fit(crop, ALIGNED * len(crop) - 0.5)
    if mesh.score < SEEN:
        raise UnusablePhotoError(NO_FACE)
    return mesh.points


def _apart(first: Alignment, second: Alignment) -> float:
    """Farthest distance between corresponding corners of two crops, in sides of the second."""
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float64)
    places = [each.points_to_photo(corners * (each.size - 1)) for each in (first, second)]
    return float(np.linalg.norm(places[0] - places[1], axis=1).max() / (second.scale * second.size))


class Measured(NamedTuple):
    """What one case gave.

    Attributes:
        case: None where the photograph itself cannot be used.
        failures: Of its pictures.
    """

    case: MeasuredCase | None
    failures: tuple[Failure, ...]


def measure_aged(case: AgedCase, networks: Networks) -> Measured:
    """Measure one photograph with its aged pictures; what cannot be measured is a failure, never an error.

    Args:
        case: Where they are.
        networks: Look at them.
    """
    failures = list(case.failures)
    try:
        source = see(case.source, networks, aligned=case.aligned)
    except UnusablePhotoError as error:
        failures.append(Failure(case.case, None, f"the photograph {case.source.name}: {error}"))
        return Measured(None, tuple(failures))
    found: dict[int, Seen] = {}
    for target, path in sorted(case.aged.items()):
        try:
            found[target] = see(path, networks, aligned=case.aligned, like=source, marked=case.own)
        except UnusablePhotoError as error:
            failures.append(Failure(case.case, target, str(error)))
    native = case.native if case.aligned else _native(source)
    strips = [strip_height(*seen.crop.shape[:2]) / len(seen.crop) for seen in found.values() if case.own]
    edit = EditMaterial(
        source.points,
        native=native,
        meshes={target: seen.points for target, seen in found.items()},
        apart=frozenset(target for target, seen in found.items() if seen.alignment is not source.alignment),
        unseen=max(strips, default=0.0),
    )
    measures = measure(
        source.crop,
        {target: seen.crop for target, seen in found.items()},
        age=math.nan if case.facts.age is None else case.facts.age,
        readers=networks.readers,
        embedder=networks.embedder,
        edit=edit,
    )
    lost = tuple(failure.target for failure in failures if failure.target is not None)
    person = case.facts.person or case.case
    found_case = MeasuredCase(case.case, person, case.facts.gender, measures, lost, estimated=case.estimated)
    return Measured(found_case, tuple(failures))


def _native(source: Seen) -> float:
    """Side of a crop in its photograph's pixels."""
    assert source.alignment is not None  # it was cut out of a photograph
    return source.alignment.scale * source.alignment.size


def describe(
    photos: Iterable[GalleryPhoto], networks: Networks, *, aligned: bool = False
) -> Iterator[tuple[GalleryPhoto, np.ndarray | str]]:
    """Describe a gallery's photographs, one in memory at a time.

    Args:
        photos: Of the gallery.
        networks: Find and describe.
        aligned: They are crops already.

    Yields:
        Each photograph with its descriptor `(D,)`, or with the reason why it has none.
    """
    for photo in photos:
        try:
            pixels = read_whole(photo.file)
            if aligned:
                crop = check_crop(pixels)
            else:
                landmarks = networks.find(pixels)
                side = int(np.clip(round(alignment_of(landmarks, 512).scale * 512), LEAST_SIDE, MOST_SIDE))
                crop, _ = align(pixels, landmarks, side)
        except (UnusablePhotoError, ValueError) as error:
            yield photo, str(error)
            continue
        yield photo, networks.embedder.embed([crop])[0]


def real_photos(described: Sequence[tuple[GalleryPhoto, np.ndarray]]) -> RealPhotos:
    """The gallery as the metrics take it."""
    return RealPhotos(
        [photo.person for photo, _ in described],
        np.array([math.nan if photo.age is None else photo.age for photo, _ in described]),
        np.stack([descriptor for _, descriptor in described]),
    )


def with_later(case: MeasuredCase, photos: RealPhotos) -> MeasuredCase:
    """The case with the distances to later photographs of its person, where the gallery has them."""
    measures, later = case.measures, {}
    for picture in measures.pictures:
        probes = np.stack([picture.descriptor, measures.descriptor])
        apart = photos.later(case.person, measures.age, picture.target, probes)
        if apart is not None:
            later[picture.target] = (float(apart[0]), float(apart[1]))
    return dataclasses.replace(case, later=later)
