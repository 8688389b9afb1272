"""`faceforward fit-mapping`: make an autoencoder's generator one that can be sampled."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from faceforward.checks import at_least
from faceforward.datamodules.camera_crops import CropDataset, CropStore
from faceforward.eg3d.checkpoint import require_safetensors, save_generator
from faceforward.eg3d.mapping_fit import fit_mapping
from faceforward.eg3d.pair import load_pair
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceforward.eg3d.image_encoder import ImageEncoder

logger = logging.getLogger(__name__)
BATCH = 32


@torch.no_grad()
def encode(encoder: ImageEncoder, dataset: CropDataset) -> torch.Tensor:
    """The w of every crop, `(N, w)`."""
    found = []
    for start in tqdm(range(0, len(dataset), BATCH), desc="crops"):
        pairs = [dataset.pair(index) for index in range(start, min(start + BATCH, len(dataset)))]
        images, cameras = (torch.stack(values) for values in zip(*pairs, strict=True))
        found.append(encoder(images, cameras))
    return torch.cat(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="faceforward fit-mapping",
        description="Fit the mapping network of a tri-plane autoencoder to the w's of photographs, so that "
        "`faceforward sample` can make heads up.",
    )
    parser.add_argument(
        "--pair", required=True, help="folder that the autoencoder's training exported, or face-eg3d-128"
    )
    parser.add_argument("--crops", type=Path, required=True, help="camera-labelled crops: a folder or a zip")
    parser.add_argument("--output", type=Path, required=True, help="new .safetensors file of the generator")
    parser.add_argument("--steps", type=int, default=3000, help="of the fit (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `faceforward fit-mapping --pair DIR --crops PATH --output FILE`.

    Returns:
        0 and the file is there, or 2 and nothing is.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        options = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has said why; 0 after --help
        return int(stop.code or 0)
    try:
        if options.output.exists():
            raise ConfigurationError(f"{options.output} exists: give the name of a new file")
        require_safetensors(options.output)
        if not options.output.parent.is_dir():
            raise ConfigurationError(f"there is no folder {options.output.parent} for {options.output}")
        at_least(1, **{"--steps": options.steps})
        generator, encoder = load_pair(options.pair)
        store = CropStore(options.crops)
        size = encoder.resolution  # which is what it looks at
        dataset = CropDataset(store, list(store.labels), size, mirror=False, in_memory=False)
        ws = encode(encoder, dataset)
        torch.manual_seed(options.seed)
        fit_mapping(
            generator.backbone.mapping,
            ws,
            dataset.labels,
            steps=options.steps,
            seed=options.seed,
            progress=lambda step, loss: logger.info("step %d: energy distance %.4f", step, loss),
        )
        save_generator(generator, options.output)
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"faceforward fit-mapping: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
