"""Learn how faces grow, and show on FG-NET that a grown child is nearer to its adult self.

    python benchmarks/growth.py fit --meshes FILE.npz       learn src/weights/face-growth from faces-128
    python benchmarks/growth.py fgnet                       points, retrieval and both readings of age

`--meshes FILE.npz` keeps the meshes (minutes) apart from the fit (seconds).
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import fgnet_faces
import numpy as np
import real_faces
from growth_fit import fit_shapes
from tqdm import tqdm

from faceforward.datamodules.aligned_faces import read_labels
from faceforward.faces.age import DlibAgeEstimator
from faceforward.faces.align import align, alignment_of
from faceforward.faces.detect import default_detector, find_faces
from faceforward.faces.faceres import FaceResAgeEstimator
from faceforward.faces.growth import ADULT, FILE, Growth, five_points, warp
from faceforward.faces.identity import DlibEmbedder
from faceforward.faces.mesh import FaceMesh, Mesh
from faceforward.faces.procrustes import similarity
from faceforward.metrics.intervals import difference_interval, mean_interval
from faceforward.metrics.retrieval import Gallery, fused, ranks

logger = logging.getLogger("growth")

#: Where eyes, nose and mouth are in a crop of faces-128, in sides: near enough for the mesh's first square.
FIVE = np.array([[0.38, 0.472], [0.62, 0.472], [0.5, 0.62], [0.41, 0.75], [0.59, 0.75]])
GROWN_PHOTOS = 2600  # of adults; of everybody below 20 all are taken
OLDER = 0.7  # how likely one from 40 on is drawn against a younger one
SIZE, MOST_TURN, LEAST_SCORE = 512, 25.0, 0.9
FIRST, LAST = 4, 17  # years of the children
GROUPS = (range(4, 13), range(4, 8), range(8, 13), range(13, 15), range(15, 18))
SHARES = (0.5, 0.75, 1.0, 1.25, 1.6)


def main() -> int:
    """Learn or measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    fit = commands.add_parser("fit")
    fit.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    fit.add_argument("--meshes", type=Path, required=True, help="made if not there")
    fit.add_argument("--output", type=Path, default=Path("src/weights/face-growth") / FILE)
    fgnet = commands.add_parser("fgnet")
    fgnet.add_argument("--fgnet", type=Path, default=fgnet_faces.FOLDER)
    fgnet.add_argument("--shapes", type=Path, help="default: the package's own")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.command == "fit":
        learn(options)
    else:
        measure(options)
    return 0


def learn(options: argparse.Namespace) -> None:
    """Fit meshes to train photographs, learn the shapes, write them."""
    if not options.meshes.is_file():
        generator = np.random.default_rng(0)
        labels = [label for label in read_labels(options.archive) if label.split == "train"]
        young = [label for label in labels if label.age < 20]
        grown = [label for label in labels if label.age >= 20]
        likely = np.array([1.0 if label.age < 40 else OLDER for label in grown])
        chosen = generator.choice(
            len(grown), min(GROWN_PHOTOS, len(grown)), replace=False, p=likely / likely.sum()
        )
        labels, network = young + [grown[index] for index in sorted(chosen)], FaceMesh()
        meshes = [
            network.fit(picture, FIVE * len(picture) - 0.5)
            for picture in tqdm(real_faces.pictures(options.archive, labels))
        ]
        np.savez(
            options.meshes,
            points=np.stack([mesh.points for mesh in meshes]),
            score=[mesh.score for mesh in meshes],
            age=[label.age for label in labels],
            gender=[label.gender for label in labels],
        )
    with np.load(options.meshes) as stored:
        shapes = fit_shapes(stored["points"], stored["score"], stored["age"], stored["gender"])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    shapes.save(options.output)
    logger.info("%s: %d bytes", options.output, options.output.stat().st_size)


def measure(options: argparse.Namespace) -> None:
    """Everything on FG-NET's half."""
    growth, network, detector = Growth(options.shapes), FaceMesh(), default_detector()
    crops, meshes, faces = [], [], []
    for face in tqdm(fgnet_faces.read(options.fgnet), desc="photographs"):
        pixels = face.photo().pixels
        found, _ = find_faces(pixels, detector)
        if found:
            crop, alignment = align(pixels, found[0].landmarks, SIZE)
            crops.append(crop)
            meshes.append(network.fit(crop, alignment.points_to_crop(found[0].landmarks)))
            faces.append(face)
    measure_noise(growth, network, crops, meshes)
    measure_points(growth, meshes, faces)
    measure_recognition(growth, crops, meshes, faces)


def measure_noise(growth: Growth, network: FaceMesh, crops: list[np.ndarray], meshes: list[Mesh]) -> None:
    """How far a mesh moves when its crop is mirrored: what a change of shape has to be seen above."""
    apart = []
    for crop, mesh in zip(crops[::5], meshes[::5], strict=True):
        five = five_points(mesh.points)[[1, 0, 2, 4, 3], :2] * [-1, 1] + [SIZE - 1, 0]
        other = network.fit(np.ascontiguousarray(crop[:, ::-1]), five).points[growth.shapes.mirrored, :2]
        difference = mesh.points[:, :2] - (other * [-1, 1] + [SIZE - 1, 0])
        apart.append(np.sqrt((difference**2).sum(axis=1).mean() / 2))
    logger.info("noise of a mesh: median %.2f px of %d, in sides %.4f", *_summary(apart))


