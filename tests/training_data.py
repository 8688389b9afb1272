"""A tiny archive of aligned faces in the form of faces-128.zip, made from one public-domain photograph."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def write_archive(
    path: Path, photograph: np.ndarray, *, size: int = 32, train: int = 8, val: int = 3
) -> Path:
    """Crops of `photograph` as JPEGs with `labels.csv`."""
    rng = np.random.default_rng(0)
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(train + val):
            x, y = rng.integers(100, 200), rng.integers(0, 60)
            crop = Image.fromarray(photograph[y : y + 200, x : x + 200]).resize((size, size))
            stream = io.BytesIO()
            crop.save(stream, "JPEG", quality=95)
            name = f"{index:05d}.jpg"
            archive.writestr(name, stream.getvalue())
            gender = "female" if index % 2 else "male"
            rows.append([name, 5 + 7 * index, gender, "train" if index < train else "val"])
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["file", "age", "gender", "split"])
        writer.writerows(rows)
        archive.writestr("labels.csv", text.getvalue())
    return path
