"""What the small 3D generator makes of held-out photographs: reconstruction, depth, other sides, identity."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from faceforward.datamodules.camera_crops import CropDataset, CropStore
from faceforward.eg3d.cameras import angles, pose
from faceforward.eg3d.pair import encode, load_pair
from faceforward.eg3d.views import depth_levels, depth_preview, grid, picture, render_views
from faceforward.faces.crops import resized
from faceforward.faces.identity import DlibEmbedder, distance
from faceforward.report.metadata import Mark, write_png

YAWS = (-40.0, -20.0, 0.0, 20.0, 40.0)


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (x.y / d + 1)^3 (arXiv 1801.01401)."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(first), len(second)
    one, two, both = kernel(first, first), kernel(second, second), kernel(first, second)
    within = (one.sum() - np.trace(one)) / (n * (n - 1)) + (two.sum() - np.trace(two)) / (m * (m - 1))
    return float(within - 2 * both.mean())


def spread(scores: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """A 95 % interval of the mean over photographs, by resampling them."""
    means = [rng.choice(scores, len(scores)).mean() for _ in range(1000)]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


@torch.no_grad()
def main() -> int:
    """Measure, write a picture of faces and yaws, and print Markdown, or JSON with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", required=True, help="folder with generator and encoder")
    parser.add_argument("--crops", type=Path, required=True, help="held-out crops with dataset.json")
    parser.add_argument("--photos", type=int, default=None, help="how many; all without it")
    parser.add_argument("--grid", type=Path, help="PNG of the first eight; it shows photographs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    generator, encoder = load_pair(options.pair)
    store = CropStore(options.crops)
    names = list(store.labels)[: options.photos]
    side = generator.config.resolution
    dataset = CropDataset(store, names, side, mirror=False, in_memory=True)
    rng, embedder = np.random.default_rng(0), DlibEmbedder()
    psnr, relief, rows = [], [], []
    turned: dict[float, list[np.ndarray]] = {yaw: [] for yaw in YAWS}
    real, swapped = [], []
    for index in tqdm(range(len(names)), desc="photographs"):
        image, camera = dataset.pair(index)
        ws, planes = encode(generator, encoder, image[None], camera[None])
        view = generator.render(planes, camera[None], ws)
        psnr.append(10 * np.log10(4 / (view.image.clamp(-1, 1) - image).square().mean().item()))
        views = list(render_views(generator, planes, ws, grid(YAWS)))
        for yaw, seen in zip(YAWS, views, strict=True):
            turned[yaw].append(picture(seen.image))
        front = views[YAWS.index(0.0)]
        relief.append(relief_of(front.depth[0, 0], front.opacity[0, 0]))
        other = dataset.labels[(index + 1) % len(names)]
        swapped.append(picture(generator.render(planes, other[None], ws).image))
        real.append(picture(image[None]))
        if index < 8:
            tiles = [real[-1], picture(view.image), *(turned[yaw][-1] for yaw in YAWS)]
            tiles.append(depth_preview(depth_levels(front)))
            rows.append(np.hstack([resized(tile, 128) for tile in tiles]))
    if options.grid:
        write_png(options.grid, np.vstack(rows), Mark("composite", "Photographs, and views of their heads."))
    described, made = embedder.embed(real), embedder.embed(swapped)
    identity = {yaw: distance(embedder.embed(turned[yaw]), described) for yaw in YAWS}
    strangers = distance(described, np.roll(described, 1, axis=0))
    scale = np.abs(described).mean() ** -1
    halves = rng.permutation(len(described))
    result = {
        "photos": len(names),
        "yaw of the photographs, 5 % to 95 %": np.quantile(
            angles(pose(dataset.labels))[:, 0].numpy(), [0.05, 0.95]
        ).tolist(),
        "psnr": [float(np.mean(psnr)), *spread(np.array(psnr), rng)],
        "relief": [float(np.mean(relief)), *spread(np.array(relief), rng)],
        "identity": {f"{yaw:g}": [float(d.mean()), *spread(d, rng)] for yaw, d in identity.items()},
        "strangers": [float(strangers.mean()), *spread(strangers, rng)],
        "kid swapped": kernel_distance(made * scale, described * scale),
        "kid real halves": kernel_distance(described[halves[::2]] * scale, described[halves[1::2]] * scale),
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n" if options.json else table(result))
    return 0


def relief_of(depth: torch.Tensor, opacity: torch.Tensor) -> float:
    """How much nearer the middle of a face is than its left and right edge, world units; 0 if it is flat.

    A head's is about a tenth: its nose against its cheeks at the height of the nose.
    """
    side = depth.shape[0]
    row = slice(round(side * 0.45), round(side * 0.65))
    weights = opacity[row].clamp(min=1e-3)
    near = (depth[row] * weights).sum(0) / weights.sum(0)
    middle = near[round(side * 0.46) : round(side * 0.54)].mean()
    edges = torch.cat(
        [near[round(side * 0.27) : round(side * 0.33)], near[round(side * 0.67) : round(side * 0.73)]]
    )
    return float(edges.mean() - middle)


def table(result: dict) -> str:
    """As Markdown."""
    lines = ["| figure | mean (95 %) |", "|---|---|"]
    for name in ("psnr", "relief", "strangers"):
        mean, low, high = result[name]
        lines.append(f"| {name} | {mean:.3f} ({low:.3f}-{high:.3f}) |")
    for yaw, (mean, low, high) in result["identity"].items():
        lines.append(f"| descriptor distance at yaw {yaw} | {mean:.3f} ({low:.3f}-{high:.3f}) |")
    lines.append(f"| KID of swapped cameras (dlib's descriptors) | {result['kid swapped']:.4f} |")
    lines.append(f"| KID of two halves of the photographs | {result['kid real halves']:.4f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
