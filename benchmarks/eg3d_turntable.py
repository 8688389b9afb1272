"""A turntable of EG3D at its real size on the CPU, beside one plain forward per view.

    nice -n 5 python benchmarks/eg3d_turntable.py --views 8
    python benchmarks/eg3d_turntable.py --table
    python benchmarks/eg3d_turntable.py --precision
    python benchmarks/eg3d_turntable.py --parts

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
from typing import TYPE_CHECKING

import torch
from eg3d_plain import forward
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from faceforward.eg3d.generator import GeneratorConfig, TriPlaneGenerator
from faceforward.eg3d.planes import PIXELS, plane_features, readable
from faceforward.eg3d.renderer import RenderSettings

if TYPE_CHECKING:
    from collections.abc import Callable

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


def fastest(run: Callable[[], object], times: int = 3) -> float:
    """Least seconds of a call."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def parts(generator: TriPlaneGenerator, z: torch.Tensor, camera: torch.Tensor) -> None:
    """Print what the parts of one view take, beside a plain convolution and a large copy."""
    generator.requires_grad_(False)  # the counter wants graphs else
    renderer, side = generator.renderer, generator.config.raw_resolution
    settings = renderer.settings
    block, kernel = torch.randn(2**26), torch.randn(256, 256, 3, 3)
    image = torch.randn(1, 256, 128, 128).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        rate = 2 * kernel.numel() * 128**2 / fastest(lambda: F.conv2d(image, kernel, padding=1), 10)
        copied = 2 * block.nbytes / fastest(block.clone)
        sys.stdout.write(f"a convolution: {rate / 1e9:.0f} GFLOP/s; a copy: {copied / 1e9:.1f} GB/s\n")
        ws = generator.map(z, camera)
        planes = generator.planes(ws)
        features = renderer(planes, camera, side).features
        plane = readable(planes[0])
        count = side**2 * (settings.samples + settings.importance_samples)
        points = (torch.rand(count, 3) - 0.5).split(1024 * settings.samples)  # the renderer's chunks
        read = [plane_features(plane, part, settings) for part in points]
        work = {
            "mapping and backbone": lambda: generator.planes(generator.map(z, camera)),
            "rendering": lambda: renderer(planes, camera, side),
            "of that, sampling of planes": lambda: [plane_features(plane, p, settings) for p in points],
            "of that, decoder": lambda: [renderer.decoder(part) for part in read],
            "super-resolution": lambda: generator.superresolution(features, ws),
        }
        for name, run in work.items():
            with FlopCounterMode(display=False) as counter:
                run()
            operations, seconds = counter.get_total_flops(), fastest(run)
            sys.stdout.write(
                f"{name}: {seconds:.2f} s, {operations / 1e9:.1f} GFLOP in products and convolutions, "
                f"{operations / seconds / rate:.0%} of that rate\n"
            )
    size = count * plane.shape[1] * 4 * (PIXELS + 1)
    sys.stdout.write(f"sampling reads and writes {size / 1e9:.2f} GB: {size / copied:.2f} s as a copy\n")


def table() -> None:
    """Seconds and peak memory of rendering alone, each row in a process of its own."""
    for resolution, samples in ((64, 24), (64, 48), (128, 24), (128, 48)):
        for chunk in (1024, 4096, 16384):
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
    parser.add_argument("--parts", action="store_true", help="the parts of a view alone")
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
    if args.parts:
        parts(generator, z, cameras[:1])
        return 0
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
    parts(generator, z, cameras[:1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
