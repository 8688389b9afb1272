"""Time, memory and parts of GOAE: one photograph inverted once and turned, against everything again per view.

    python benchmarks/goae.py --size full --views 8
    python benchmarks/goae.py --size small --folder runs/goae_afa_small/goae

Without `--folder` the weights are random: times and memory do not depend on them. `full` has the published
shapes, `small` those of the small experiments over `face-eg3d-128`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import torch
import yaml

from faceforward.eg3d import cameras
from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.eg3d.pair import load_pair
from faceforward.goae.afa import Afa, AfaConfig
from faceforward.goae.checkpoint import load_goae
from faceforward.goae.encoder import EncoderConfig, GoaeEncoder
from faceforward.goae.inversion import Goae
from faceforward.goae.swin import SwinConfig

EXPERIMENTS = Path(__file__).parents[1] / "configs" / "experiment"


def network_of(size: str, folder: Path | None) -> Goae:
    """All of GOAE in the asked size."""
    if size == "full":
        generator = TriPlaneGenerator()
    else:
        generator, _ = load_pair("face-eg3d-128")
    if folder is not None:
        return load_goae(folder, generator)
    if size == "full":
        return Goae(generator, GoaeEncoder(), Afa()).eval()
    shapes = yaml.safe_load((EXPERIMENTS / "goae_encoder_small.yaml").read_text())["model"]["init_args"][
        "encoder"
    ]
    swin = SwinConfig(**{n: tuple(v) if isinstance(v, list) else v for n, v in shapes.pop("swin").items()})
    encoder = EncoderConfig(swin, **{n: tuple(v) if isinstance(v, list) else v for n, v in shapes.items()})
    afa = yaml.safe_load((EXPERIMENTS / "goae_afa_small.yaml").read_text())["model"]["init_args"]["afa"]
    return Goae(
        generator, GoaeEncoder(encoder), Afa(AfaConfig(**afa | {"widths": tuple(afa["widths"])}))
    ).eval()


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("full", "small"), default="small")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = network_of(options.size, options.folder)
    side = network.generator.config.resolution
    image, own = torch.rand(1, 3, side, side) * 2 - 1, cameras.labels(cameras.look_at(0.0))
    turned = cameras.labels(cameras.look_at(torch.linspace(-40, 40, options.views)))
    with torch.inference_mode():
        start = time.perf_counter()
        network.codes(image)
        encoded = time.perf_counter()
        found = network.invert(image, own)
        inverted = time.perf_counter()
        for camera in turned:
            found.render(camera[None])
        done = time.perf_counter()
    inversion, views = inverted - encoded, done - inverted
    once, again = (inversion + views) / options.views, inversion + views / options.views
    millions = {
        name: round(sum(p.numel() for p in part.parameters()) / 1e6, 2)
        for name, part in network.named_children()
    }
    figures = {
        "size": options.size, "threads": options.threads, "views": options.views, "millions": millions,
        "codes_s": round(encoded - start, 2), "inversion_s": round(inversion, 2),
        "view_s": round(views / options.views, 2),
        "per_view_once_s": round(once, 2), "per_view_again_s": round(again, 2),
        "times_less": round(again / once, 2),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
