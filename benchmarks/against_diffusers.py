"""Images per second of our specialisation and of diffusers' own text-to-image training script.

    python benchmarks/against_diffusers.py --script DIFFUSERS/examples/text_to_image/train_text_to_image.py

The same model, photographs, prompts, precision and threads: diffusers' script takes each photograph with each
of its two prompts as a line of a data set and encodes the picture at every step; ours takes both prompts of a
photograph in one step, from latents that were encoded once. Each side runs with few and with many steps in
turn, after a run that fills its caches; the difference of the times is free of start-up and export, and the
figures are the medians of `--rounds` rounds. Run it with an interpreter that has torchvision and datasets,
which the script needs and faceforward does not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from statistics import median

from PIL import Image
from real_faces import ARCHIVE, pictures

from faceforward.datamodules.aligned_faces import LabelledFace, read_labels
from faceforward.precision import has_bfloat16
from faceforward.pretrained import resolve

ROOT = Path(__file__).parents[1]


def run(command: list[str], threads: int) -> float:
    """Seconds of a command."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "WANDB_MODE": "disabled",
        "HF_HUB_OFFLINE": "1",
    }
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}: {done.stderr[-3000:]}")
    return time.perf_counter() - begun


def spread(archive: Path, count: int) -> list[LabelledFace]:
    """Training photographs of all ages."""
    labels = [label for label in read_labels(archive) if label.split == "train"]
    return labels[:: len(labels) // count][:count]


def write_folder(folder: Path, archive: Path, labels: list[LabelledFace]) -> None:
    """Photographs in the form of Hugging Face's image folders, one line for each prompt."""
    lines = []
    for label, picture in zip(labels, pictures(archive, labels), strict=True):
        for number, prompt in enumerate(("photo of a person", f"photo of a {label.age} year old person")):
            name = f"{Path(label.file).stem}-{number}.png"
            Image.fromarray(picture).save(folder / name)
            lines.append(json.dumps({"file_name": name, "text": prompt}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def write_archive(path: Path, archive: Path, labels: list[LabelledFace]) -> None:
    """The same photographs as a zip with `labels.csv`, so that no others are encoded."""
    labels = [*labels, next(label for label in read_labels(archive) if label.split == "val")]
    lines = ["file,age,gender,split"]
    lines += [f"{label.file},{label.age},{label.gender},{label.split}" for label in labels]
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as target:
        target.writestr("labels.csv", "\n".join(lines) + "\n")
        for label in labels:
            target.writestr(label.file, source.read(label.file))


def main() -> int:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--archive", type=Path, default=ARCHIVE)
    parser.add_argument("--pretrained", default="face-ldm-128")
    parser.add_argument("--pairs", type=int, default=16, help="photograph-prompt pairs in a step")
    parser.add_argument("--few", type=int, default=2)
    parser.add_argument("--many", type=int, default=14)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    model = resolve(args.pretrained)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        labels = spread(args.archive, args.many * args.pairs // 2)
        write_folder(folder / "photos", args.archive, labels)
        write_archive(folder / "faces.zip", args.archive, labels)
        theirs = [
            sys.executable, str(args.script), f"--pretrained_model_name_or_path={model}",
            f"--train_data_dir={folder / 'photos'}", "--resolution=128", f"--train_batch_size={args.pairs}",
            f"--mixed_precision={'bf16' if has_bfloat16() else 'no'}", "--learning_rate=1e-5",
            "--lr_warmup_steps=0", "--use_ema", "--foreach_ema", "--random_flip",
            f"--output_dir={folder / 'theirs'}", "--report_to=tensorboard",
            f"--cache_dir={folder / 'cache'}", "--checkpointing_steps=100000",
        ]  # fmt: skip
        ours = [
            sys.executable, str(ROOT / "train.py"), "fit",
            "-c", str(ROOT / "configs/experiment/specialize_faces128.yaml"),
            f"--data.init_args.archive={folder / 'faces.zip'}", "--data.init_args.exclude=null",
            f"--data.init_args.cache_dir={folder / 'latents'}",
            f"--data.init_args.batch_size={args.pairs // 2}", f"--model.init_args.init_from={model}",
            f"--data.init_args.vae={model}/vae",
            f"--trainer.precision={'bf16-mixed' if has_bfloat16() else '32-true'}",
            "--model.init_args.train=unet", "--trainer.limit_val_batches=0", "--trainer.logger=false",
            "--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={folder / 'ours'}",
        ]  # fmt: skip
        sides = {
            "diffusers": lambda steps: run([*theirs, f"--max_train_steps={steps}"], args.threads),
            "ours": lambda steps: run([*ours, f"--trainer.max_steps={steps}"], args.threads),
        }
        for side in sides.values():
            side(1)  # fills the caches
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(args.rounds):
            for name, side in sides.items():
                seconds = -side(args.few) + side(args.many)
                rates[name].append((args.many - args.few) * args.pairs / seconds)
    for name, values in rates.items():
        each = ", ".join(f"{value:.1f}" for value in values)
        sys.stdout.write(f"{name}: {median(values):.1f} photograph-prompt pairs a second ({each})\n")
    sys.stdout.write(f"ratio: {median(rates['ours']) / median(rates['diffusers']):.2f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
