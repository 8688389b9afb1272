"""What the latent cache saves: a training step with it, without it, and as the reference takes its steps.

    nice -n 5 python benchmarks/latent_cache.py --threads 1

The real module and trainer, the same model, photographs, draws and optimizer in one run, three ways in turn:
latents from the cache; photographs decoded, cut out and encoded in the step; and the same with one photograph
to a step, as FADING's released script takes them (its prompts in one batch, as ours). `bfloat16` where the
machine has it. Each way has one step to warm up; given are the medians of all rounds, per photograph. CPU
seconds are the process's own, which other processes lengthen less than they do wall time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning import Callback, Trainer
from torch.utils.data import Dataset

from faceforward.datamodules.aihub import AIHubSource
from faceforward.datamodules.draws import Draw, training_loader
from faceforward.datamodules.face_crops import CropMaker, one_thread
from faceforward.datamodules.latent_cache import LatentCache, LatentFacesDataset
from faceforward.datamodules.moments import image_size, vae_weights
from faceforward.datamodules.sources import LabelledPhoto, collect
from faceforward.modules.specialization import Specialization
from faceforward.precision import has_bfloat16

SAMPLE = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "aihub-sample"


class Photographs(Dataset):
    """Crops with their labels, made anew each time."""

    def __init__(self, photos: list[LabelledPhoto], crops: CropMaker) -> None:
        self.photos = photos
        self.crops = crops

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        photo = self.photos[draw.index]
        image = torch.from_numpy(self.crops(photo).pixels).permute(2, 0, 1).float() / 127.5 - 1
        image = image.flip(-1) if draw.seed % 2 else image
        return {"image": image, "age": photo.age, "gender": photo.gender, "seed": draw.seed}


class Encoding(Specialization):
    """Runs the autoencoder in every step."""

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """The step, of photographs."""
        with torch.no_grad():
            moments = self.vae.encode(batch["image"]).latent_dist.parameters.float()
        return super().training_step({**batch, "moments": moments}, batch_idx)


class Clock(Callback):
    """Wall and CPU time at the end of each step."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    def on_train_batch_end(self, *args: Any) -> None:
        """Look."""
        self.times.append((time.perf_counter(), time.process_time()))

    def each(self, photographs: int) -> tuple[float, float]:
        """Seconds a photograph between the first step's end and the last's."""
        (wall, cpu), (wall_end, cpu_end) = self.times[0], self.times[-1]
        return (wall_end - wall) / photographs, (cpu_end - cpu) / photographs


def fit(module: Specialization, dataset: Dataset, batch_size: int, steps: int) -> tuple[float, float]:
    """Wall and CPU seconds a photograph of `steps` steps after the first."""
    clock = Clock()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        precision="bf16-mixed" if has_bfloat16() else "32-true",
        max_steps=steps + 1,
        callbacks=[clock],
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, training_loader(None, dataset, batch_size, seed=0))
    return clock.each(steps * batch_size)


def main() -> int:
    """Measure and write a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=SAMPLE, help="AI Hub's tree")
    parser.add_argument("--pretrained", default="face-ldm-128")
    parser.add_argument("--size", type=int, help="side of the crops (default: the autoencoder's)")
    parser.add_argument("--photos", type=int, default=64, help="how many are used, again and again")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4, help="of a batch, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="lightning")
    one_thread()
    torch.set_num_threads(args.threads)
    weights = vae_weights(args.pretrained)
    crops = CropMaker(args.size or image_size(weights), "ffhq")
    photos = collect(AIHubSource(args.root).read(), str(args.root))[0][: args.photos]
    with tempfile.TemporaryDirectory() as folder:
        cache = LatentCache(Path(folder), weights, crops)
        begun = time.process_time()
        cache.fill(photos)
        filled = time.process_time() - begun
        there, moments = cache.known(photos)
        latents, pictures = LatentFacesDataset(moments, there), Photographs(there, crops)
        cached, encoding = (
            kind(init_from=args.pretrained, attention="plain") for kind in (Specialization, Encoding)
        )
        size, steps = args.batch_size, args.steps
        ways = {
            "with the cache": lambda: fit(cached, latents, size, steps),
            "without it": lambda: fit(encoding, pictures, size, steps),
            "without it, one photograph a step": lambda: fit(encoding, pictures, 1, steps * size),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for number in range(args.rounds):
            for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
                found[name].append(ways[name]())
    write = sys.stdout.write
    write(
        f"{len(there)} photographs at {crops.size} px, batches of {size}, {args.threads} thread(s), "
        f"{'bfloat16' if has_bfloat16() else 'float32'}; filling the cache: {filled / len(there):.3f} CPU s "
        "a photograph, both mirror images, once\n\n"
    )
    write("| way | wall s a photograph | CPU s | CPU, times the first |\n|---|---|---|---|\n")
    first = median(cpu for _, cpu in found["with the cache"])
    for name, pairs in found.items():
        wall, cpu = (median(values) for values in zip(*pairs, strict=True))
        write(f"| {name} | {wall:.3f} | {cpu:.3f} | {cpu / first:.2f} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
