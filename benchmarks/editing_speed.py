"""What ageing one photograph to eight ages costs: our default beside null-text inversion as it is used.

    python benchmarks/editing_speed.py                          the embedded model
    python benchmarks/editing_speed.py --pretrained FOLDER      another Stable Diffusion 1.x or 2.x

Same model, settings, machine and run:
- default: direct inversion, all targets in one batch, and the reconstruction by which infer.py judges the
  inversion, as it runs; below it the same without that reconstruction, which the other ways do without too;
- null-text, one run per target: one inversion; each target with its own source branch, both passes of it;
- everything again per target: the inversion too, as users of the published script do. Its time is put
  together from the measured parts: eight times the inversion, and the eight runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image

from faceforward.diffusion.editing import edit
from faceforward.diffusion.inversion import DirectInversion, NullTextInversion
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.prompts import saved_template
from faceforward.diffusion.settings import saved_settings
from faceforward.pretrained import embedded_model

FACE = (95, 30, 351, 286)  # of scikit-image's astronaut (NASA, public domain), pixels
AGE, GENDER = 30, "female"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pretrained", type=Path, default=None, help="default: the embedded model")
    parser.add_argument("--targets", default="5,10,20,40,50,60,70,80")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--inner-steps", type=int, default=10, help="of null-text inversion, at most")
    parser.add_argument("--all-inner-steps", action="store_true", help="switch its early stop off")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


def main() -> None:
    """Measure and write a Markdown table."""
    args = arguments()
    torch.set_num_threads(args.threads)
    folder = args.pretrained or embedded_model()
    template, settings = saved_template(None, folder), saved_settings(folder)
    model = load_pipeline(folder)
    prompts = [template.prompt(int(age), GENDER) for age in args.targets.split(",")]
    source = template.prompt(AGE, GENDER)
    size = model.image_size
    picture = (
        Image.fromarray(skimage.data.astronaut()).crop(FACE).resize((size, size), Image.Resampling.LANCZOS)
    )
    latents = model.encode_image(np.array(picture))
    model.predict(latents, 1, model.encode_prompts([source]))  # warm up

    ways = {}
    for name, judged in (("default", True), ("default, pictures alone", False)):
        start = time.perf_counter()
        trajectory = DirectInversion(steps=args.steps).invert(model, latents, source)
        result = edit(model, trajectory, prompts, settings, words=template.words, reconstruct=judged)
        ways[name] = (trajectory.unet_evaluations + result.unet_evaluations, time.perf_counter() - start)
    ours = ways["default"]

    stop = {"early_stop": 0.0, "early_stop_increment": 0.0} if args.all_inner_steps else {}
    method = NullTextInversion(
        steps=args.steps,
        guidance_scale=settings.guidance_scale,
        inner_steps=args.inner_steps,
        checkpointing=False,
        **stop,
    )
    start = time.perf_counter()
    trajectory = method.invert(model, latents, source)
    inversion = (trajectory.unet_evaluations, time.perf_counter() - start)
    walked = dataclasses.replace(trajectory, source="guided", path=None)
    runs = [0, 0.0]
    for prompt in prompts:
        start = time.perf_counter()
        runs[0] += edit(model, walked, [prompt], settings, words=template.words).unet_evaluations
        runs[1] += time.perf_counter() - start
    single = (inversion[0] + runs[0], inversion[1] + runs[1])
    again = (len(prompts) * inversion[0] + runs[0], len(prompts) * inversion[1] + runs[1])

    least = args.steps * (1 + 2 * len(prompts))
    print(
        f"Model {model.name}, {size} px, {len(prompts)} targets, {args.steps} steps, {args.threads} threads."
    )
    print(f"Null-text took {len(trajectory.losses) / args.steps:.1f} inner steps per step on average.")
    print(
        "\n| way | UNet sample evaluations | seconds | evaluations against default | time against default |"
    )
    print("|---|---|---|---|---|")
    ways |= {"null-text, one run per target": single, "everything again per target": again}
    for name, (evaluations, seconds) in ways.items():
        ratios = f"{evaluations / ours[0]:.2f} x | {seconds / ours[1]:.2f} x"
        print(f"| {name} | {evaluations} | {seconds:.1f} | {ratios} |")
    shares = " and ".join(f"{ways[name][0] / least:.3f}" for name in list(ways)[:2])
    print(f"\n{args.steps} steps of source and targets at once: {least}; the first two take {shares} of it")
    if args.json:
        figures = {name: {"evaluations": n, "seconds": round(t, 2)} for name, (n, t) in ways.items()}
        args.json.write_text(
            json.dumps({**figures, "least": least, "inner": len(trajectory.losses)}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
