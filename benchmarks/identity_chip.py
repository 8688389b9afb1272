"""Which cut-out of the face tells people apart best: dlib's own landmarks or a fixed window."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import real_faces
import torch
from diffusers import AutoencoderKL
from scipy.spatial.distance import pdist

from faceforward.faces.crops import cut
from faceforward.faces.identity import CHIP_SIZE, CHIP_WINDOW, DlibEmbedder, distance

AGES = [range(age - 3, age + 4) for age in range(10, 71, 10)]


class FixedChip(DlibEmbedder):
    """The embedder without landmarks."""

    def chip(self, image: np.ndarray) -> np.ndarray:
        """Cut the mean chip out."""
        return cut(image, CHIP_WINDOW, CHIP_SIZE)


def main() -> int:
    """Measure and write a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    parser.add_argument("--vae", type=Path, default=real_faces.ARCHIVE.with_name("face-vae-128"))
    parser.add_argument("--photos", type=int, default=25, help="photographs per age")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    groups = real_faces.sample(options.archive, "train", AGES, options.photos, seed=options.seed)
    images = [image for labels in groups for image in real_faces.pictures(options.archive, labels)]
    decoded = round_trip(options.vae, images)
    changed = {
        "autoencoder": decoded,
        "autoencoder, misaligned": [misalign(image, generator) for image in decoded],
        "blur, noise, JPEG": [degrade(image, generator) for image in images],
        "mirrored": [np.ascontiguousarray(image[:, ::-1]) for image in images],
    }
    lines = [
        "| chip | 1 % of other people | " + " | ".join(changed) + " |",
        "|---" * (len(changed) + 2) + "|",
    ]
    for name, embedder in (("landmarks", DlibEmbedder()), ("fixed", FixedChip())):
        descriptors = embedder.embed(images)
        ends = np.cumsum([len(labels) for labels in groups])[:-1]
        others = np.concatenate([pdist(part) for part in np.split(descriptors, ends)])
        threshold = np.quantile(others, 0.01)
        cells = []
        for pictures in changed.values():
            own = distance(embedder.embed(pictures), descriptors)
            separation = (others.mean() - own.mean()) / np.sqrt((others.var() + own.var()) / 2)
            cells.append(f"{(own < threshold).mean():.0%} below, d' {separation:.2f}")
        lines.append(f"| {name} | {threshold:.3f} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


@torch.inference_mode()
def round_trip(folder: Path, images: list[np.ndarray]) -> list[np.ndarray]:
    """Encode and decode pictures."""
    vae = AutoencoderKL.from_pretrained(folder).eval()
    decoded = []
    for image in images:
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 127.5 - 1
        pixels = vae.decode(vae.encode(pixels).latent_dist.mean).sample[0].permute(1, 2, 0)
        decoded.append(((pixels + 1) * 127.5).round().clamp(0, 255).byte().numpy())
    return decoded


def misalign(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Turn by 3 degrees, scale by 3 % and shift by 2 pixels (standard deviations)."""
    side = image.shape[0]
    matrix = cv2.getRotationMatrix2D(
        (side / 2, side / 2), generator.normal(0, 3), np.exp(generator.normal(0, 0.03))
    )
    matrix[:, 2] += generator.normal(0, 2, 2)
    return cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT)


def degrade(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Blur, change the exposure, add noise and compress, as old scans are."""
    blurred = cv2.GaussianBlur(image, (0, 0), 1.2).astype(float) * generator.uniform(0.7, 1.2)
    noisy = np.clip(blurred + generator.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)


if __name__ == "__main__":
    sys.exit(main())
