"""A turntable of EG3D at its real size on the CPU, beside one plain forward per view.

    nice -n 5 python benchmarks/eg3d_turntable.py --views 8
    python benchmarks/eg3d_turntable.py --table
    python benchmarks/eg3d_turntable.py --precision

Random weights of the released shapes. Both sides run in one process, the same views, in turn; the pictures
are compared. Memory is of a process of its own.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import time
from dataclasses import replace

import torch
from eg3d_plain import forward

from faceforward.eg3d.generator import GeneratorConfig, TriPlaneGenerator
from faceforward.eg3d.renderer import RenderSettings

GIB = 2**30


def built(**render: int) -> TriPlaneGenerator:
    """A generator of the released shapes."""
    torch.manual_seed(0)
    config = GeneratorConfig()
    config = replace(config, render=replace(RenderSettings(), **render)) if render else config
    generator = TriPlaneGenerator(config).eval()
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, 0.05)
    return generator


def orbit(count: int) -> torch.Tensor:
    """`(count, 25)` cameras from 40 degrees left to 40 degrees right, radius 2.7."""
    labels = []
    for index in range(count):
        yaw = math.radians(-40 + 80 * index / max(count - 1, 1))
        c, s = math.cos(yaw), math.sin(yaw)
        pose = [c, 0, -s, 2.7 * s, 0, -1, 0, 0, -s, 0, -c, 2.7 * c, 0, 0, 0, 1]
        labels.append([*pose, 4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1])
    return torch.tensor(labels)


def turntable(generator: TriPlaneGenerator, z: torch.Tensor, cameras: torch.Tensor) -> torch.Tensor:
    """Planes once, then every view."""
    with torch.inference_mode():
        ws = generator.map(z, cameras[:1], truncation=0.7)
        planes = generator.planes(ws)
        return torch.cat([generator.render(planes, camera[None], ws).image for camera in cameras])


def plainly(generator: TriPlaneGenerator, z: torch.Tensor, cameras: torch.Tensor) -> torch.Tensor:
    """Every view from the code on, as a script around the published forward does it."""
    first = cameras[:1]
    return torch.cat(
        [forward(generator, z, camera[None], condition=first, truncation=0.7) for camera in cameras]
    )


def parts(generator: TriPlaneGenerator, z: torch.Tensor, camera: torch.Tensor) -> dict[str, float]:
    """Seconds of each part of one view."""
    found = {}
    with torch.inference_mode():
        begun = time.perf_counter()
        ws = generator.map(z, camera)
        planes = generator.planes(ws)
        found["mapping and backbone"] = time.perf_counter() - begun
        begun = time.perf_counter()
        rendered = generator.renderer(planes, camera, generator.config.raw_resolution)
        found["rendering"] = time.perf_counter() - begun
        begun = time.perf_counter()
        generator.superresolution(rendered.features, ws)
        found["super-resolution"] = time.perf_counter() - begun
    return found


def table() -> None:
    """Seconds and peak memory of rendering alone, each row in a process of its own."""
    for resolution, samples in ((64, 24), (64, 48), (128, 24), (128, 48)):
        for chunk in (4096, 16384):
            done = subprocess.run(
                [sys.executable, __file__, "--one", str(resolution), str(samples), str(chunk)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            sys.stdout.write(done.stdout)


def one(resolution: int, samples: int, chunk: int) -> None:
    """A row of the table."""
    generator = built(samples=samples, importance_samples=samples)
    planes = torch.randn(1, 3, 32, 256, 256)
    with torch.inference_mode():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
        begun = time.perf_counter()
        generator.renderer(planes, orbit(1), resolution, chunk=chunk)
        seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    sys.stdout.write(
        f"{resolution} x {resolution} x {2 * samples}, {chunk} rays at once: {seconds:.2f} s, "
        f"peak {peak:.2f} GiB ({before:.2f} before)\n"
    )


def precisions(rounds: int) -> None:
    """Half precision and compiled convolutions beside float32: seconds of one view, and its picture."""
    generator, camera, z = built(), orbit(1), torch.randn(1, 512)
    compiled = built()
    compiled.backbone.synthesis.compile()
    compiled.superresolution.compile()
    sides = {
        "float32": (generator, None),
        "bfloat16": (generator, torch.bfloat16),
        "float16": (generator, torch.float16),
        "torch.compile, float32": (compiled, None),
        "torch.compile, bfloat16": (compiled, torch.bfloat16),
    }
    expected = None
    for name, (model, dtype) in sides.items():
        seconds = []
        for _ in range(rounds + 1):  # the first one warms up, or compiles
            begun = time.perf_counter()
            with torch.no_grad():
                ws = model.map(z, camera, truncation=0.7)
                image = model.render(model.planes(ws, dtype=dtype), camera, ws, dtype=dtype).image.float()
            seconds.append(time.perf_counter() - begun)
        expected = image if expected is None else expected
        reach = float(expected.max() - expected.min())  # of random weights' picture, in place of [-1, 1]
        error = float((image - expected).square().mean().sqrt())
        psnr = f"{20 * math.log10(reach / error):.1f} dB" if error else "the same"
        sys.stdout.write(f"{name}: {min(seconds[1:]):.2f} s ({seconds[0]:.1f} s the first), {psnr}\n")
        sys.stdout.flush()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--precision", action="store_true")
    parser.add_argument("--one", type=int, nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.one:
        one(*args.one)
        return 0
    if args.table:
        table()
        return 0
    if args.precision:
        precisions(args.rounds)
        return 0
    generator, cameras = built(), orbit(args.views)
    z = torch.randn(1, 512)
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(args.rounds):
        for name, side in (("ours", turntable), ("plain", plainly)):
            begun = time.perf_counter()
            images = side(generator, z, cameras)
            seconds[name].append((time.perf_counter() - begun) / args.views)
            if name == "ours":
                expected = images
    away = float((images - expected).square().mean().sqrt() / expected.square().mean().sqrt())
    for name, values in seconds.items():
        sys.stdout.write(f"{name}: {min(values):.2f} s a view ({', '.join(f'{v:.2f}' for v in values)})\n")
    sys.stdout.write(
        f"ratio: {min(seconds['plain']) / min(seconds['ours']):.2f}; pictures differ by {away:.1e}\n"
    )
    for name, value in parts(generator, z, cameras[:1]).items():
        sys.stdout.write(f"{name}: {value:.2f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
