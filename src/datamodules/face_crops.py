"""From a labelled photograph to its square crop: by its label's landmarks, by a detector's, or whole."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image

from faceforward.errors import UnusablePhotoError
from faceforward.faces.align import align, alignment_of, padded
from faceforward.faces.crops import resized
from faceforward.faces.detect import Detector, default_detector, find_faces
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.faces.quality import FACE, MEASURED_SIZE, quality_of
from faceforward.faces.reading import decode_photo, read_photo
from faceforward.records import Detection, Quality

if TYPE_CHECKING:
    from faceforward.datamodules.sources import LabelledPhoto
    from faceforward.datamodules.stored_files import StoredFile

Cut = Literal["ffhq", "detector", "none"]
FACE_HEIGHT = (FACE[0].stop - FACE[0].start) / MEASURED_SIZE  # of a face in its crop, in sides
SHAPE_TOLERANCE = 0.03  # a labelled picture of another shape is another picture; rounding is less
#: Points from which `alignment_of` makes the identity: left and right eye, nose, mouth corners, in sides.
ALIGNED = np.array([[0.38, 17 / 36], [0.62, 17 / 36], [0.5, 0.6], [0.41, 0.75], [0.59, 0.75]])


class Crop(NamedTuple):
    """A square with a face in it.

    Attributes:
        pixels: `(size, size, 3)` uint8 RGB.
        padding: `(size, size)` uint8: 255 where there is no photograph, 0 where there is.
    """

    pixels: np.ndarray
    padding: np.ndarray

    def cells(self, height: int, width: int) -> np.ndarray:
        """The padded share of each cell of a grid over the crop, `(height, width)` uint8; 255 is all."""
        return cv2.resize(self.padding, (width, height), interpolation=cv2.INTER_AREA)


class CropMaker:
    """Makes the crops of labelled photographs; may be sent to other processes.

    Args:
        size: Side of the crops.
        alignment: `ffhq` cuts out as FFHQ does, by the label's landmarks; `detector` does so by a
            detector's; `none` takes square pictures as they are.
        min_face: Smallest face in pixels of pictures enlarged to 256 that are known to be close-ups: MTCNN
            looks for no smaller one, which takes half the time (at 60). None: the best detector on this
            machine looks for faces of any size.
    """

    def __init__(self, size: int, alignment: Cut, min_face: int | None = None) -> None:
        self.size = size
        self.alignment = alignment
        self.min_face = min_face
        self._detector: Detector | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the detector: each process makes its own."""
        return {**vars(self), "_detector": None}

    @property
    def detector(self) -> Detector:
        """What finds faces, made when first needed."""
        if self._detector is None:
            if self.min_face is None:
                self._detector = default_detector()
            else:
                self._detector = MTCNNDetector(min_face=self.min_face)
        return self._detector

    @property
    def recipe(self) -> str:
        """What decides how crops look, beside their size."""
        if self.alignment != "detector":
            return self.alignment
        return " ".join(filter(None, ["detector", self.detector.name, str(self.min_face or "")]))

    def __call__(self, photo: LabelledPhoto) -> Crop:
        """The crop, and where it is no photograph.

        Raises:
            UnusablePhotoError: The picture cannot be read, does not fit its label, or shows no face.
        """
        pixels = pixels_of(photo.file)
        if self.alignment == "none":
            return Crop(self._whole(pixels), self._given_padding(photo))
        return self._cut(pixels, self._detection(photo, pixels))

    def measured(self, photo: LabelledPhoto) -> tuple[Crop, Quality]:
        """The crop, and the quality of the photograph; roll and yaw are NaN where no points are known.

        Raises:
            UnusablePhotoError: As for the crop alone.
        """
        pixels = pixels_of(photo.file)
        if self.alignment == "none":
            crop, side = Crop(self._whole(pixels), self._given_padding(photo)), len(pixels)
            aligned = Detection((0.0, 0.0, side, FACE_HEIGHT * side), ALIGNED * side - 0.5, 1.0)
            return crop, dataclasses.replace(quality_of(pixels, aligned), roll=np.nan, yaw=np.nan)
        detection = self._detection(photo, pixels)
        return self._cut(pixels, detection), quality_of(pixels, detection)

    def _cut(self, pixels: np.ndarray, detection: Detection) -> Crop:
        crop, alignment = align(pixels, detection.landmarks, self.size)
        return Crop(crop, padded(alignment, pixels.shape).astype(np.uint8) * 255)

    def _given_padding(self, photo: LabelledPhoto) -> np.ndarray:
        """What the collection says about the padding of a crop that is aligned already."""
        if photo.padding is None:
            return np.zeros((self.size, self.size), np.uint8)
        try:
            with Image.open(io.BytesIO(photo.padding.read())) as image:
                padding = np.asarray(image.convert("L"))
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises at damaged files
            raise UnusablePhotoError(f"its padding {photo.padding.shown} cannot be read ({error})") from error
        if padding.shape[0] != padding.shape[1]:
            raise UnusablePhotoError(
                f"its padding {photo.padding.shown} is {padding.shape[1]} x {padding.shape[0]}, not square"
            )
        return cv2.resize(padding, (self.size, self.size), interpolation=cv2.INTER_AREA)

    def _whole(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        if height != width:
            raise UnusablePhotoError(
                f"wrong size: {width} x {height} is no aligned crop, which is square; "
                "alignment detector cuts the face out"
            )
        return resized(pixels, self.size)

    def _detection(self, photo: LabelledPhoto, pixels: np.ndarray) -> Detection:
        labelled = None if photo.landmarks is None else _labelled(photo, pixels.shape)
        if self.alignment == "ffhq":
            if labelled is None:
                raise UnusablePhotoError("the label has no landmarks; alignment detector finds them")
            return labelled
        found, _ = find_faces(pixels, self.detector)
        if not found:
            raise UnusablePhotoError(f"no face was found ({self.detector.name})")
        if labelled is None:
            return found[0]
        middle = labelled.landmarks.mean(axis=0)
        return min(found, key=lambda face: float(np.hypot(*(face.landmarks.mean(axis=0) - middle))))


def pixels_of(file: StoredFile) -> np.ndarray:
    """Decode a picture, `(H, W, 3)` uint8 RGB, upright, from disk or from its zip.

    Raises:
        UnusablePhotoError: It cannot be read, or not all of it: nothing should learn from grey rows.
    """
    if file.member is not None:
        return decode_photo(io.BytesIO(file.read()))[0]
    photo = read_photo(Path(file.path))
    if photo.readable is not None:
        raise UnusablePhotoError(f"The picture is damaged or cut off. {photo.notes[0]}")
    return photo.pixels


def _labelled(photo: LabelledPhoto, shape: tuple[int, ...]) -> Detection:
    """The label's face in pixels of the decoded picture, which may be larger or smaller than the labelled."""
    height, width = shape[:2]
    frame = photo.frame or (width, height)
    scale = np.divide((width, height), frame)
    if abs(scale[0] / scale[1] - 1) > SHAPE_TOLERANCE:
        raise UnusablePhotoError(
            f"wrong size: the label is of a picture of {frame[0]} x {frame[1]}, this is {width} x {height}"
        )
    landmarks = (np.array(photo.landmarks) + 0.5) * scale - 0.5
    x, y = landmarks.mean(axis=0)
    if not (0 <= x < width and 0 <= y < height):
        raise UnusablePhotoError(f"the landmarks lie outside the picture of {width} x {height}")
    if photo.box is not None:
        box = tuple((np.reshape(photo.box, (2, 2)) * scale).ravel().tolist())
    else:
        alignment = alignment_of(landmarks)
        side = FACE_HEIGHT * alignment.scale * alignment.size
        box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return Detection(box, landmarks, 1.0)


def one_thread(worker: int = 0) -> None:
    """For processes of which there are many: OpenCV must not start threads of its own in each."""
    cv2.setNumThreads(1)
