"""Make the face model: non-rigid structure from motion over points detected in the train photographs.

`--points FILE.npz` keeps the detections (minutes) apart from the fit (two minutes): either can be done again.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
import zipfile
from multiprocessing import Pool
from pathlib import Path

import cv2
import numpy as np
import real_faces
from PIL import Image

from faceforward.datamodules.aligned_faces import read_labels
from faceforward.eg3d import cameras
from faceforward.faces import mtcnn
from faceforward.faces.crop3d import FIVE_POINTS, crop3d_of
from faceforward.faces.face_model import FILE, FIRST_OF_FIVE, FaceModel, save_face_model
from faceforward.faces.landmarks import MIRRORED_68, DlibLandmarks68
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.faces.pose import HeadPose, fit_pose

logger = logging.getLogger("face_model")

LARGE, SIDE = 384, 256  # to which photographs of 128 pixels are enlarged for dlib and for the detector
#: Where faces are in them, in sides: about what the detector's boxes are.
WINDOWS = np.array([[0.13, 0.17, 0.87, 0.91], [0.17, 0.2, 0.83, 0.86], [0.15, 0.21, 0.85, 0.91]])
MIRRORED = np.concatenate([MIRRORED_68, FIRST_OF_FIVE + np.array([1, 0, 2, 4, 3])])
USED = np.concatenate([np.arange(6, 11), np.arange(17, 73)])  # the jaw's sides slide with the view: not they
FLIP = np.diag([-1.0, 1.0, 1.0])
RIGID_ROUNDS, MODE_STD, ANCHOR = 3, 0.05, 1.0  # anchor: of the weight of all detections of that point


def main() -> int:
    """Detect, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    parser.add_argument("--points", type=Path, required=True, help="detections: made if not there")
    parser.add_argument("--output", type=Path, default=Path("src/weights") / FILE)
    parser.add_argument("--modes", type=int, default=8)
    parser.add_argument("--photos", type=int, default=4000, help="at most half of them turned by 20 degrees")
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not options.points.is_file():
        names = [label.file for label in read_labels(options.archive) if label.split == "train"]
        with Pool(options.processes, _open, (options.archive,)) as pool:
            np.savez(options.points, points=np.stack(pool.map(_detect, names, chunksize=32)))
    points = chosen(np.load(options.points)["points"].astype(np.float64), options.photos)
    save_face_model(fit_model(points, options.modes, options.rounds), options.output)
    return 0


def _open(archive: Path) -> None:
    global _archive, _detector, _landmarks
    _archive, _detector, _landmarks = zipfile.ZipFile(archive), MTCNNDetector(), DlibLandmarks68()


