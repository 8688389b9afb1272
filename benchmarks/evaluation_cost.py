"""What `faceforward evaluate` costs beyond decoding the pictures and running the networks, and its memory.

    python benchmarks/evaluation_cost.py --photos 40          40 photographs at seven ages each, 512 px

Seconds are of this process's CPU, so that other work on the machine does not count. The pictures are val
photographs of faces-128 at 512 px, made a little brighter for each age: faces as the networks get them.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import pstats
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import real_faces
from PIL import Image

from faceforward.commands.evaluate import default_networks, evaluate
from faceforward.faces.crops import resized
from faceforward.faces.reading import read_photo
from faceforward.report.evaluation_pictures import Networks

TARGETS = (10, 20, 30, 40, 50, 60, 70)


class Timed:
    """A network whose CPU seconds are counted.

    Args:
        network: Any reader, embedder or mesh.
        method: What is called.
        spent: Seconds are added to it under the network's name.
    """

    def __init__(self, network: Any, method: str, spent: dict[str, float]) -> None:
        self.name = network.name
        setattr(self, method, self._timed(getattr(network, method), spent))

    def _timed(self, call: Callable, spent: dict[str, float]) -> Callable:
        def timed(*args: Any) -> Any:
            start = time.process_time()
            try:
                return call(*args)
            finally:
                spent[self.name] = spent.get(self.name, 0.0) + time.process_time() - start

        return timed


def write(folder: Path, archive: Path, photos: int) -> list[Path]:
    """A folder as `infer age` leaves it; returns its pictures."""
    labels = real_faces.evenly(archive, "val", photos)
    files = []
    for label, pixels in zip(labels, real_faces.pictures(archive, labels), strict=True):
        case = folder / "cases" / Path(label.file).stem
        (case / "aged").mkdir(parents=True)
        crop = resized(pixels, 512)
        Image.fromarray(crop).save(case / "face.png")
        files.append(case / "face.png")
        for step, target in enumerate(TARGETS):
            files.append(case / "aged" / f"{target}.png")
            aged = np.clip(crop.astype(np.int16) + step, 0, 255).astype(np.uint8)
            Image.fromarray(aged).save(files[-1])
        source = {"age": label.age, "gender": label.gender, "gender_origin": "given"}
        (case / "result.json").write_text(json.dumps({"file": label.file, "source": source}))
    return files


def decoding(files: Sequence[Path]) -> float:
    """Seconds for decoding them all."""
    start = time.process_time()
    for file in files:
        read_photo(file)
    return time.process_time() - start


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--profile", type=int, default=0, metavar="N", help="show the N costliest functions")
    options = parser.parse_args()
    spent: dict[str, float] = {}
    own = default_networks()
    timed = Networks(
        tuple(Timed(reader, "estimate", spent) for reader in own.readers),  # type: ignore[arg-type]
        Timed(own.embedder, "embed", spent),  # type: ignore[arg-type]
        Timed(own.mesh, "fit", spent),  # type: ignore[arg-type]
        own.detector,
    )
    with tempfile.TemporaryDirectory() as home:
        files = write(Path(home, "in"), options.archive, options.photos)
        warm = [
            resized(
                real_faces.pictures(options.archive, real_faces.evenly(options.archive, "val", 1))[0], 512
            )
        ]
        for reader in own.readers:  # sessions are opened when first used
            reader.estimate(warm)
        own.embedder.embed(warm)
        decoded = decoding(files)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        start = time.process_time()
        evaluate([Path(home, "in")], Path(home, "out"), networks=timed)
        whole = time.process_time() - start
        profile.disable()
    networks = sum(spent.values())
    beyond = whole - decoded - networks
    lines = [
        f"{len(files)} pictures, seconds of CPU: {whole:.1f} in all, {decoded:.1f} decoding, "
        f"{networks:.1f} networks",
        *(f"  {name}: {seconds:.1f}" for name, seconds in spent.items()),
        f"beyond these: {beyond:.1f}, {100 * beyond / (decoded + networks):.1f} % of them",
        f"peak memory before and after: {before / 1024:.0f}, "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.profile:
        stream = io.StringIO()
        pstats.Stats(profile, stream=stream).sort_stats("tottime").print_stats(options.profile)
        sys.stdout.write(stream.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main())
