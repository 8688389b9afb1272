"""A small corpus in AI Hub 71415's layout with every oddity, made from one public-domain photograph."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 128
#: Of scikit-image's astronaut at 512 x 512, in the order of `records.Detection`.
LANDMARKS = np.array([[204.0, 101.0], [247.0, 103.0], [226.0, 129.0], [201.5, 139.5], [246.0, 141.5]])
AIHUB_ORDER = (2, 0, 1, 3, 4)  # nose first


def picture(astronaut: np.ndarray, seed: int, side: int = SIDE, format: str = "PNG") -> bytes:
    """The photograph, a little brighter or darker with the seed, so that no two are the same."""
    image = Image.fromarray(astronaut).resize((side, side), Image.Resampling.LANCZOS)
    pixels = np.clip(np.asarray(image).astype(int) + seed % 40 - 20, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format)
    return stream.getvalue()


def label(name: str, id: int | str, age: object, *, side: int = SIDE, bom: bool = False, **changes) -> bytes:
    """One label; `changes` replace its fields."""
    points = (LANDMARKS[list(AIHUB_ORDER)] * side / 512).round(2).tolist()
    box = dict(zip("xywh", (np.array([179, 61, 88, 112]) * side / 512).tolist(), strict=True))
    content = {
        "filename": name,
        "id": id,
        "birth": 1980,
        "age_now": 75,
        "age_past": age,
        "format": "png",
        "width": side,
        "height": side,
        "device": "digital",
        "gender": "female",
        "annotation": [{"box": box, "landmark": points}],
        **changes,
    }
    return json.dumps(content).encode("utf-8-sig" if bom else "utf-8")


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    """A zip with these members, names as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def write_good(root: Path, astronaut: np.ndarray) -> list[str]:
    """Usable photographs: 3 people zipped in Training, 4 in Validation, of which 2 are unpacked.

    Returns:
        Their names.
    """
    names = []
    people = [("T", person) for person in (1, 2, 3)] + [("V", person) for person in (895, 896, 897, 898)]
    for kind, person in people:
        folder = root / {"T": "Training", "V": "Validation"}[kind]
        pictures, labels = {}, {}
        for index, age in enumerate((4, 18, 33, 52)):
            name = f"{person:04d}_1980_{age:02d}_{index:08d}_{'DF'[index % 2]}"
            names.append(name)
            stored, named, id, side = name, name, person, SIDE
            if person == 2:  # letter case differs, the label's name carries the suffix, the id is a text
                stored, named, id = name.lower(), f"{name}.png", f"{person:04d}"
            elif person == 3:  # labelled at twice the size
                side = 2 * SIDE
            seed = person + 10 * index
            suffix, format = ("JPG", "JPEG") if person == 896 else ("png", "PNG")
            pictures[f"/{stored}.{suffix}"] = picture(astronaut, seed, format=format)
            labels[f"/{name}.json"] = label(
                named, id, age, side=side, bom=index % 2 == 0, device=("digital", "film")[index % 2]
            )
        for what, members in (("01.source", pictures), ("02.labels", labels)):
            stem = f"{kind}{'S' if what == '01.source' else 'L'}_{person:04d}"
            if person >= 897:
                (folder / what / stem).mkdir(parents=True)
                for name, data in members.items():
                    (folder / what / stem / name.lstrip("/")).write_bytes(data)
            else:
                write_zip(folder / what / f"{stem}.zip", members)
    return sorted(names)


def write_bad(root: Path, astronaut: np.ndarray) -> tuple[dict[str, str], dict[str, str]]:
    """What cannot be used, beside the usable.

    Returns:
        The end of the file's name -> part of the reason: what labels tell, and what only pictures do.
    """
    good = picture(astronaut, 0)
    labels = {
        "/0004_1980_10_00000001_D.json": label("0004_1980_10_00000001_D", 4, 10, annotation=[]),
        "/0004_1980_11_00000002_D.json": label("0004_1980_11_00000002_D", 4, 11),
        "/0004_1980_12_00000003_D.json": b'{"filename": "0004',
        "/0004_1980_99_00000004_D.json": label("0004_1980_99_00000004_D", 4, 140),
        "/0004_1980_13_00000005_D.json": label("0004_1980_13_00000005_D", 4, 13),
        "/0004_1980_14_00000006_D.json": label("0004_1980_14_00000006_D", 4, 14, height=3 * SIDE),
        "/0004_1980_15_00000007_D.json": label("0004_1980_15_00000007_D", 4, 15, width=0),
        "/0004_1980_16_00000008_D.json": label("0004_1980_16_00000008_D", 4, 16, gender="robot"),
        "/../../evil.json": label("../../evil", 4, 17, annotation=[{"landmark": [[1, 2]]}]),
        "/notes.json": b"[1, 2]",
    }
    pictures = {
        f"/0004_1980_{age}_0000000{index}_D.png": good
        for age, index in ((10, 1), (12, 3), (99, 4), (14, 6), (15, 7), (16, 8))
    }
    pictures["/0004_1980_13_00000005_D.png"] = good[: len(good) // 2]
    pictures["/../../evil.png"] = good
    pictures["/0004_1980_17_00000009_D.png"] = good  # without a label
    write_zip(root / "Training" / "02.labels" / "TL_0004.zip", labels)
    write_zip(root / "Training" / "01.source" / "TS_0004.zip", pictures)
    (root / "Training" / "01.source" / "TS_0005.zip").write_bytes(b"PK no zip")
    (root / "Training" / "01.source" / "TS_0006.zip.part0").write_bytes(b"PK")
    by_label = {
        "00000001_D.json": "no landmarks",
        "00000002_D.json": "there is no picture 0004_1980_11_00000002_D",
        "00000003_D.json": "not JSON",
        "00000004_D.json": "impossible age 140",
        "00000007_D.json": "wrong size",
        "00000008_D.json": "unknown gender 'robot'",
        "evil.json": "not five points",
        "notes.json": "no label of AI Hub",
        "00000009_D.png": "no label for this picture",
        "TS_0005.zip": "cannot be opened",
        "TS_0006.zip": "cannot be opened",
    }
    by_picture = {"00000005_D.png": "damaged or cut off", "00000006_D.png": "wrong size"}
    return by_label, by_picture
