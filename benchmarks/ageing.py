"""How well edits of real photographs show the age asked for and keep the person.

    python benchmarks/ageing.py                       all 267 val photographs, targets 10..70, embedded model
    python benchmarks/ageing.py --photos 24 --inversions direct,negative-prompt,ddim,null-text

Each photograph is a line in a JSON lines file, so a run that was ended goes on where it was, and processes
with `--share 1/2` and `--share 2/2` may fill one file; a run without shares then reports it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from real_faces import ARCHIVE, evenly, pictures
from scipy.stats import spearmanr

from faceforward.diffusion.blending import LocalBlend
from faceforward.diffusion.color import restore_colors
from faceforward.diffusion.editing import edit, reconstruct
from faceforward.diffusion.inversion import (
    DDIMInversion,
    DirectInversion,
    Inversion,
    NegativePromptInversion,
    NullTextInversion,
)
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.prompts import saved_template
from faceforward.diffusion.settings import EditSettings, saved_settings
from faceforward.faces.age import DlibAgeEstimator
from faceforward.faces.identity import DlibEmbedder, distance
from faceforward.metrics.age import AgeError
from faceforward.metrics.identity import IdentityDistance
from faceforward.modules.age_editor import psnr
from faceforward.pretrained import embedded_model, resolve

INVERSIONS = {
    "ddim": DDIMInversion,
    "negative-prompt": NegativePromptInversion,
    "direct": DirectInversion,
    "null-text": NullTextInversion,
}


def inversion(name: str, steps: int, guidance: float) -> Inversion:
    """An inversion by its name, for edits at a guidance: null-text optimises for it."""
    guided = {"guidance_scale": guidance} if name == "null-text" else {}
    return INVERSIONS[name](steps=steps, **guided)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, default=ARCHIVE)
    parser.add_argument(
        "--pretrained",
        type=lambda name: Path(resolve(name)),
        default=None,
        help="folder or registered name; default: the embedded model",
    )
    parser.add_argument("--photos", type=int, default=None, help="spread evenly over the split; default all")
    parser.add_argument("--share", default="1/1", help="this process's share of the photographs, as in 2/3")
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument(
        "--no-reconstruction",
        action="store_true",
        help="leave out what is not of the edits: a quarter of the time",
    )
    parser.add_argument("--targets", default="10,20,30,40,50,60,70")
    parser.add_argument("--inversions", default="direct")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the UNet")
    for name in ("guidance", "cross-replace", "self-replace", "self-side", "age-weight"):
        parser.add_argument(f"--{name}", type=float, help="default: what lies beside the model")
    parser.add_argument("--blend-threshold", type=float, help="of LocalBlend; below 0 leaves it out")
    parser.add_argument("--restore-colors", action=argparse.BooleanOptionalAction, help="default: as above")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=Path("runs/ageing.jsonl"))
    parser.add_argument("--pictures", type=Path, help="folder for one row of pictures per photograph")
    return parser.parse_args()


def settings_of(args: argparse.Namespace) -> EditSettings:
    """The edit's settings."""
    given = {
        "guidance_scale": args.guidance,
        "cross_replace": args.cross_replace,
        "self_replace": args.self_replace,
        "self_side": args.self_side,
        "age_weight": args.age_weight,
        "restore_colors": args.restore_colors,
    }
    settings = saved_settings(args.pretrained or embedded_model())
    settings = dataclasses.replace(settings, **{k: v for k, v in given.items() if v is not None})
    if args.blend_threshold is None:
        return settings
    blend = LocalBlend(threshold=args.blend_threshold) if args.blend_threshold >= 0 else None
    return dataclasses.replace(settings, local_blend=blend)


def measure(args: argparse.Namespace) -> list[dict]:
    """Edit every photograph with every inversion; one record each."""
    labels = evenly(args.archive, args.split, args.photos)
    share, shares = map(int, args.share.split("/"))
    labels = labels[share - 1 :: shares]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in args.output.read_text().splitlines()] if args.output.exists() else []
    key = {
        name: str(value)
        for name, value in vars(args).items()
        if name not in ("output", "pictures", "photos", "threads", "share")
    }
    done = [r for r in done if r["key"] == {**key, "inversions": r["inversion"]}]  # of these settings
    known = {(r["file"], r["inversion"]) for r in done}
    folder = args.pretrained or embedded_model()
    model = load_pipeline(folder, dtype=getattr(torch, args.precision))
    template, settings = saved_template(None, folder), settings_of(args)
    targets = [int(age) for age in args.targets.split(",")]
    estimator, embedder = DlibAgeEstimator(), DlibEmbedder()
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    records = []
    for name in args.inversions.split(","):
        for label, image in zip(labels, pictures(args.archive, labels), strict=True):
            if (label.file, name) in known:
                continue
            begun = time.perf_counter()
            latents = model.encode_image(image)
            ceiling = model.decode_latents(latents)[0]
            trajectory = inversion(name, args.steps, settings.guidance_scale).invert(
                model, latents, template.prompt(label.age, label.gender)
            )
            inverted = time.perf_counter()
            prompts = [template.prompt(age, label.gender) for age in targets]
            result = edit(model, trajectory, prompts, settings, words=template.words)
            edited = model.decode_latents(result.latents)
            if settings.restore_colors:
                edited = restore_colors(edited, image, ceiling)
            ended = time.perf_counter()
            back = [
                model.decode_latents(reconstruct(model, trajectory, settings, inject=inject).reconstruction)[
                    0
                ]
                for inject in (() if args.no_reconstruction else (True, False))
            ]
            descriptors = embedder.embed([image, ceiling, *edited])
            records.append(
                {
                    "key": {**key, "inversions": name},
                    "file": label.file,
                    "inversion": name,
                    "age": label.age,
                    "gender": label.gender,
                    "targets": targets,
                    "estimated": [e.years for e in estimator.estimate(list(edited))],
                    "estimated_source": estimator.estimate([image])[0].years,
                    "distance": distance(descriptors[2:], descriptors[0]).tolist(),
                    "distance_roundtrip": float(distance(descriptors[1], descriptors[0])),
                    **dict(zip(("psnr", "psnr_uninjected"), (psnr(b, ceiling) for b in back), strict=False)),
                    "psnr_roundtrip": psnr(ceiling, image),
                    "seconds_inversion": inverted - begun,
                    "seconds_edit": ended - inverted,
                    "evaluations": trajectory.unet_evaluations + result.unet_evaluations,
                }
            )
            with args.output.open("a") as stream:
                stream.write(json.dumps(records[-1]) + "\n")
            if args.pictures:
                from PIL import Image

                row = np.concatenate([image, ceiling, *edited], axis=1)
                Image.fromarray(row).save(args.pictures / f"{Path(label.file).stem}-{name}.png")
    files = {label.file for label in labels}
    wanted = args.inversions.split(",")
    found = [r for r in done if r["inversion"] in wanted and r["file"] in files] + records
    return list({(r["file"], r["inversion"]): r for r in found}.values())


