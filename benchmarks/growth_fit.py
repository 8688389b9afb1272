"""Learn the mean shapes of the face by age and gender from the meshes of many photographs of other people."""

from __future__ import annotations

import logging

import numpy as np
from scipy.optimize import linear_sum_assignment

from faceforward.faces.align import alignment_of
from faceforward.faces.growth import GENDERS, FaceShapes, five_points
from faceforward.faces.mesh import EYES
from faceforward.faces.procrustes import similarity

logger = logging.getLogger("growth")

AGES = np.concatenate([np.arange(2, 20, 1.0), np.arange(20, 82, 3.0)])
LEAST_BAND, BAND = 1.5, 0.2  # years, and share of the age: the kernel's deviation
FLIP = np.array([-1.0, 1.0, 1.0])
LEAST_SCORE, MOST_YAW, MOST_PITCH, WORST = 0.9, 30.0, 25.0, 98.0  # the last: percentile of what a pose leaves
FRONTAL = 0.02  # sides: so near the middle of the eyes is the nose of those that the first mean is made of
UPPER_LIP, LOWER_LIP = 13, 14  # the middle of their inner edges
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip


def fit_shapes(
    points: np.ndarray, scores: np.ndarray, ages: np.ndarray, genders: np.ndarray, *, rounds: int = 4
) -> FaceShapes:
    """Pose every mesh against the mean of its own age and gender, and regress the shapes over age.

    Poses and means are found in turn. What open mouths and the pose that is left explain of a shape within
    an age is taken out of it, or the mean child would be one who laughs and looks up.

    Args:
        points: `(N, 468, 3)` meshes in the pixels of their crops.
        scores: `(N,)` of the meshes.
        ages: `(N,)` years.
        genders: `(N,)` of `female`, `male`.
        rounds: How often poses are found.
    """
    good = scores > LEAST_SCORE
    points, ages = points[good].astype(np.float64), ages[good].astype(np.float64)
    male = genders[good] == GENDERS[1]
    mean, mirrored = _first_mean(points)
    reference = np.broadcast_to(mean, points.shape)
    for number in range(rounds):
        turns, posed = _posed(points, reference)
        left_over = np.sqrt(((posed - reference) ** 2).sum(axis=-1).mean(axis=1))
        shapes = _in_frame(posed)
        nuisance = _nuisance(shapes, turns)
        yaw, pitch = (np.degrees(angle) for angle in _angles(turns))
        kept = (
            (abs(yaw) < MOST_YAW) & (abs(pitch) < MOST_PITCH) & (left_over < np.percentile(left_over, WORST))
        )
        shapes = (shapes + (shapes * FLIP)[:, mirrored]) / 2
        means = _regressed(_cleaned(shapes, nuisance, ages, male, kept), ages, male, kept)
        left = left_over.mean() / np.ptp(reference[0, :, 1])
        logger.info("round %d: %d of %d kept, %.4f of the height left", number, kept.sum(), len(kept), left)
        reference = _at(means, ages, male)
    middle = means.mean(axis=(0, 1))
    steady = np.array([[_steady(shape, middle) for shape in of_gender] for of_gender in means])
    return FaceShapes(AGES, steady, mirrored)


