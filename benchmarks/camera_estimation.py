"""How exact estimated cameras are: official labels, rendered heads by yaw, photographs and their mirrors."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import real_faces
import torch
from PIL import Image

from faceforward.datamodules.aligned_faces import read_labels
from faceforward.datamodules.camera_labels import read_labels as read_cameras
from faceforward.eg3d import cameras
from faceforward.errors import UnusablePhotoError
from faceforward.faces.camera import FIVE, estimate_camera
from faceforward.faces.crop3d import FIVE_POINTS, crop3d_of
from faceforward.faces.detect import Detector, find_faces
from faceforward.faces.face_model import FIRST_OF_FIVE, FaceModel, face_model
from faceforward.faces.landmarks import DlibLandmarks68, FiveLandmarks, LandmarkDetector
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.faces.pose import WORLD_ORIGIN, WORLD_SCALE, fit_pose
from faceforward.faces.refine import AnalysisBySynthesis, Refinement
from faceforward.records import Detection

#: The floor: the standard five points, rigid, with equal noise: perspective-n-point.
FLOOR = FaceModel(FIVE, FIVE_POINTS, np.zeros((0, 5, 3)), np.full(5, 0.01))
BACKENDS: dict[str, LandmarkDetector] = {"68 points": DlibLandmarks68(), "five points": FiveLandmarks()}


def main() -> int:
    """Measure and write Markdown, or JSON with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--official", type=Path, default=real_faces.ARCHIVE.parent / "cameras")
    parser.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    parser.add_argument("--photos", type=int, default=100, help="val photographs for the mirror test")
    parser.add_argument("--heads", type=int, default=300, help="rendered heads per yaw")
    parser.add_argument(
        "--noise", type=float, nargs="+", default=[1, 2, 4], help="in units of the model's own"
    )
    parser.add_argument("--refine", metavar="PAIR", help="also turn the 68 points' cameras by its renderings")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    detector = MTCNNDetector()
    refinement = AnalysisBySynthesis(options.refine) if options.refine else None
    report = {
        "official": official(options.official, detector, refinement),
        "rendered": {f"noise x {noise:g}": rendered(options.heads, noise) for noise in options.noise},
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
    fitted = {name: estimate_camera(image, found[0], backend) for name, backend in BACKENDS.items()}
    labels = {name: estimate.label for name, estimate in fitted.items()} | {"floor": floor(found[0])}
    if refinement is not None:
        best = fitted["68 points"]
        labels["68 points, refined"] = refinement.refine(best.crop, best.label).label[0]
    return labels


def floor(face: Detection) -> torch.Tensor:
    """Perspective-n-point on the detector's five points."""
    shares = crop3d_of(face.landmarks, 1).points_to_crop(face.landmarks) + 0.5
    return fit_pose(shares[None], FLOOR).label()[0]


def differences(label: torch.Tensor, other: torch.Tensor) -> tuple[float, float]:
    """Degrees between two rotations, and between two centres as the origin sees them."""
    first, second = (cameras.pose(item)[:3, 3].double() for item in (label, other))
    cosine = torch.nn.functional.cosine_similarity(first, second, dim=0).clamp(-1, 1)
    turned = cameras.rotation_error(cameras.pose(label), cameras.pose(other)).item()
    return turned, torch.rad2deg(torch.acos(cosine)).item()


def official(folder: Path, detector: Detector, refinement: Refinement | None) -> dict[str, dict]:
    """Against the official labels of photographs that are cropped already."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for part in ("npy", "dataset_json"):
        for name, label in read_cameras(folder / part).items():
            file = next(
                path for path in (folder / part).glob(f"{Path(name).stem}.*") if path.suffix != ".npy"
            )
            image = np.asarray(Image.open(file).convert("RGB"))
            for way, found in estimates(image, detector, refinement).items():
                rows.setdefault(way, []).append(differences(found, label))
    return {
        way: {
            "rotation": np.round([turned for turned, _ in found], 2).tolist(),
            "mean": float(np.mean([turned for turned, _ in found])),
            "centre_mean": float(np.mean([moved for _, moved in found])),
        }
        for way, found in rows.items()
    }


def rendered(heads: int, noise: float) -> dict[str, dict[str, float]]:
    """Known cameras see random heads of the model; mean rotation error by yaw.

    The points get the model's own noise times `noise`, and one in twenty is thrown off by ten times as much.
    """
    model, rows = face_model(), {}
    for yaw in (0, 30, 60):
        generator = np.random.default_rng([yaw, 7])
        turn = [generator.uniform(yaw - 5, yaw + 5, heads) * generator.choice([-1, 1], heads)]
        turn += [generator.normal(0, spread, heads) for spread in (10, 5)]
        truth = cameras.labels(cameras.look_at(*(torch.from_numpy(angle) for angle in turn)))
        coefficients = generator.normal(size=(heads, len(model.modes)))
        solid = (model.mean + np.tensordot(coefficients, model.modes, axes=1)) * WORLD_SCALE + WORLD_ORIGIN
        points = cameras.project(torch.from_numpy(solid).float(), truth).double().numpy()
        sigma = (
            noise
            * model.noise[:, None]
            * np.where(generator.random((heads, len(model.mean), 1)) < 0.05, 10, 1)
        )
        points += generator.normal(size=points.shape) * sigma
        cropped = np.stack([crop3d_of(head[-5:], 1).points_to_crop(head) + 0.5 for head in points])
        inner = model.numbers < FIRST_OF_FIVE
        ways = {
            "68 points": fit_pose(cropped[:, inner], model.only(model.numbers[inner])),
            "five points": fit_pose(cropped[:, ~inner], model.only(FIVE)),
            "floor": fit_pose(cropped[:, ~inner], FLOOR),
        }
        for way, fitted in ways.items():
            error = cameras.rotation_error(cameras.pose(fitted.label()), cameras.pose(truth))
            rows.setdefault(way, {})[f"yaw {yaw}"] = float(error.mean())
    return rows


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
    for noise, ways in report["rendered"].items():
        yaws = list(next(iter(ways.values())))
        lines += ["", f"| rendered, {noise}, degrees | {' | '.join(yaws)} |", "|---" * (1 + len(yaws)) + "|"]
        for way, row in ways.items():
            lines.append(f"| {way} | {' | '.join(f'{row[yaw]:.2f}' for yaw in yaws)} |")
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
