"""How exact estimated cameras are: official labels, tipped and mirrored photographs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import real_faces
import torch
from PIL import Image

from faceforward.datamodules.aligned_faces import read_labels
from faceforward.datamodules.camera_labels import read_labels as read_cameras
from faceforward.eg3d import cameras
from faceforward.errors import UnusablePhotoError
from faceforward.faces.camera import estimate_camera
from faceforward.faces.crop3d import FIVE_POINTS, crop3d_of
from faceforward.faces.detect import Detector, find_faces
from faceforward.faces.mesh import FaceMesh
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.faces.pose import HeadPose
from faceforward.faces.refine import AnalysisBySynthesis, Refinement
from faceforward.records import Detection

MESH, FLOOR, REFINED = "mesh", "floor", "mesh, refined"
BACKEND = FaceMesh()


def main() -> int:
    """Measure and write Markdown, or JSON with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--official", type=Path, default=real_faces.ARCHIVE.parent / "cameras")
    parser.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    parser.add_argument("--photos", type=int, default=100, help="val photographs for the mirror test")
    parser.add_argument("--refine", metavar="PAIR", help="also turn the mesh's cameras by its renderings")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    detector = MTCNNDetector()
    refinement = AnalysisBySynthesis(options.refine) if options.refine else None
    report = {
        "official": official(options.official, detector, refinement),
        "tipped": tipped(options.official, detector),
        "mirror": mirrors(options.archive, options.photos, detector, refinement),
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if options.json else _text(report))
    return 0


def estimates(
    image: np.ndarray, detector: Detector, refinement: Refinement | None = None
) -> dict[str, torch.Tensor]:
    """The label of one photograph by each way, the floor too.

    Raises:
        UnusablePhotoError: No face is found.
    """
    found, _ = find_faces(image, detector)
    if not found:
        raise UnusablePhotoError("no face was found")
    fitted = estimate_camera(image, found[0], BACKEND)
    labels = {MESH: fitted.label, FLOOR: floor(found[0])}
    if refinement is not None:
        labels[REFINED] = refinement.refine(fitted.crop, fitted.label).label[0]
    return labels


def floor(face: Detection) -> torch.Tensor:
    """Perspective-n-point of the standard five points, on the detector's."""
    shares = crop3d_of(face.landmarks, 1).points_to_crop(face.landmarks) + 0.5
    inner = np.array(cameras.INTRINSICS).reshape(3, 3)
    start = np.array([np.pi, 0, 0]), np.array([0, 0, 10.0])
    _, turn, shift = cv2.solvePnP(FIVE_POINTS, shares, inner, None, *start, useExtrinsicGuess=True)
    return HeadPose(cv2.Rodrigues(turn)[0][None], shift.T, np.zeros(1)).label()[0]


def labelled(folder: Path, detector: Detector) -> Iterator[tuple[np.ndarray, Detection, np.ndarray]]:
    """Photographs with official labels, which are 3D crops already: picture, face, label `(25,)`."""
    for part in ("npy", "dataset_json"):
        for name, label in read_cameras(folder / part).items():
            file = next(
                path for path in (folder / part).glob(f"{Path(name).stem}.*") if path.suffix != ".npy"
            )
            image = np.asarray(Image.open(file).convert("RGB"))
            yield image, find_faces(image, detector)[0][0], label.numpy()


def differences(label: torch.Tensor, other: torch.Tensor) -> tuple[float, float]:
    """Degrees between two rotations, and between two centres as the origin sees them."""
    first, second = (cameras.pose(item)[:3, 3].double() for item in (label, other))
    cosine = torch.nn.functional.cosine_similarity(first, second, dim=0).clamp(-1, 1)
    turned = cameras.rotation_error(cameras.pose(label), cameras.pose(other)).item()
    return turned, torch.rad2deg(torch.acos(cosine)).item()