def _first_mean(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric mean mesh by Procrustes analysis, and what each point is called on the mirrored face."""
    five = np.array([five_points(mesh) for mesh in points])
    side = np.ptp(points[..., 1], axis=1).mean()
    aside = (five[:, 2, 0] - five[:, :2, 0].mean(axis=1)) / side
    mean = points[np.abs(aside) < FRONTAL].mean(axis=0)
    mean -= mean.mean(axis=0)
    for _ in range(3):
        mean = _posed(points, np.broadcast_to(mean, points.shape))[1].mean(axis=0)
        mirrored = _mirrored(mean)
        mean = (mean + (mean * FLIP)[mirrored]) / 2
    return mean, mirrored


def _mirrored(mesh: np.ndarray) -> np.ndarray:
    """Pair the points of a nearly symmetric mesh with those of its mirror image, `(468,)`."""
    mesh = mesh - mesh.mean(axis=0)
    for _ in range(3):
        apart = np.linalg.norm((mesh * FLIP)[:, None] - mesh[None], axis=-1)
        _, pairs = linear_sum_assignment(apart)
        _, turn, shift = similarity(mesh, (mesh + (mesh * FLIP)[pairs]) / 2)
        mesh = mesh @ turn.T + shift
    return np.asarray(pairs)


def _posed(points: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations from the reference to each mesh, `(N, 3, 3)`, and the meshes brought to the reference."""
    turns, posed = [], []
    for mesh, wanted in zip(points, reference, strict=True):
        scale, turn, shift = similarity(mesh, wanted)
        turns.append(turn.T)
        posed.append(scale * mesh @ turn.T + shift)
    return np.array(turns), np.array(posed)


def _angles(turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.arctan2(turns[:, 0, 2], turns[:, 2, 2]), np.arcsin(np.clip(turns[:, 1, 2], -1, 1))


def _in_frame(posed: np.ndarray) -> np.ndarray:
    """Align meshes that look at the viewer as FFHQ aligns a crop: sides, from the crop's middle."""
    size, framed = 1000, np.empty_like(posed)
    for mesh, place in zip(posed, framed, strict=True):
        five = five_points(mesh)
        alignment = alignment_of(five[:, :2], size)
        place[:, :2] = (alignment.points_to_crop(mesh[:, :2]) + 0.5) / size - 0.5
        place[:, 2] = (mesh[:, 2] - five[[0, 1, 3, 4], 2].mean()) / alignment.scale / size
    return framed


def _nuisance(shapes: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """What differs between photographs and is not growth, `(N, 3)`: the open mouth, yaw squared, pitch."""
    yaw, pitch = _angles(turns)
    mouth = np.linalg.norm(shapes[:, UPPER_LIP] - shapes[:, LOWER_LIP], axis=-1)
    return np.stack([mouth, yaw**2, pitch], axis=1)


def _cleaned(
    shapes: np.ndarray, nuisance: np.ndarray, ages: np.ndarray, male: np.ndarray, kept: np.ndarray
) -> np.ndarray:
    """Take out of the shapes what the nuisance explains at a given age (Robinson, Econometrica 1988)."""
    nuisance = nuisance - nuisance[kept].mean(axis=0)
    apart = [values - _at(_regressed(values, ages, male, kept), ages, male) for values in (nuisance, shapes)]
    flat = apart[1].reshape(len(shapes), -1)
    slopes = np.linalg.lstsq(apart[0][kept], flat[kept], rcond=None)[0]
    return shapes - (nuisance @ slopes).reshape(shapes.shape)


def _regressed(values: np.ndarray, ages: np.ndarray, male: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Local linear kernel regression over age, for each gender: `(2, A, ...)`."""
    flat, results = values.reshape(len(values), -1), []
    for chosen in (kept & ~male, kept & male):
        for age in AGES:
            away = ages - age
            weights = chosen * np.exp(-0.5 * (away / max(LEAST_BAND, BAND * age)) ** 2)
            s0, s1, s2 = (float((weights * away**power).sum()) for power in range(3))
            linear = weights * (s2 - s1 * away) / (s0 * s2 - s1 * s1)
            results.append(linear @ flat)
    return np.array(results).reshape(2, len(AGES), *values.shape[1:])


def _at(means: np.ndarray, ages: np.ndarray, male: np.ndarray) -> np.ndarray:
    """The means at each photograph's age and gender, `(N, ...)`."""
    places = np.interp(ages, AGES, np.arange(len(AGES)))
    first = np.minimum(places.astype(int), len(AGES) - 2)
    part = (places - first).reshape(-1, *[1] * (means.ndim - 2))
    low, high = means[male.astype(int), first], means[male.astype(int), first + 1]
    return low + part * (high - low)


def _steady(shape: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Let eyes move as wholes, so that irises stay round, and lips linearly, so that mouths stay shut."""
    steady = shape.copy()
    for eye in map(list, EYES):
        scale, turn, shift = similarity(middle[eye, :2], shape[eye, :2])
        steady[eye, :2] = scale * middle[eye, :2] @ turn.T + shift
        steady[eye, 2] = middle[eye, 2] + (shape[eye, 2] - middle[eye, 2]).mean()
    lips = list(LIPS)
    design = np.concatenate([middle[lips, :2], np.ones((len(lips), 1))], axis=1)
    steady[lips] = middle[lips] + design @ np.linalg.lstsq(design, shape[lips] - middle[lips], rcond=None)[0]
    return steady
