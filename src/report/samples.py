"""A run of `faceforward sample`: one folder for each seed, a sheet of all and a manifest."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from faceforward.atomic import atomic_file, remove_leftovers, write_atomically
from faceforward.eg3d.cameras import LABEL
from faceforward.eg3d.checkpoint import load_generator
from faceforward.eg3d.heads import code
from faceforward.eg3d.mesh import NoSurfaceError, require_packages
from faceforward.errors import ConfigurationError
from faceforward.faces.crops import resized
from faceforward.pretrained import sha256_of
from faceforward.report.case import read_case, settings_key, sweep
from faceforward.report.head import Wanted, write_head
from faceforward.report.metadata import Mark, write_png
from faceforward.report.video import require_av
from faceforward.report.view_grid import TILE, view_grid
from faceforward.version import __version__

if TYPE_CHECKING:
    from pathlib import Path


MANIFEST, SHEET = "manifest.jsonl", "sheet.png"
MOST_ROWS = 40  # of the sheet


@dataclass(frozen=True)
class Samples:
    """Heads of one generator and what is made of each.

    Attributes:
        file: The generator, `.safetensors`.
        name: What the marks call it.
        seeds: One head for each.
        truncation: See `Mapping`.
        wanted: Of each head.
        output: The folder of results.
    """

    file: Path
    name: str
    seeds: tuple[int, ...]
    truncation: float
    wanted: Wanted
    output: Path

    def folder(self, seed: int) -> Path:
        """Where a head's files go."""
        return self.output / "heads" / f"{seed:04d}"

    def settings(self, seed: int) -> dict[str, Any]:
        """What decides a head's files, as JSON values."""
        return {"seed": seed, "truncation": self.truncation, **self.wanted.settings()}

    def prepare(self) -> None:
        """Make the folder, see that it can be written, and remove what a killed run left.

        Raises:
            ConfigurationError: It cannot be written.
        """
        try:
            (self.output / "heads").mkdir(parents=True, exist_ok=True)
            sweep(self.output / "heads")
            remove_leftovers(self.output)
            write_atomically(self.output / ".writable", "")
            (self.output / ".writable").unlink()
        except OSError as error:
            raise ConfigurationError(f"--output {self.output} cannot be written: {error}") from error

    def found(self, sha256: str) -> dict[int, dict[str, Any]]:
        """Heads that are there under the same settings.

        Raises:
            ConfigurationError: Others are.
        """
        results = {seed: read_case(self.folder(seed)) for seed in self.seeds}
        there = {seed: result for seed, result in results.items() if result is not None}
        for seed, result in there.items():
            if result.get("settings_sha256") != settings_key(self.settings(seed), sha256):
                raise ConfigurationError(
                    f"{self.folder(seed)} holds a head that was made under other settings; give another "
                    "--output, or --overwrite to replace it"
                )
        return there


def run(samples: Samples, *, device: str, overwrite: bool = False) -> list[dict[str, Any]]:
    """Write every head, the sheet and the manifest; heads that are there are not made again.

    Args:
        samples: What to make.
        device: Where: `cpu` or `cuda`.
        overwrite: Make again what is there.

    Returns:
        The manifest's lines.

    Raises:
        ConfigurationError: The generator or the folder cannot be used as asked.
        OSError: The disk is full or cannot be written any more.
    """
    if samples.wanted.meshes:
        require_packages()
    if samples.wanted.video:
        require_av()
    try:
        generator, sha256 = load_generator(samples.file), sha256_of(samples.file)
    except OSError as error:
        raise ConfigurationError(f"{samples.file} cannot be read: {error}") from error
    if generator.config.condition != LABEL:
        raise ConfigurationError(
            f"{samples.file} takes {generator.config.condition} numbers as a camera, not {LABEL}"
        )
    samples.prepare()
    there = {} if overwrite else samples.found(sha256)
    generator.to(device)
    lines: list[dict[str, Any]] = []
    rows: dict[int, list[np.ndarray]] = {}
    for seed in tqdm(samples.seeds, desc="heads", unit="head"):
        start, reason, result = time.perf_counter(), None, there.get(seed)
        if result is None:
            facts = {
                "generator": {"name": samples.name, "sha256": sha256},
                "settings": samples.settings(seed),
                "settings_sha256": settings_key(samples.settings(seed), sha256),
            }
            ws = code(generator, seed, samples.truncation)
            try:
                result = write_head(
                    samples.folder(seed), generator, ws, samples.wanted, model=samples.name, facts=facts
                )
            except NoSurfaceError as error:
                reason = str(error)
                if samples.folder(seed).exists():  # it is not lost, and it is not what was asked for
                    reason += "; its folder still holds the head of an earlier run, under that one's settings"
                tqdm.write(f"seed {seed}: {reason}", file=sys.stderr)
        lines.append(
            {
                "seed": seed,
                "folder": samples.folder(seed).relative_to(samples.output).as_posix() if result else None,
                "status": "done" if result else "failed",
                "reason": reason,
                "reused": seed in there,
                "seconds": round(time.perf_counter() - start, 3),
            }
        )
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_atomically(samples.output / MANIFEST, text)
        if result and len(rows) < MOST_ROWS:
            rows[seed] = _tiles(samples.folder(seed), result)
    if rows:
        _write_sheet(samples, rows)
    else:
        (samples.output / SHEET).unlink(missing_ok=True)  # of an earlier run
    return lines


def _tiles(folder: Path, result: dict[str, Any]) -> list[np.ndarray]:
    tiles = []
    for view in result["views"]:
        with Image.open(folder / view["file"]) as image:
            tiles.append(resized(np.asarray(image.convert("RGB")), TILE))
    return tiles


def _write_sheet(samples: Samples, rows: dict[int, list[np.ndarray]]) -> None:
    pixels = view_grid(
        list(rows.values()),
        names=[f"seed {seed}" for seed in rows],
        views=[f"{yaw:+g}, {pitch:+g}" for yaw, pitch in samples.wanted.angles],
        footer=f"Made up by {samples.name}, faceforward {__version__}. No photograph, no particular person.",
    )
    mark = Mark("synthetic", "Generated heads from several angles.", samples.name)
    with atomic_file(samples.output / SHEET) as temporary:
        write_png(temporary, pixels, mark)
