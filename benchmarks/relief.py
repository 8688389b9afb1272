"""What the relief's views keep of the person, whether they turn as asked, and what they cost."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import fgnet_faces
import numpy as np
import real_faces
import torch
from camera_estimation import floor

from faceforward.eg3d import cameras
from faceforward.eg3d.pair import encode, load_pair
from faceforward.eg3d.views import picture
from faceforward.errors import UnusablePhotoError
from faceforward.faces.align import align
from faceforward.faces.camera import estimate_camera, fit_both
from faceforward.faces.detect import find_faces
from faceforward.faces.identity import DlibEmbedder, distance
from faceforward.faces.mean_face import mean_face
from faceforward.faces.mesh import FaceMesh
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.faces.reading import read_photo
from faceforward.faces.relief import Behind, Relief, build_relief
from faceforward.metrics.intervals import mean_interval
from faceforward.metrics.thresholds import DLIB_FAMILY_ALBUMS, DLIB_RECOGNITION

YAWS = (0, -15, 15, -25, 25, -40, 40)
LOOKED_AT, SEED = 28, 7  # photographs of each collection that the relief was made by: they are left out
SIDE = 512


@dataclass(frozen=True)
class Item:
    """One held-out photograph: its name, file, person, and the distance that 1 % of impostors reach."""

    name: str
    file: Path
    person: str
    limit: float


def main() -> int:
    """Measure photographs one by one, a line each, then write the figures of all lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=32, help="half from FG-NET")
    parser.add_argument("--behind", metavar="PAIR", help="a small pair that shows what is hidden")
    parser.add_argument("--lines", type=Path, help="JSON lines of photographs that were measured")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets of real people")
    parser.add_argument(
        "--speed", action="store_true", help="only time and memory of 8 views of one photograph"
    )
    parser.add_argument("--own", action="store_true", help="turn from the photograph's own view")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.speed:
        return speed(held_out(2)[1])
    lines = options.lines.read_text().splitlines() if options.lines and options.lines.exists() else []
    rows = [json.loads(line) for line in lines]
    make_behind = behind_of(options.behind) if options.behind else None
    for item in held_out(options.photos):
        if item.name in {row["name"] for row in rows}:
            continue
        row = measure(item, make_behind, options.sheets, own=options.own)
        rows.append(row)
        if options.lines:
            with options.lines.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
    sys.stdout.write("\n".join(figures(rows)) + "\n")
    return 0


def held_out(count: int) -> list[Item]:
    """Photographs that nothing of the relief was chosen by, alternately of both collections."""
    albums, sample = fgnet_faces.read(fgnet_faces.FOLDER), real_faces.aihub()
    random = np.random.default_rng(SEED)
    first = [albums[place] for place in random.permutation(len(albums))[LOOKED_AT:]]
    second = [sample[place] for place in random.permutation(len(sample))[LOOKED_AT:]]
    items = []
    for face, photo in list(zip(first, second, strict=False))[: count // 2]:
        most = limit(face.age, DLIB_FAMILY_ALBUMS)
        items.append(Item(face.file.stem, face.file, f"fgnet-{face.person}", most))
        file = Path(photo.file.path)
        items.append(Item(file.stem, file, f"aihub-{file.stem}", limit(photo.age, DLIB_RECOGNITION)))
    return items


def limit(age: int, table: dict[int, float]) -> float:
    """The distance of an age's band."""
    return table[max(first for first in table if first <= age)]


def measure(item: Item, make_behind: Callable | None, sheets: Path | None, *, own: bool) -> dict:
    """Everything of one photograph; each view is detected and aligned anew."""
    relief, crop, reference = relief_of(item.file)
    behind = make_behind(crop, relief.label) if make_behind else None
    start = cameras.angles(cameras.pose(relief.label)).tolist() if own else [0.0, 0.0, 0.0]
    asked = cameras.labels(cameras.look_at([start[0] + yaw for yaw in YAWS], *start[1:]))
    views = relief.render(asked, SIDE, behind)
    same = relief.render(relief.label[None], len(crop))[0].image.astype(np.float64)
    side = slice(*np.round(np.array([1, 5]) * len(relief.layers.alpha) / 6).astype(int).tolist())
    inside = relief.layers.alpha[side, side] > 0.9
    error = ((same - crop) ** 2)[cv2.resize(inside.astype(np.uint8), crop.shape[:2]) > 0].mean()
    row = {
        "name": item.name, "person": item.person, "limit": item.limit,
        "yaw": float(cameras.angles(cameras.pose(relief.label))[0]),
        "psnr": float(10 * np.log10(255**2 / max(error, 1e-3))),
        "views": {},
    }  # fmt: skip
    fronts = {}
    for yaw, view, camera in zip(YAWS, views, asked, strict=True):
        values: dict[str, float | None] = {"distance": None, "mesh": None, "yaw": None, "five": None}
        found, _ = find_faces(view.image, DETECTOR)
        if found:
            aligned, _ = align(view.image, found[0].landmarks, SIDE)
            values["distance"] = float(distance(reference, EMBEDDER.embed([aligned])[0]))
            fronts[yaw] = floor(found[0])
            values["five"] = turned(fronts.get(0), fronts[yaw], yaw)
            try:
                label = estimate_camera(view.image, found[0], MESH).label
                values["mesh"] = degrees(label, camera)
                values["yaw"] = float(cameras.angles(cameras.pose(label))[0]) - start[0] - yaw
            except UnusablePhotoError:
                pass
        values["holes"], values["seams"] = holes_and_seams(view)
        row["views"][str(yaw)] = values
    if sheets is not None:
        sheets.mkdir(parents=True, exist_ok=True)
        order = np.argsort(YAWS)
        pictures = [cv2.resize(crop, (SIDE, SIDE)), *(views[place].image for place in order)]
        cv2.imwrite(str(sheets / f"{item.name}.png"), np.concatenate(pictures, axis=1)[..., ::-1])
    return row


DETECTOR, MESH, EMBEDDER = MTCNNDetector(), FaceMesh(), DlibEmbedder()


def relief_of(file: Path) -> tuple[Relief, np.ndarray, np.ndarray]:
    """A photograph's relief, its crop and the descriptor of the photograph itself."""
    photo = read_photo(file)
    found, _ = find_faces(photo.pixels, DETECTOR)
    estimate = estimate_camera(photo.pixels, found[0], MESH)
    points = fit_both(photo.pixels, found[0].landmarks, MESH, mean_face())[0].mean(axis=0)
    places = estimate.alignment.points_to_crop(points[:, :2])
    solid = np.column_stack([places, points[:, 2] / estimate.alignment.scale])
    reference = EMBEDDER.embed([align(photo.pixels, found[0].landmarks, SIDE)[0]])[0]
    return build_relief(estimate.crop, estimate.label, solid), estimate.crop, reference


def degrees(label: torch.Tensor, other: torch.Tensor) -> float:
    """Between the rotations of two cameras."""
    return cameras.rotation_error(cameras.pose(label), cameras.pose(other)).item()


def front_cameras(yaws: tuple[int, ...]) -> torch.Tensor:
    """Cameras around the head at no pitch."""
    return cameras.labels(cameras.look_at([float(yaw) for yaw in yaws]))


def turned(front: torch.Tensor | None, label: torch.Tensor, yaw: float) -> float | None:
    """Degrees of yaw between a view and the front one by their five points, less those asked."""
    if front is None:
        return None
    first, second = (float(cameras.angles(cameras.pose(each))[0]) for each in (front, label))
    return second - first - yaw


def holes_and_seams(view) -> tuple[float, float]:
    """Share of the person that neither photograph nor mirror shows; edges where sources meet, over others."""
    person = view.depth > 0
    grey = cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    steep = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    soft = cv2.GaussianBlur(view.visibility, (0, 0), 1)
    change = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))
    within = cv2.erode(person.astype(np.uint8), np.ones((9, 9))) > 0
    seam, rest = within & (change > 0.2), within & (change < 0.02)
    ratio = float(steep[seam].mean() / max(float(steep[rest].mean()), 1e-6)) if seam.any() else 0.0
    return float((view.visibility[person] < 0.1).mean()), ratio


