"""`faceforward sample`: heads that a 3D generator makes up, seen from all sides."""

from __future__ import annotations

import argparse
import logging
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from faceforward.eg3d.mesh import LARGEST, LEVEL, SMALLEST
from faceforward.errors import ConfigurationError
from faceforward.pretrained import generator_file
from faceforward.registry import GENERATORS
from faceforward.report.head import Wanted
from faceforward.report.mesh_file import SUFFIXES
from faceforward.report.samples import MANIFEST, SHEET, Samples, run

MOST_SEEDS, MOST_FRAMES = 10_000, 2_000
SEEDS = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?")
MESHES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)


def file_of(generator: str) -> Path:
    """The safetensors file of a generator that the user named.

    Raises:
        ConfigurationError: There is none, or it has to be converted first.
    """
    path = generator_file(generator)
    if path.is_file() and path.suffix in (".pkl", ".pt", ".pth"):
        raise ConfigurationError(
            f"{path} has to be converted first: faceforward convert eg3d {path} "
            f"{path.with_suffix('.safetensors').name}"
        )
    if not path.is_file():
        raise ConfigurationError(
            f"there is no generator {path}: give a .safetensors file, or {' or '.join(GENERATORS)}"
        )
    return path


def _seeds(text: str) -> tuple[int, ...]:
    seeds: dict[int, None] = {}
    for part in text.split(","):
        found = SEEDS.fullmatch(part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last or last >= 2**32:
            raise argparse.ArgumentTypeError(f"{part.strip()!r} is no seed: give such as 7, 0-3 or 0-3,7")
        if last - first + len(seeds) >= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"more than {MOST_SEEDS} seeds: take several runs")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return tuple(seeds)


def _degrees(most: float) -> Callable[[str], tuple[float, ...]]:
    def parsed(text: str) -> tuple[float, ...]:
        try:
            # Files are named by them; adding nothing makes 0 of -0.
            values = [round(float(part), 3) + 0.0 for part in text.split(",")]
        except ValueError:
            values = []
        if not values or not all(abs(value) <= most for value in values):
            raise argparse.ArgumentTypeError(
                f"{text!r}: give degrees from -{most:g} to {most:g}, as -30,0,30"
            )
        return tuple(dict.fromkeys(values))

    return parsed


def _between(least: float, most: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    def parsed(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: give a number from {least:g} to {most:g}")
        return value

    return parsed


def _meshes(text: str) -> tuple[str, ...]:
    endings = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    if not set(endings) <= set(MESHES):
        raise argparse.ArgumentTypeError(f"{text!r}: give {', '.join(MESHES)} or both with a comma")
    return endings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="faceforward sample",
        description="Let a 3D generator make up heads, one for each seed, and write views of them. They show "
        "no particular person. What is there under the same settings is not made again.",
    )
    add = parser.add_argument
    add(
        "--generator",
        default=GENERATORS[0],
        help=f"{' or '.join(GENERATORS)}, or a .safetensors file (default: %(default)s)",
    )
    add("--seeds", type=_seeds, required=True, help="such as 0-3,7")
    add("--output", type=Path, required=True, help="folder for the result")
    add(
        "--truncation",
        type=_between(0, 2, float),
        default=0.7,
        help="1 shows all that the generator knows, less is plainer and safer (default: %(default)s)",
    )
    add("--yaws", type=_degrees(180), default=Wanted.yaws, help="degrees (default: -30,0,30)")
    add("--pitch", type=_degrees(89), default=Wanted.pitches, help="degrees, one or several (default: 0)")
    add("--depth", action="store_true", help="depth maps of the views")
    add("--video", action="store_true", help="a turntable as MP4")
    add("--gif", action="store_true", help="a turntable as GIF")
    add("--frames", type=_between(2, MOST_FRAMES), default=Wanted.frames, help="of it (default: %(default)s)")
    add("--fps", type=_between(1, 60), default=Wanted.fps, help="frames a second (default: %(default)s)")
    add("--mesh", type=_meshes, default=(), help="ply, glb or ply,glb")
    add(
        "--mesh-resolution",
        type=_between(SMALLEST, LARGEST),
        default=Wanted.mesh_resolution,
        help="cells along a side (default: %(default)s)",
    )
    add(
        "--level",
        type=_between(-1e6, 1e6, float),
        help=f"density of the mesh (default: {LEVEL:g}, or less where the head is seen softer than that)",
    )
    add("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    add("--overwrite", action="store_true", help="make again what is there")
    return parser


def _joined(words: Sequence[str]) -> list[str]:
    """`--yaws -30,0` as `--yaws=-30,0`: argparse takes a word that begins with a dash for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--yaws", "--pitch", "--level") and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def main(argv: Sequence[str] | None = None) -> int:
    """Run `faceforward sample --generator NAME|FILE --seeds 0-3 --output DIR ...`.

    Returns:
        0 all heads are there, 1 some have no mesh or the disk is full, 2 it cannot work as asked.
    """
    try:
        options = _parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
    except SystemExit as stop:  # argparse has said why; 0 after --help
        return int(stop.code or 0)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        file = file_of(options.generator)
        if options.device == "cuda" and not torch.cuda.is_available():
            raise ConfigurationError("--device cuda: torch finds no GPU here")
        samples = Samples(
            file=file,
            name=options.generator if options.generator in GENERATORS else file.stem,
            seeds=options.seeds,
            truncation=options.truncation,
            wanted=Wanted(
                yaws=options.yaws,
                pitches=options.pitch,
                depth=options.depth,
                video=options.video,
                gif=options.gif,
                frames=options.frames,
                fps=options.fps,
                meshes=options.mesh,
                mesh_resolution=options.mesh_resolution,
                level=options.level,
            ),
            output=options.output,
        )
        device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        lines = run(samples, device=device, overwrite=options.overwrite)
    except ConfigurationError as error:
        sys.stderr.write(f"faceforward sample: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(
            f"faceforward sample: {options.output} cannot be written: {error}. What is complete is kept: "
            "make room and run the same command again\n"
        )
        return 1
    done = sum(line["status"] == "done" for line in lines)
    seen = f"{SHEET} and {MANIFEST}" if done else MANIFEST
    sys.stdout.write(f"{done} of {len(lines)} heads are in {options.output}; see {seen}\n")
    return int(done < len(lines))


if __name__ == "__main__":
    sys.exit(main())
