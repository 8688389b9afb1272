"""What Stable Diffusion 1.5 costs on this machine, from its published shapes and formula weights.

    nice -n 5 python benchmarks/sd15_cost.py                     bfloat16 on the CPU
    nice -n 5 python benchmarks/sd15_cost.py --dtype float32

Time and memory do not depend on the weights' values, so no download is needed. Every line is measured in a
process of its own, whose peak resident memory is the figure; one that would
pass `--limit` GiB ends, and says so.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from faceforward.diffusion.editing import edit
from faceforward.diffusion.inversion import DirectInversion
from faceforward.diffusion.model import LatentDiffusion
from faceforward.diffusion.null_text import frozen
from faceforward.diffusion.schedule import NoiseSchedule
from faceforward.diffusion.settings import EditSettings
from faceforward.diffusion.vocabulary import write_tokenizer

# The published configs of stable-diffusion-v1-5, where they differ from the classes' defaults.
UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}
VAE = {
    "sample_size": 512,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
TEXT = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "projection_dim": 768,
}
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SOURCE, TARGET = "photo of 8 year old boy", "photo of 40 year old man"
STEPS, INNER, TARGETS = 50, 10, 8
GIB = 2**30


def filled(module: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Random weights of the scale of trained ones, on memory that is allocated once."""
    module.to(dtype).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, weight in module.named_parameters():
        if weight.ndim > 1:
            weight.data.normal_(0, 0.8 / math.sqrt(weight[0].numel()), generator=generator)
        else:
            weight.data.fill_(float(name.endswith("weight")))
    for name, buffer in module.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))
    return module.eval().requires_grad_(False)


def model_of(dtype: torch.dtype) -> LatentDiffusion:
    """Stable Diffusion 1.5 with formula weights and a small vocabulary."""
    with torch.device("meta"):
        unet, vae, text = (
            UNet2DConditionModel(**UNET),
            AutoencoderKL(**VAE),
            CLIPTextModel(CLIPTextConfig(**TEXT)),
        )
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder), model_max_length=77)
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    parts = filled(unet, dtype), filled(vae, torch.float32), filled(text, torch.float32)
    return LatentDiffusion(*parts, tokenizer, NoiseSchedule.from_config(NOISE), "sd15 shapes")


def measure(task: str, model: LatentDiffusion) -> float:
    """Seconds of one task."""
    latents = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    context = model.encode_prompts([SOURCE])
    if task == "unet":
        with torch.inference_mode():
            model.predict(latents, 501, context)  # warm up
            start = time.perf_counter()
            model.predict(latents, 501, context)
        return time.perf_counter() - start
    if task == "inversion":
        start = time.perf_counter()
        DirectInversion(steps=4).invert(model, latents, SOURCE)
        return (time.perf_counter() - start) / 4 * STEPS
    if task == "edit":
        trajectory = DirectInversion(steps=1).invert(model, latents, SOURCE)
        settings = EditSettings(cross_replace=1.0, self_replace=1.0)
        start = time.perf_counter()
        edit(model, trajectory, [TARGET], settings)
        return time.perf_counter() - start
    null = context.clone().requires_grad_(True)
    with frozen(model.unet, checkpointing=task == "null-checkpointed"):
        start = time.perf_counter()
        F.mse_loss(model.predict(latents, 501, null), latents).backward()
    return time.perf_counter() - start


TASKS = {
    "nothing": "the weights in memory",
    "unet": "one UNet evaluation",
    "inversion": "DDIM inversion, 50 steps (from 4)",
    "edit": "one edit step of one target (source, unconditional, target)",
    "null-plain": "one inner null-text step (forward, backward)",
    "null-checkpointed": "the same, checkpointed",
}


def run(task: str, args: argparse.Namespace) -> None:
    """Measure one task in this process and write a JSON line."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(args.limit * GIB),) * 2)
    torch.set_num_threads(args.threads)
    try:
        model = model_of(getattr(torch, args.dtype))
        seconds = 0.0 if task == "nothing" else measure(task, model)
    except (MemoryError, RuntimeError) as error:
        if "alloc" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        seconds = None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    print(json.dumps({"seconds": seconds, "peak": peak}))


def main() -> int:
    """Measure every task and write Markdown tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="of the UNet")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--limit", type=float, default=14.0, help="GiB that a process may take")
    parser.add_argument("--task", choices=tuple(TASKS), help="measure this one here")
    args = parser.parse_args()
    if args.task:
        run(args.task, args)
        return 0
    print(f"Stable Diffusion 1.5's shapes, 512 px, UNet in {args.dtype}, {args.threads} threads.\n")
    print("| what | seconds | peak memory, GiB |\n|---|---|---|")
    for task, title in TASKS.items():
        options = ["--dtype", args.dtype, "--threads", str(args.threads), "--limit", str(args.limit)]
        command = [sys.executable, __file__, "--task", task, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(done.stderr)
            return 1
        figures = json.loads(done.stdout.splitlines()[-1])
        seconds = "over the limit" if figures["seconds"] is None else f"{figures['seconds']:.1f}"
        print(f"| {title} | {'' if task == 'nothing' else seconds} | {figures['peak']:.1f} |", flush=True)
    print(f"\nUNet sample evaluations (a backward counts 2): {TARGETS} ages, {STEPS} steps, {INNER} inner\n")
    print("| inversion | alone | all targets in one batch | one run per target | everything again |")
    print("|---|---|---|---|---|")
    for name, inversion in (
        ("direct, negative-prompt", STEPS),
        ("null-text", STEPS * (1 + 1 + 3 * INNER + 1)),
    ):
        # At the first step one unconditional row serves all targets of a batch.
        batch = STEPS * (1 + 2 * TARGETS) - (TARGETS - 1)
        single = TARGETS * STEPS * 3
        counts = (inversion, inversion + batch, inversion + single, TARGETS * inversion + single)
        print(f"| {name} | {' | '.join(map(str, counts))} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
