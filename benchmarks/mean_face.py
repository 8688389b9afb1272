"""Make the mean face: generalised Procrustes analysis of meshes, and its frame from official camera labels.

`--leave-one-out` also says how well each labelled photograph is met by a frame that the others gave.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import real_faces
from camera_estimation import labelled
from scipy.optimize import linear_sum_assignment, minimize_scalar

from faceforward.datamodules.aligned_faces import read_labels
from faceforward.eg3d import cameras
from faceforward.faces.camera import fit_both
from faceforward.faces.crop3d import FIVE_POINTS, UNIT, crop3d_of
from faceforward.faces.mean_face import FILE, NAME, MeanFace
from faceforward.faces.mesh import POINTS, FaceMesh
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.faces.pose import fit_pose, turns
from faceforward.faces.procrustes import kabsch

logger = logging.getLogger("mean_face")

SIDE = 256  # to which photographs of 128 pixels are enlarged
#: Where the five landmarks are in photographs aligned like FFHQ, in sides, about: the mesh's bounds follow.
FIVE = np.array([[0.379, 0.479], [0.621, 0.479], [0.5, 0.6], [0.4, 0.73], [0.6, 0.73]])
EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
NOSE, MOUTH, EYES, CHIN_AND_TOP = 1, 61, (33, 263), (152, 10)  # points of the mesh
FLIP = np.array([-1.0, 1.0, 1.0])


def main() -> int:
    """Fit meshes, find their mean, bring it into the frame of the labels, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    parser.add_argument("--official", type=Path, default=real_faces.ARCHIVE.parent / "cameras")
    parser.add_argument("--photos", type=int, default=1500, help="train photographs, drawn at random")
    parser.add_argument("--output", type=Path, default=Path("src/weights") / NAME / FILE)
    parser.add_argument("--leave-one-out", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    mean = mean_of(train_meshes(options.archive, options.photos))
    known = labelled_faces(options.official, mean)
    points = framed(mean.points, known)
    if options.leave_one_out:
        errors = [
            errors_of(framed(mean.points, [face for face in known if face is not left]), [left])[0]
            for left in known
        ]
        logger.info("leave one out: %s, mean %.2f degrees", np.round(errors, 1), np.mean(errors))
    logger.info("with all: %s, mean %.2f degrees", *summary(errors_of(points, known)))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    MeanFace(points).save(options.output)
    return 0


def summary(errors: np.ndarray) -> tuple[np.ndarray, float]:
    """Each error, rounded, and their mean."""
    return np.round(errors, 1), float(np.mean(errors))


def train_meshes(archive: Path, count: int) -> np.ndarray:
    """Meshes of train photographs, `(N, 468, 3)`: x right, y up, z to the viewer."""
    labels = [label for label in read_labels(archive) if label.split == "train"]
    order = np.random.default_rng(0).permutation(len(labels))[:count]
    network, meshes = FaceMesh(), []
    for picture in real_faces.pictures(archive, [labels[index] for index in order]):
        large = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        meshes.append(network.fit(large, FIVE * SIDE - 0.5).points.astype(np.float64))
    return np.stack(meshes) * [1, -1, -1]


def mean_of(meshes: np.ndarray, rounds: int = 8) -> MeanFace:
    """The symmetric mean of meshes, about the middle of its own points, of root mean square size one."""
    mean = _centred(meshes[0])
    for _ in range(rounds):
        mean = _centred(_carried(meshes, mean).mean(axis=0))
    x = mean[EYES[1]] - mean[EYES[0]]
    y = mean[CHIN_AND_TOP[1]] - mean[CHIN_AND_TOP[0]]
    mean = mean @ np.linalg.qr(np.stack([x, y, np.cross(x, y)], axis=1))[0]
    mean *= np.sign([mean[EYES[1], 0], mean[CHIN_AND_TOP[1], 1], mean[NOSE, 2]])
    mirrored = linear_sum_assignment(((mean * FLIP - mean[:, None]) ** 2).sum(axis=-1))[1]
    if len(mirrored) != POINTS or (mirrored[mirrored] != np.arange(POINTS)).any():
        raise ValueError("the mean mesh is not symmetric enough to tell its left from its right")
    for _ in range(rounds):
        both = np.concatenate([meshes, meshes[:, mirrored] * FLIP])
        mean = _centred(_carried(both, mean).mean(axis=0))
        mean = _centred((mean + mean[mirrored] * FLIP) / 2)
    return MeanFace(mean)


def _carried(meshes: np.ndarray, mean: np.ndarray) -> np.ndarray:
    rotation, scale = kabsch(meshes, mean)
    middle = meshes - meshes.mean(axis=1, keepdims=True)
    return scale[:, None, None] * middle @ rotation.transpose(0, 2, 1)


def _centred(points: np.ndarray) -> np.ndarray:
    points = points - points.mean(axis=0)
    return points / np.sqrt((points**2).sum(axis=1).mean())


@dataclass(frozen=True, eq=False)
class LabelledFace:
    """A mesh in sides of a 3D crop, `(468, 3)`, and the official camera `(25,)` of that crop."""

    mesh: np.ndarray
    label: np.ndarray


def labelled_faces(folder: Path, mean: MeanFace) -> list[LabelledFace]:
    """Meshes of the labelled photographs, which are the crops of their labels."""
    network, detector, faces = FaceMesh(), MTCNNDetector(), []
    for image, face, label in labelled(folder, detector):
        mesh = fit_both(image, face.landmarks, network, mean)[0].mean(axis=0)
        faces.append(LabelledFace((mesh + np.array([0.5, 0.5, 0])) / image.shape[0], label))
    return faces


def framed(mean: np.ndarray, known: list[LabelledFace]) -> np.ndarray:
    """The mean face in the frame of `FIVE_POINTS`.

    Where it is to the front and back follows from the five points. Its turn is the one that meets the labels
    best. With its size and its height the crops that follow from its pose are as large and as high, on
    average, as the official ones.
    """
    found = minimize_scalar(
        lambda turn: float((errors_of(_placed(mean, turn), known) ** 2).mean()), bounds=(-20, 5)
    )
    points = _placed(mean, found.x)
    size, height = 1.0, 0.0
    for _ in range(5):
        solid = points * size + [0, height, 0]
        seen = fit_pose(np.stack([face.mesh for face in known]), solid).seen(FIVE_POINTS)
        crops = [crop3d_of(five * 512 - 0.5, 512) for five in seen]
        size *= float(np.exp(np.mean([np.log(crop.scale) for crop in crops])))
        low = np.mean([crop.points_to_photo(np.full((1, 2), 255.5))[0, 1] - 255.5 for crop in crops])
        height -= float(low / 512 / UNIT)  # seen from a lower head, the five points are higher
    logger.info("turn %.2f degrees, size %.4f, height %.4f", found.x, size, height)
    return points * size + [0, height, 0]


def _placed(mean: np.ndarray, degrees: float) -> np.ndarray:
    turned = mean @ turns(np.radians([degrees, 0, 0])).T
    mirrored = MeanFace(mean).mirrored
    eye, other = turned[list(EYE)], turned[mirrored[list(EYE)]]
    corners = turned[[MOUTH, mirrored[MOUTH]]]
    five = np.stack([eye.mean(axis=0), other.mean(axis=0), turned[NOSE], *corners])
    wanted = (FIVE_POINTS + FIVE_POINTS[[1, 0, 2, 4, 3]] * FLIP) / 2
    middle, goal = five.mean(axis=0), wanted.mean(axis=0)
    scale = ((five - middle) * (wanted - goal)).sum() / ((five - middle) ** 2).sum()
    return (turned - middle) * scale + goal


def errors_of(points: np.ndarray, known: list[LabelledFace]) -> np.ndarray:
    """Degrees between the rotations of poses and of labels, `(N,)`."""
    import torch

    pose = fit_pose(np.stack([face.mesh for face in known]), points)
    labels = torch.from_numpy(np.stack([face.label for face in known]))
    return cameras.rotation_error(cameras.pose(pose.label()), cameras.pose(labels)).numpy()


if __name__ == "__main__":
    sys.exit(main())
