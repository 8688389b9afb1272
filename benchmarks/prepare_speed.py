"""How fast `faceforward prepare` cuts out faces: one process, several, and the disk alone, in one run.

    python benchmarks/prepare_speed.py                              the 432 photographs of the shared sample
    python benchmarks/prepare_speed.py --root /data/aihub --photos 5000 --processes 1 2 8

Rows: reading the files' bytes (the first time perhaps from the disk, then from memory), reading and decoding
them in one process, and the whole command with 1, 2 ... processes, their start included. The order of the
parts is turned round in every second round; given are the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "aihub-sample"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, default=SAMPLE, help="AI Hub's tree (default: the shared sample)"
    )
    parser.add_argument("--photos", type=int, default=None, help="at most so many (default: all)")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


def main() -> None:
    """Measure and write a Markdown table."""
    # Imported here: the processes that are started import this file again.
    from faceforward.commands.prepare import prepare
    from faceforward.datamodules.aihub import AIHubSource
    from faceforward.datamodules.face_crops import one_thread, pixels_of
    from faceforward.datamodules.sources import collect

    args = arguments()
    one_thread()
    start = time.perf_counter()
    photos, rejected = collect(AIHubSource(args.root).read(), str(args.root))
    labels = time.perf_counter() - start
    photos = photos[: args.photos]

    class Some:
        name = "aihub"

        def read(self) -> object:
            return iter(photos)

    def read() -> None:
        for photo in photos:
            photo.file.read()

    def decode() -> None:
        for photo in photos:
            pixels_of(photo.file)

    def whole(processes: int) -> Callable[[], None]:
        def run() -> None:
            with tempfile.TemporaryDirectory() as folder:
                prepare(
                    Some(),  # type: ignore[arg-type]
                    args.root,
                    Path(folder) / "out",
                    size=args.size,
                    suffix=f".{args.format}",
                    processes=processes,
                )

        return run

    parts = {"read the bytes": read, "read and decode, 1 process": decode}
    parts |= {f"prepare, {count} process{'es' * (count > 1)}": whole(count) for count in args.processes}
    first = time.perf_counter()
    read()
    first = time.perf_counter() - first
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(args.rounds):
        for name in list(parts)[:: 1 if number % 2 == 0 else -1]:
            begin = time.perf_counter()
            parts[name]()
            seconds[name].append(time.perf_counter() - begin)
    figures = {name: statistics.median(times) for name, times in seconds.items()}
    megabytes = sum(photo.file.size for photo in photos) / 2**20
    write = sys.stdout.write
    write(
        f"{len(photos)} photographs, {megabytes:.1f} MiB, {len(rejected)} rejected; {args.size} px "
        f"{args.format}; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; "
        f"labels read in {labels:.2f} s\n\n"
    )
    write("| part | photos/s | seconds | least - most |\n|---|---|---|---|\n")
    write(f"| read the bytes, first time | {len(photos) / first:.0f} | {first:.2f} | |\n")
    for name, value in figures.items():
        times = seconds[name]
        write(f"| {name} | {len(photos) / value:.1f} | {value:.2f} | {min(times):.2f} - {max(times):.2f} |\n")
    if args.json:
        args.json.write_text(json.dumps({"photos": len(photos), "seconds": seconds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
