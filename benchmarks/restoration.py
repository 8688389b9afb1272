"""Does Real-ESRGAN before the edit help small and ruined faces? Good ones made worse are edited both ways.

python benchmarks/restoration.py --photos 24 --output restoration.jsonl
"""

from __future__ import annotations

import argparse
import dataclasses
import io
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from edited import editor, write_line
from PIL import Image

from faceforward.errors import UnusablePhotoError
from faceforward.faces.identity import distance
from faceforward.faces.reading import read_photo
from faceforward.faces.upscale import RealESRGANUpscaler
from faceforward.records import CaseResult

FGNET = Path(__file__).parents[1] / "../shared/data/fgnet"
HEIGHTS = (24, 32, 48, 64, 96)  # pixels of the face, JPEG quality 80
RUINED_HEIGHT = 110
LEAST_HEIGHT = 110  # of a face that is made worse
YEARS, GROWN = 12, 30  # what is asked of people from 12 on, and of younger ones


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """The picture after JPEG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream).convert("RGB"))


def halftone(pixels: np.ndarray) -> np.ndarray:
    """A grey print of dots at 45 degrees, scanned at the size of the picture."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    large = cv2.resize(grey, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC).astype(np.float64)
    rows, columns = np.mgrid[: large.shape[0], : large.shape[1]] * (2 * np.pi / 10.4)
    dots = large > 127.5 + 60 * (np.cos(columns + rows) + np.cos(columns - rows))
    printed = cv2.resize(dots * 255.0, grey.shape[::-1], interpolation=cv2.INTER_AREA)
    return np.repeat(printed.round().astype(np.uint8)[..., None], 3, axis=2)


def ruined(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The picture as bad copies have it."""
    noise = np.random.default_rng(0).normal(0, 25, pixels.shape)
    return {
        "JPEG quality 10": jpeg(pixels, 10),
        "noise of 25 grey levels": np.clip(pixels + noise, 0, 255).astype(np.uint8),
        "halftone": halftone(pixels),
        "blur of 2 % of the face": cv2.GaussianBlur(pixels, (0, 0), 0.02 * RUINED_HEIGHT),
    }


def smaller(pixels: np.ndarray, share: float) -> np.ndarray:
    """The picture at a share of its size."""
    height, width = (max(8, round(side * share)) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--output", type=Path, default=Path("restoration.jsonl"))
    args = parser.parse_args()
    made, upscaler = editor(["precision=bfloat16"]), RealESRGANUpscaler()
    files = sorted((FGNET / "photos").iterdir())
    rows: list[dict[str, Any]] = []
    for file in files[5 :: len(files) // args.photos][: args.photos]:
        photo = read_photo(file, id=file.stem)
        try:
            clean = made.age(dataclasses.replace(photo, targets=(30,)))
        except UnusablePhotoError:
            continue
        height, age = clean.face.quality.face_height, round(clean.face.age)
        if height < LEAST_HEIGHT:
            continue
        target = min(age + YEARS, 70) if age >= YEARS else GROWN
        known = dataclasses.replace(photo, age=age, gender=clean.face.gender or "female", targets=(target,))
        whole = made.embedder.embed([clean.face.pixels])
        worse = {f"{each} px": jpeg(smaller(photo.pixels, each / height), 80) for each in HEIGHTS}
        worse |= ruined(smaller(photo.pixels, RUINED_HEIGHT / height))
        for kind, pixels in worse.items():
            for restored in (False, True):
                shown = upscaler.upscale(pixels) if restored else pixels
                try:
                    case: CaseResult = made.age(dataclasses.replace(known, pixels=shown))
                except UnusablePhotoError:
                    continue
                far = distance(made.embedder.embed([case.face.pixels, case.aged[target]]), whole)
                row = {"file": file.name, "kind": kind, "restored": restored, "face": float(far[0])}
                row |= {"aged": float(far[1]), "dlib": abs(case.estimates[target].years - target)}
                row["faceres"] = abs(case.judged[target].years - target)
                write_line(args.output, row)
                rows.append(row)
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Means over the photographs that could be edited both ways."""
    pairs: dict[tuple[str, str], dict[bool, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        pairs[row["kind"], row["file"]][row["restored"]] = row
    lines = ["| face | n | face | aged | MAE dlib | MAE FaceRes |", "|---|---|---|---|---|---|"]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        both = [pair for (each, _), pair in pairs.items() if each == kind and len(pair) == 2]
        cells = [
            " -> ".join(
                f"{np.mean([pair[after][name] for pair in both]):.{digits}f}" for after in (False, True)
            )
            for name, digits in (("face", 2), ("aged", 2), ("dlib", 1), ("faceres", 1))
        ]
        lines.append(f"| {kind} | {len(both)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
