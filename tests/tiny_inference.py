"""The inference door as people use it: its command line on a tiny model, and what it leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def arguments(model: object, photos: object, output: object, *more: str) -> list[str]:
    """Of a short run over photographs to two ages, with infer.py itself in front."""
    return [
        "infer.py",
        "-c",
        "configs/infer/age.yaml",
        f"--photos={photos}",
        "--target_ages=[20,40]",
        f"--output={output}",
        f"--model.init_args.pretrained={model}",
        "--model.init_args.inversion=faceforward.diffusion.inversion.DirectInversion",
        "--model.init_args.inversion.init_args.steps=4",
        "--trainer.accelerator=cpu",
        *more,
    ]


def run(*args: object, **more: Any) -> subprocess.CompletedProcess:
    """A command of Python in a process of its own, with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    command = [sys.executable, *map(str, args)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False, **more
    )


def manifest(output: Path) -> list[dict[str, Any]]:
    """The lines of the manifest."""
    return [json.loads(line) for line in (output / "manifest.jsonl").read_text("utf-8").splitlines()]


def files(folder: Path) -> set[str]:
    """Every file in a folder, by its path there."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def case_files(case: str, targets: tuple[int, ...]) -> set[str]:
    """The files of a complete case."""
    pictures = [f"{folder}/{age}.png" for folder in ("aged", "photo", "raw") for age in targets]
    return {
        f"cases/{case}/{name}"
        for name in (
            "face.png",
            "result.json",
            "sheet.png",
            "raw/source.png",
            "raw/reconstruction.png",
            "raw/inverted.png",
            *pictures,
        )
    }