def official(folder: Path, detector: Detector, refinement: Refinement | None) -> dict[str, dict]:
    """Against the official labels of photographs that are cropped already."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for image, _, label in labelled(folder, detector):
        for way, found in estimates(image, detector, refinement).items():
            rows.setdefault(way, []).append(differences(found, torch.from_numpy(label)))
    return {
        way: {
            "rotation": np.round([turned for turned, _ in found], 2).tolist(),
            "mean": float(np.mean([turned for turned, _ in found])),
            "centre_mean": float(np.mean([moved for _, moved in found])),
        }
        for way, found in rows.items()
    }


def tipped(folder: Path, detector: Detector) -> dict[str, float]:
    """How far the camera of a tipped photograph is from the tipped camera, mean degrees by the tip."""
    rows: dict[str, list[float]] = {}
    for image, face, _ in labelled(folder, detector):
        straight = cameras.pose(estimate_camera(image, face, BACKEND).label)
        middle = tuple(face.landmarks.mean(axis=0).tolist())
        for degrees in (-30, -15, 15, 30):
            matrix = cv2.getRotationMatrix2D(middle, degrees, 1)  # counter-clockwise
            turned = cv2.warpAffine(image, matrix, image.shape[1::-1], flags=cv2.INTER_CUBIC)
            moved = Detection(face.box, face.landmarks @ matrix[:, :2].T + matrix[:, 2], face.score)
            found = cameras.pose(estimate_camera(turned, moved, BACKEND).label)
            expected = straight.clone()
            roll = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ cameras.look_at(0, 0, degrees)[0, :3, :3]
            expected[:3, :3] = straight[:3, :3] @ roll  # about the axis of view
            rows.setdefault(f"{degrees:+d}", []).append(cameras.rotation_error(found, expected).item())
    return {tip: float(np.mean(errors)) for tip, errors in rows.items()}


def mirrors(archive: Path, count: int, detector: Detector, refinement: Refinement | None) -> dict[str, dict]:
    """Val photographs and their mirror images: the one's label has to be the mirrored label of the other."""
    labels = [label for label in read_labels(archive) if label.split == "val"]
    spread = [labels[index] for index in np.linspace(0, len(labels) - 1, count).astype(int)]
    rows: dict[str, list[tuple[float, float]]] = {}
    failures, start = [], time.perf_counter()
    for label, image in zip(spread, real_faces.pictures(archive, spread), strict=True):
        try:
            straight = estimates(image, detector, refinement)
            mirrored = estimates(np.ascontiguousarray(image[:, ::-1]), detector, refinement)
        except UnusablePhotoError:
            failures.append(label.file)
            continue
        for way, found in straight.items():
            rows.setdefault(way, []).append(differences(cameras.mirrored(mirrored[way]), found))
    seconds = (time.perf_counter() - start) / (2 * count)
    ways = {
        way: {
            "mean": float(np.mean([turned for turned, _ in found])),
            "p95": float(np.percentile([turned for turned, _ in found], 95)),
            "centre_mean": float(np.mean([moved for _, moved in found])),
        }
        for way, found in rows.items()
    }
    return {"photographs": count, "failures": failures, "seconds_each": round(seconds, 3), "ways": ways}


def _text(report: dict) -> str:
    lines = ["| against 5 official labels, degrees | each | mean | centre |", "|---|---|---|---|"]
    for way, row in report["official"].items():
        each = ", ".join(f"{error:.1f}" for error in row["rotation"])
        lines.append(f"| {way} | {each} | {row['mean']:.2f} | {row['centre_mean']:.2f} |")
    tips = ", ".join(f"{tip}: {error:.2f}" for tip, error in report["tipped"].items())
    lines += ["", f"The same five tipped (degrees of the tip: mean degrees of error): {tips}"]
    mirror = report["mirror"]
    lines += [
        "",
        f"{mirror['photographs']} val photographs and their mirrors, {len(mirror['failures'])} no face; "
        f"{mirror['seconds_each']} s each:",
        "",
        "| mirror inconsistency, degrees | mean | 95 % below | centre |",
        "|---|---|---|---|",
    ]
    for way, row in mirror["ways"].items():
        lines.append(f"| {way} | {row['mean']:.2f} | {row['p95']:.2f} | {row['centre_mean']:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