def _detect(name: str) -> np.ndarray:
    """Points of a photograph and of its mirror image, carried back, `(2, 73, 2)` in sides of the 3D crop.

    The photographs are aligned, so dlib's boxes fit them as they are, and of the detector the last network
    alone is run, on fixed windows.
    """
    pixels = np.asarray(Image.open(io.BytesIO(_archive.read(name))).convert("RGB"))
    both = []
    for turn in (1, -1):
        picture = np.ascontiguousarray(pixels[:, ::turn])
        large = cv2.resize(picture, (LARGE, LARGE), interpolation=cv2.INTER_CUBIC)
        many = _landmarks.mean_of_boxes(large)
        few = _five(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
        both.append(np.concatenate([(many + 0.5) / LARGE, (few + 0.5) / SIDE]))
    both[1] = (both[1] * [-1, 1] + [1, 0])[MIRRORED]
    shares = np.stack(both)
    alignment = crop3d_of(shares.mean(axis=0)[FIRST_OF_FIVE:], 1)
    return (alignment.points_to_crop(shares) + 0.5).astype(np.float32)


def _five(picture: np.ndarray) -> np.ndarray:
    """The five points, `(5, 2)` pixels: the mean over the windows."""
    boxes = np.rint(WINDOWS * SIDE)
    _, points, _ = mtcnn._run(_detector._output, mtcnn._patches(picture, boxes, 48))
    sides = boxes[:, 2:] - boxes[:, :2]
    return (boxes[:, None, :2] + points.reshape(-1, 2, 5).transpose(0, 2, 1) * sides[:, None]).mean(axis=0)


def chosen(points: np.ndarray, photos: int) -> np.ndarray:
    """The photographs to learn from, `(N, P, 2)`: all agree with their mirror image, many are turned."""
    apart = np.linalg.norm(points[:, 0] - points[:, 1], axis=-1)
    good = (apart[:, :FIRST_OF_FIVE].mean(axis=1) < 0.015) & (apart[:, FIRST_OF_FIVE:].mean(axis=1) < 0.03)
    points = points[good].mean(axis=1)
    yaw = cameras.angles(cameras.pose(_five_point_poses(points).label()))[:, 0].numpy()
    turned, order = np.abs(yaw) > 20, np.random.default_rng(0).permutation(len(yaw))
    most = [index for index in order if turned[index]][: photos // 2]
    rest = [index for index in order if not turned[index]][: photos - len(most)]
    logger.info("%d of %d agree; %d turned, %d others taken", len(yaw), len(good), len(most), len(rest))
    return points[most + rest][:, USED]


def _five_point_poses(points: np.ndarray) -> HeadPose:
    five = FaceModel(np.arange(68, 73), FIVE_POINTS, np.zeros((0, 5, 3)), np.full(5, 0.01))
    return fit_pose(points[:, -5:], five)


def fit_model(points: np.ndarray, count: int, rounds: int) -> FaceModel:
    """Fit mean, modes and noise by expectation maximisation, poses and shapes being what is hidden.

    Args:
        points: `(N, 61, 2)`, the points USED, in sides of the 3D crop.
        count: Of modes.
        rounds: Of the optimisation.
    """
    mirrored = np.array([int(np.flatnonzero(MIRRORED[number] == USED)[0]) for number in USED])
    model = FaceModel(USED, np.zeros((len(USED), 3)), np.zeros((0, len(USED), 3)), np.full(len(USED), 0.01))
    poses = _five_point_poses(points)
    generator = np.random.default_rng(0)
    for number in range(rounds):
        if number == RIGID_ROUNDS:
            start = generator.normal(size=(count, len(USED), 3)) * 0.01
            model = FaceModel(USED, model.mean, (start + start[:, mirrored] @ FLIP) / 2, model.noise)
            poses = fit_pose(points, model)
        weight = weights_of(points, model, poses) if number else np.full(points.shape[:2], 1e4)
        model = _normalised(_least_squares(points, model, poses, weight, mirrored), poses)
        poses = fit_pose(points, model)
        weight = weights_of(points, model, poses)
        error = errors_of(points, model, poses)
        spread = (weight * model.noise**2 * (error**2).sum(axis=-1)).mean(axis=0) / 2
        noise = np.sqrt((spread + spread[mirrored]) / 2)
        model = FaceModel(USED, model.mean, model.modes, noise)
        sizes = np.sqrt((model.modes**2).sum(axis=(1, 2))).round(2).tolist()
        rms = 128 * np.sqrt((error**2).mean())
        logger.info("%d: rms %.3f, noise %.3f px of 128, modes %s", number, rms, 128 * noise.mean(), sizes)
    return model


def errors_of(points: np.ndarray, model: FaceModel, poses: HeadPose) -> np.ndarray:
    """What a fit leaves, `(N, P, 2)`."""
    solid = model.mean + np.tensordot(poses.shape, model.modes, axes=1)
    camera = solid @ poses.rotation.transpose(0, 2, 1) + poses.translation[:, None]
    return points - 0.5 - cameras.FOCAL * camera[..., :2] / camera[..., 2:]


def weights_of(points: np.ndarray, model: FaceModel, poses: HeadPose) -> np.ndarray:
    """Of Student's t with four degrees of freedom, `(N, P)`, as `fit_pose` has them."""
    squares = (errors_of(points, model, poses) ** 2).sum(axis=-1) / model.noise**2
    return 6 / (4 + squares) / model.noise**2


def _least_squares(
    points: np.ndarray, model: FaceModel, poses: HeadPose, weight: np.ndarray, mirrored: np.ndarray
) -> FaceModel:
    """Mean and modes for given poses: linear for given depths; each point together with its mirror's."""
    count = len(model.modes)
    solid = model.mean + np.tensordot(poses.shape, model.modes, axes=1)
    depth = np.einsum("nj,npj->np", poses.rotation[:, 2], solid) + poses.translation[:, 2:]
    seen = cameras.FOCAL * poses.rotation[:, None, :2] / depth[..., None, None]
    shifted = points - 0.5 - cameras.FOCAL * poses.translation[:, None, :2] / depth[..., None]
    design = np.concatenate([np.ones((len(points), 1)), poses.shape], axis=1)
    per_photo = np.einsum("npui,npuj,np->npij", seen, seen, weight, optimize=True)
    right = np.einsum("npui,npu,np,na->pai", seen, shifted, weight, design, optimize=True)
    moment = design[:, :, None] * design[:, None]
    moment[:, 1:, 1:] += poses.covariance[:, 6:, 6:]
    hessian = np.einsum("npij,nab->paibj", per_photo, moment, optimize=True)
    size = 3 * (1 + count)
    hessian, right = hessian.reshape(-1, size, size), right.reshape(-1, size)
    flip = np.kron(np.eye(1 + count), FLIP)
    hessian, right = hessian + flip @ hessian[mirrored] @ flip, right + right[mirrored] @ flip
    hessian[:, range(3, size), range(3, size)] += 1 / MODE_STD**2
    hessian[:, range(3), range(3)] += 1e-3
    hold = 2 * ANCHOR * np.trace(per_photo[:, -5:].sum(axis=0), axis1=1, axis2=2) / 3
    for point, (strength, place) in enumerate(zip(hold, _anchors(), strict=True), start=len(USED) - 5):
        hessian[point, range(3), range(3)] += strength
        right[point, :3] += strength * place
    solved = np.linalg.solve(hessian, right[..., None])[..., 0].reshape(-1, 1 + count, 3)
    return FaceModel(USED, solved[:, 0], solved[:, 1:].transpose(1, 0, 2), model.noise)


def _anchors() -> np.ndarray:
    return (FIVE_POINTS + FIVE_POINTS[[1, 0, 2, 4, 3]] @ FLIP) / 2


def _normalised(model: FaceModel, poses: HeadPose) -> FaceModel:
    """Take what looks like a pose out of the modes, whiten them, bring the mean into the standard frame."""
    mean, modes = model.mean, model.modes
    if len(modes):
        mean = mean + np.tensordot(poses.shape.mean(axis=0), modes, axes=1)
        middle, unit = mean - mean.mean(axis=0), np.eye(3)
        poselike = [np.ones((len(mean), 1)) * unit[axis] for axis in (1, 2)]  # up and down, to and fro
        # y by z and z by y: pitch; z by z: how deep a face is, which one view sees as yaw; all: its size.
        poselike += [middle[:, by : by + 1] * unit[axis] for axis, by in ((1, 2), (2, 1), (2, 2))] + [middle]
        basis, _ = np.linalg.qr(np.stack(poselike).reshape(len(poselike), -1).T)
        flat = modes.reshape(len(modes), -1)
        flat = flat - (flat @ basis) @ basis.T
        spread = np.cov(poses.shape.T) + poses.covariance[:, 6:, 6:].mean(axis=0)
        lower = np.linalg.cholesky(spread + 1e-6 * np.eye(len(modes)))
        _, size, axes = np.linalg.svd(lower.T @ flat, full_matrices=False)
        modes = (size[:, None] * axes).reshape(modes.shape)
    five, known = mean[-5:] - mean[-5:].mean(axis=0), _anchors()
    five = (five + five[[1, 0, 2, 4, 3]] @ FLIP) / 2  # or the turn would not quite keep the symmetry
    left, size, right = np.linalg.svd(five.T @ (known - known.mean(axis=0)))
    turn, scale = (left @ right) * (size.sum() / (five**2).sum()), known.mean(axis=0)
    return FaceModel(USED, (mean - mean[-5:].mean(axis=0)) @ turn + scale, modes @ turn, model.noise)


if __name__ == "__main__":
    sys.exit(main())