def near_edits(row: dict) -> list[int]:
    """Which of a photograph's edits are within 15 years of its age: identity is asked of those."""
    return [i for i, target in enumerate(row["targets"]) if abs(target - row["age"]) <= 15]


def intervals(rows: list[dict], rounds: int = 500) -> dict[str, tuple[float, float]]:
    """95 % intervals of the main figures, by resampling photographs.

    A figure that a resample cannot have (no edit within 15 years) is left out of that resample.
    """
    drawn: dict[str, list[float]] = {}
    generator = np.random.default_rng(0)
    for _ in range(rounds):
        sample = [rows[i] for i in generator.integers(len(rows), size=len(rows))]
        estimated = np.concatenate([r["estimated"] for r in sample])
        targets = np.concatenate([r["targets"] for r in sample])
        near = IdentityDistance()
        pairs = [(r["distance"][i], r["targets"][i]) for r in sample for i in near_edits(r)]
        figures = {
            "age MAE": float(np.abs(estimated - targets).mean()),
            "Spearman over edits": float(spearmanr(estimated, targets).statistic),
        }
        if pairs:
            near.update(torch.tensor([p[0] for p in pairs]), ages=torch.tensor([p[1] for p in pairs]))
            figures["identity, share below the threshold"] = float(near.compute()["share"])
        for name, value in figures.items():
            drawn.setdefault(name, []).append(value)
    return {name: tuple(np.percentile(values, [2.5, 97.5])) for name, values in drawn.items()}


def report(records: list[dict]) -> None:
    """Print the figures of each inversion."""
    for name in dict.fromkeys(r["inversion"] for r in records):
        rows = [r for r in records if r["inversion"] == name]
        ages, near, still = AgeError(), IdentityDistance(), IdentityDistance()
        for r in rows:
            ages.update(torch.tensor(r["estimated"]), torch.tensor(r["targets"]))
            close = near_edits(r)
            if close:
                shown = [r["targets"][i] for i in close]
                near.update(torch.tensor([r["distance"][i] for i in close]), ages=torch.tensor(shown))
                still.update(torch.tensor([r["distance_roundtrip"]] * len(close)), ages=torch.tensor(shown))
        figures = {k: float(v) for k, v in ages.compute().items()}
        sys.stdout.write(f"\n{name}: {len(rows)} photographs, {len(rows) * len(rows[0]['targets'])} edits\n")
        sys.stdout.write(
            f"  age: MAE {figures['mae']:.2f}, bias {figures['bias']:+.2f}, "
            f"Spearman {figures['spearman']:.3f} over edits, "
            f"{figures['spearman_groups']:.3f} over group means\n"
        )
        sys.stdout.write("  target: MAE, bias:")
        for decade in range(0, 90, 10):
            if f"mae/{decade}" in figures:
                sys.stdout.write(
                    f"  {decade}: {figures[f'mae/{decade}']:.1f}, {figures[f'bias/{decade}']:+.1f}"
                )
        edits, trips = near.compute(), still.compute()
        sys.stdout.write("\n")
        if edits:  # else none is within 15 years
            sys.stdout.write(
                f"  identity, edits within 15 years: distance {edits['distance']:.3f}, "
                f"below the 1 % threshold {100 * edits['share']:.1f} % of {int(edits['count'])}; "
                f"unedited round trip {trips['distance']:.3f}, {100 * trips['share']:.1f} %\n"
            )
        for field, text in (
            ("psnr", "reconstruction against the autoencoder's, attention injected, dB"),
            ("psnr_uninjected", "reconstruction, nothing injected, dB"),
            ("psnr_roundtrip", "autoencoder's round trip, dB"),
            ("seconds_inversion", "seconds of inversion"),
            ("seconds_edit", "seconds of the edit"),
            ("evaluations", "UNet sample evaluations"),
        ):
            values = np.array([r[field] for r in rows if field in r])
            if not len(values):
                continue
            sys.stdout.write(f"  {text}: {values.mean():.2f} (s.d. {values.std():.2f})\n")
        for text, (low, high) in intervals(rows).items():
            sys.stdout.write(f"  95 % interval of {text}: {low:.3f} to {high:.3f}\n")


def main() -> int:
    """Measure and print."""
    args = arguments()
    torch.set_num_threads(args.threads)
    report(measure(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
