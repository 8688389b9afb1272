"""What an aged picture keeps of the photograph: sharpness, surroundings, light and colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft

from faceforward.faces.crops import check_crop

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
BAND = 128  # side of the picture whose frequencies do not count as fine
LEAST_ENERGY = 0.25  # squared grey values: below it rounding to whole values is most of what is there
LOW_SCALE = 1 / 16  # deviation of the blur that leaves light and colour, in sides
COARSE = 128  # side at which that blur is done: an eighth of its deviation is one pixel
HEAD = 1.7  # the head with its hair against the mesh's outline, about the outline's middle


def outline(points: np.ndarray, size: int, *, grown: float = 1.0) -> np.ndarray:
    """Where a face is: the inside of the convex outline of its mesh.

    Args:
        points: `(N, 2 or more)`: x, y in pixel indices of the crop.
        size: Side of the crop.
        grown: Factor about the middle of the outline's bounds; `HEAD` takes in hair and ears.

    Returns:
        `(size, size)` bool.

    Raises:
        ValueError: There are fewer than three points, or one is not a number.
    """
    places = np.asarray(points, dtype=np.float64)
    if places.ndim != 2 or len(places) < 3 or not np.isfinite(places).all():
        raise ValueError(f"expected (N, 2 or more) finite points, N at least 3, got {places.shape}")
    places = places[:, :2]
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    around = np.rint(middle + (places - middle) * grown).astype(np.int32)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(around), 1)
    return mask.astype(bool)


def fine(image: np.ndarray, band: int = BAND) -> np.ndarray:
    """The luminance that a smaller picture of the same crop cannot hold.

    A picture of `band` pixels has the first `band` functions of the discrete cosine transform in each
    direction; they are taken out.

    Args:
        image: `(S, S, 3)` uint8 RGB.
        band: Side of the smaller picture.

    Returns:
        `(S, S)` float64, grey values with mean zero; nothing is left where S is at most `band`.
    """
    values = scipy.fft.dctn(check_crop(image) @ LUMA, norm="ortho")
    values[:band, :band] = 0
    return scipy.fft.idctn(values, norm="ortho")


def sharpness(source: np.ndarray, aged: np.ndarray, face: np.ndarray) -> float:
    """How much of the photograph's fine detail the aged face has: 0 is a small picture enlarged.

    The energy of `fine` within the face, over the photograph's own.

    Args:
        source: `(S, S, 3)` uint8 RGB, the photograph's crop.
        aged: The aged picture, alike.
        face: `(S, S)` bool, where to look.

    Returns:
        The ratio; nan where the photograph has no fine detail itself (it was enlarged, or is blurred).

    Raises:
        ValueError: The pictures are not of one size, or the mask is empty.
    """
    check_pair(source, aged, face)
    own = fine_energy(source, face)
    return fine_energy(aged, face) / own if own >= LEAST_ENERGY else float("nan")


def fine_energy(image: np.ndarray, face: np.ndarray) -> float:
    """Mean square of a face's fine detail, squared grey values.

    Args:
        image: `(S, S, 3)` uint8 RGB.
        face: `(S, S)` bool, where to look; not empty.
    """
    return float(np.square(fine(image)[face]).mean())


def psnr_outside(source: np.ndarray, aged: np.ndarray, head: np.ndarray) -> float:
    """Peak signal-to-noise ratio of what is not of the head, dB.

    Args:
        source: `(S, S, 3)` uint8 RGB, the photograph's crop.
        aged: The aged picture, alike.
        head: `(S, S)` bool, the head with its hair.

    Returns:
        Infinite where nothing changed; nan where the head fills the crop.

    Raises:
        ValueError: The pictures are not of one size, or the mask is empty.
    """
    check_pair(source, aged, head)
    if head.all():
        return float("nan")
    outside = (~head).astype(np.uint8)
    error = cv2.norm(source, aged, cv2.NORM_L2SQR, mask=outside) / (3 * int(outside.sum()))
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


@dataclass(frozen=True)
class Tint:
    """How a face's light and colour changed as a whole, in CIE L*a*b* (about 2 can be seen side by side).

    Attributes:
        light: Mean change of L*, positive when the face became lighter.
        color: Length of the mean change of a* and b*.
        uneven: Root mean square of the low frequencies' change about its mean, all three together: shadows
            and patches that came or went.
    """

    light: float
    color: float
    uneven: float


def tint(source: np.ndarray, aged: np.ndarray, face: np.ndarray) -> Tint:
    """Compare the low frequencies of two faces.

    Args:
        source: `(S, S, 3)` uint8 RGB, the photograph's crop.
        aged: The aged picture, alike.
        face: `(S, S)` bool, where to look; what lies beside the face does not bleed in.

    Raises:
        ValueError: The pictures are not of one size, or the mask is empty.
    """
    check_pair(source, aged, face)
    rows, columns = (np.flatnonzero(face.any(axis=axis)) for axis in (1, 0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    first, second = (
        cv2.cvtColor(image[part].astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for image in (source, aged)
    )
    weight = face.astype(np.float32)
    difference = np.zeros((*face.shape, 3), np.float32)
    difference[part] = (second - first) * weight[part][..., None]
    mean = difference[part].sum(axis=(0, 1), dtype=np.float64) / face.sum()
    side = min(len(source), COARSE)
    shares, weighted = (
        cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA) for each in (weight, difference)
    )
    around = np.maximum(cv2.GaussianBlur(shares, (0, 0), LOW_SCALE * side), 1e-6)
    change = cv2.GaussianBlur(weighted, (0, 0), LOW_SCALE * side) / around[..., None]
    patches = change - np.average(change, axis=(0, 1), weights=shares)
    uneven = np.sqrt(np.average(np.square(patches).sum(axis=2), weights=shares))
    return Tint(float(mean[0]), float(np.hypot(mean[1], mean[2])), float(uneven))


def check_pair(source: np.ndarray, aged: np.ndarray, mask: np.ndarray) -> None:
    """See that photograph, aged picture and mask fit together.

    Raises:
        ValueError: They are not of one size, or the mask is empty.
    """
    if check_crop(source).shape != check_crop(aged).shape or mask.shape != source.shape[:2]:
        raise ValueError(
            f"photograph {source.shape}, aged picture {aged.shape} and mask {mask.shape} are not of one size"
        )
    if not mask.any():
        raise ValueError("the mask is empty: the face lies outside the crop")