def _summary(apart: list[float]) -> tuple[float, int, float]:
    return float(np.median(apart)), SIZE, float(np.median(apart)) / SIZE


def measure_points(growth: Growth, meshes: list[Mesh], faces: list[fgnet_faces.FGNetFace]) -> None:
    """How often a grown child's points are nearer to the adult's than the child's own, by share of growth."""
    frontal = growth.shapes.at(15, None)
    angles = [_angles(similarity(frontal, mesh.points.astype(np.float64))[1]) for mesh in meshes]
    usable = [
        max(angle) < MOST_TURN and mesh.score > LEAST_SCORE
        for angle, mesh in zip(angles, meshes, strict=True)
    ]
    children = [i for i, face in enumerate(faces) if usable[i] and FIRST <= face.age <= LAST]
    adults = [i for i, face in enumerate(faces) if usable[i] and face.age >= fgnet_faces.ADULT]
    pairs = [(i, j) for i in children for j in adults if faces[i].person == faces[j].person]
    people = [faces[i].person for i, _ in pairs]
    own = [mesh.points.astype(np.float64) for mesh in meshes]
    ages = np.array([faces[i].age for i, _ in pairs])
    for share in SHARES:
        growth.share = share
        grown = {
            i: growth.points(meshes[i], SIZE, age=faces[i].age, shape_age=ADULT, gender=None)
            for i in {i for i, _ in pairs}
        }
        for name, apart in (("crop", _apart_in_crop), ("space", _apart_in_space)):
            before = np.array([apart(own[i], own[j]) for i, j in pairs])
            after = np.array([apart(grown[i], own[j]) for i, j in pairs])
            nearer = (after < before).astype(float)
            for group in GROUPS if share == 1 else GROUPS[:1]:
                chosen = np.flatnonzero(np.isin(ages, group))
                of = [people[place] for place in chosen]
                logger.info(
                    "share %.2f, %s, age %d to %d: nearer in %s over %d pairs of %d people, %s over people; "
                    "%.2f -> %.2f px",
                    share, name, group[0], group[-1],
                    f"{mean_interval(nearer[chosen], of, over='photographs'):.3f}", len(of), len(set(of)),
                    f"{mean_interval(nearer[chosen], of):.2f}", before[chosen].mean(), after[chosen].mean(),
                )  # fmt: skip
    growth.share = 1.0


def _angles(turn: np.ndarray) -> tuple[float, float]:
    yaw, pitch = np.arctan2(turn[0, 2], turn[2, 2]), np.arcsin(np.clip(turn[1, 2], -1, 1))
    return abs(float(np.degrees(yaw))), abs(float(np.degrees(pitch)))


def _apart_in_crop(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square in pixels of crops that are aligned by the meshes' own landmarks."""
    first, second = (
        alignment_of(five_points(points)[:, :2], SIZE).points_to_crop(points[:, :2]) for points in (a, b)
    )
    return float(np.sqrt(((first - second) ** 2).sum(axis=1).mean()))


def _apart_in_space(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square in pixels after the best similarity."""
    scale, turn, shift = similarity(a, b)
    return float(np.sqrt(((scale * a @ turn.T + shift - b) ** 2).sum(axis=1).mean()))


def measure_recognition(
    growth: Growth, crops: list[np.ndarray], meshes: list[Mesh], faces: list[fgnet_faces.FGNetFace]
) -> None:
    """Whether grown children still find their adult selves, and how old they look."""
    embedder, readers = DlibEmbedder(), (DlibAgeEstimator(), FaceResAgeEstimator())
    adults = [i for i, face in enumerate(faces) if face.age >= fgnet_faces.ADULT]
    grown_up = {faces[i].person for i in adults}
    gallery = Gallery.of(embedder.embed([crops[i] for i in adults]), [faces[i].person for i in adults])
    probes = [i for i, face in enumerate(faces) if face.age in fgnet_faces.CHILD and face.person in grown_up]
    people = [faces[i].person for i in probes]
    plain = [crops[i] for i in probes]
    warped = []
    for i in probes:
        field = growth.field(meshes[i], SIZE, age=faces[i].age, shape_age=ADULT, gender=None)
        warped.append(warp(crops[i], field))
    own = gallery.rows(people)
    vectors = {"unchanged": embedder.embed(plain), "grown": embedder.embed(warped)}
    vectors["both"] = fused(vectors["unchanged"], vectors["grown"])
    places = {name: ranks(gallery.distances(values), own).astype(float) for name, values in vectors.items()}
    for name, place in places.items():
        figures = (
            f"{mean_interval((place <= most).astype(float), people):.2f} at rank {most}" for most in (1, 5)
        )
        logger.info("%s: %s, mean rank %s", name, ", ".join(figures), f"{mean_interval(place, people):.1f}")
    for name in ("grown", "both"):
        change = difference_interval(places[name], places["unchanged"], people)
        logger.info("mean rank, %s - unchanged: %s", name, f"{change:.2f}")
    logger.info(
        "%d photographs of %d people, %d in the gallery", len(probes), len(set(people)), len(grown_up)
    )
    for reader in readers:
        before, after = ([one.years for one in reader.estimate(pictures)] for pictures in (plain, warped))
        moved = difference_interval(after, before, people)
        logger.info("%s: %.1f years unchanged, %s when grown", reader.name, np.mean(before), f"{moved:+.1f}")


if __name__ == "__main__":
    sys.exit(main())