def behind_of(name: str) -> Callable[[np.ndarray, torch.Tensor], Behind]:
    """What shows a crop's head by a small pair."""
    generator, encoder = load_pair(name)
    side = encoder.resolution if hasattr(encoder, "resolution") else 128

    @torch.no_grad()
    def made(crop: np.ndarray, label: torch.Tensor) -> Behind:
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
        image = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 127.5 - 1
        ws, planes = encode(generator, encoder, image, label[None])

        @torch.no_grad()
        def shown(camera: torch.Tensor) -> np.ndarray:
            return picture(generator.render(planes, camera[None], ws).image)

        return shown

    return made


def speed(item: Item) -> int:
    """Time of building and of 8 views at 512, and the process's peak memory."""
    relief, crop, _ = relief_of(item.file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    eight = front_cameras((-40, -30, -20, -10, 10, 20, 30, 40))
    for _ in range(3):
        start, worked = time.perf_counter(), time.process_time()
        relief.render(eight, SIDE)
        spent = time.perf_counter() - start, time.process_time() - worked
        sys.stdout.write(f"8 views of a crop of {len(crop)}: {spent[0]:.2f} s, CPU {spent[1]:.2f} s\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(f"yaw of the photograph {float(cameras.angles(cameras.pose(relief.label))[0]):.0f}; ")
    sys.stdout.write(f"peak memory {peak:.2f} GiB, {before:.2f} before the views\n")
    return 0


def figures(rows: list[dict]) -> Iterator[str]:
    """Markdown of all rows."""
    people = [row["person"] for row in rows]
    psnr = [row["psnr"] for row in rows]
    yield f"{len(rows)} photographs of {len(set(people))} people; own view, within the person: PSNR "
    yield f"{np.mean(psnr):.1f} dB, least {min(psnr):.1f}"
    yield "| yaw | found | distance | below 1 % | mesh, degrees | its yaw | five, yaw | holes | seams |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for yaw in sorted({abs(value) for value in YAWS}):
        seen = [(row, row["views"][str(one)]) for row in rows for one in sorted({yaw, -yaw})]
        cells = [f"{yaw}", f"{sum(v['distance'] is not None for _, v in seen)} of {len(seen)}"]
        good = [(v["distance"], row["person"]) for row, v in seen if v["distance"] is not None]
        cells.append(f"{mean_interval(*zip(*good, strict=True), over='photographs'):.3f}")
        kept = [float(v["distance"] is not None and v["distance"] < row["limit"]) for row, v in seen]
        cells.append(f"{100 * np.mean(kept):.0f} %")
        for name in ("mesh", "yaw", "five"):
            values = [(abs(v[name]), row["person"]) for row, v in seen if v[name] is not None]
            cells.append(
                f"{mean_interval(*zip(*values, strict=True), over='photographs'):.1f}" if values else ""
            )
        cells.append(f"{100 * np.mean([v['holes'] for _, v in seen]):.1f} %")
        cells.append(f"{np.mean([v['seams'] for _, v in seen]):.2f}")
        yield "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
