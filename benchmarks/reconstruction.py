"""How well each inversion gives a photograph back: a target with the source's own prompt, nothing copied.

    python benchmarks/reconstruction.py --photos 12 --guidance 7.5
    python benchmarks/reconstruction.py --photos 12 --guidance 3.5

Decibels against the autoencoder's own reconstruction, which is the ceiling. After direct inversion such a
target is drawn without the correction that copies the source, once with the source's attention in place of
its own, as in an edit, and once with none; after the others it is the source branch itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch
from edited import INVERSIONS, inversion
from real_faces import ARCHIVE, evenly, pictures

from faceforward.diffusion.editing import reconstruct
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.prompts import saved_template
from faceforward.diffusion.settings import saved_settings
from faceforward.modules.age_editor import psnr
from faceforward.pretrained import embedded_model


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, default=ARCHIVE)
    parser.add_argument("--pretrained", type=Path, default=None, help="default: the embedded model")
    parser.add_argument("--photos", type=int, default=12, help="of the val split, spread evenly")
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--inversions", default=",".join(INVERSIONS))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the UNet")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def main() -> int:
    """Measure and print a Markdown table."""
    args = arguments()
    torch.set_num_threads(args.threads)
    labels = evenly(args.archive, "val", args.photos)
    folder = args.pretrained or embedded_model()
    model = load_pipeline(folder, dtype=getattr(torch, args.precision))
    template = saved_template(None, folder)
    settings = dataclasses.replace(saved_settings(folder), guidance_scale=args.guidance)
    ways = {"as in an edit": True, "nothing injected": False}
    print(f"{args.photos} val photographs, guidance {args.guidance:g}, {args.steps} steps\n")
    print(f"| inversion | UNet sample evaluations | {', dB | '.join(ways)}, dB |\n|---|---|---|---|")
    for name in args.inversions.split(","):
        method = inversion(name, args.steps, args.guidance)
        found: dict[str, list[float]] = {way: [] for way in ways}
        evaluations = []
        for label, image in zip(labels, pictures(args.archive, labels), strict=True):
            latents = model.encode_image(image)
            ceiling = model.decode_latents(latents)[0]
            trajectory = method.invert(model, latents, template.prompt(label.age, label.gender))
            evaluations.append(trajectory.unet_evaluations)
            for way, inject in ways.items():
                if name != "direct" and not inject:
                    found[way].append(found["as in an edit"][-1])  # the source branch has nothing injected
                    continue
                result = reconstruct(model, trajectory, settings, inject=inject)
                found[way].append(psnr(model.decode_latents(result.reconstruction)[0], ceiling))
        decibels = " | ".join(
            f"{np.mean(values):.1f} (s.d. {np.std(values):.1f})" for values in found.values()
        )
        print(f"| {name} | {np.mean(evaluations):.0f} | {decibels} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
