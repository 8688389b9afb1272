"""Memory of a step of specialisation at Stable Diffusion 1.5's real size.

    nice -n 5 python benchmarks/training_memory.py --limit 12

Two steps (forward, backward, AdamW) over one photograph under two prompts at 512 px, formula weights, float32
weights under bfloat16 autocast: AdamW's moments come to be at the end of the first, so only the second holds
everything at once. Every row runs in a process of its own that reports its peak resident memory; a row that
would pass `--limit` GiB is not run: its sum is computed, and the activations are those of the measured row
with the same checkpointing.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from diffusers import UNet2DConditionModel
from diffusers.training_utils import EMAModel
from sd15_cost import UNET

from faceforward.diffusion.losses import denoising_loss, draw
from faceforward.diffusion.pipeline import LORA_NAME
from faceforward.modules.denoising import LORA_TARGETS

GIB = 2**30


def build(train: str) -> UNet2DConditionModel:
    """The UNet with what learns marked."""
    unet = UNet2DConditionModel(**UNET).requires_grad_(train == "full").train()
    if train == "lora":
        from peft import LoraConfig

        config = LoraConfig(r=16, lora_alpha=16, target_modules=list(LORA_TARGETS))
        unet.add_adapter(config, adapter_name=LORA_NAME)
    return unet


def sizes(train: str, *, average: bool) -> dict[str, float]:
    """GiB of weights, gradients, optimizer state and average, from shapes alone."""
    with torch.device("meta"):
        unet = build(train)
    everything = sum(p.numel() for p in unet.parameters()) * 4 / GIB
    learning = sum(p.numel() for p in unet.parameters() if p.requires_grad) * 4 / GIB
    return {
        "weights": everything,
        "gradients": learning,
        "optimizer": 2 * learning,
        "average": learning * average,
    }


def peak() -> float:
    """Largest resident memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def steps(train: str, *, checkpointing: bool, average: bool, count: int = 2) -> dict[str, float]:
    """Run `count` steps and measure them."""
    torch.manual_seed(0)
    unet = build(train)
    if checkpointing:
        unet.enable_gradient_checkpointing()
    learning = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=5e-6, foreach=False)
    shadow = EMAModel(learning) if average else None
    before, activations = peak(), 0.0
    begun = time.perf_counter()
    for index in range(count):
        drawn = draw([index], (4, 64, 64), 1000, times=2)
        with torch.autocast("cpu", torch.bfloat16):
            loss = denoising_loss(
                unet,
                drawn.posterior.repeat(2, 1, 1, 1),
                torch.randn(2, 77, 768),
                drawn.timesteps.flatten(),
                drawn.noise.flatten(0, 1),
                torch.linspace(0.999, 0.005, 1000),
            ).sum()
        loss.backward()
        if not index:  # the first step's peak is weights, gradients and activations, without moments
            activations = max(peak() - before - sum(p.numel() for p in learning) * 4 / GIB, 0.0)
        optimizer.step()
        optimizer.zero_grad()
        if shadow is not None:
            shadow.step(learning)
    seconds = (time.perf_counter() - begun) / count
    return {"peak": peak(), "activations": activations, "seconds": seconds}


def main() -> int:
    """Measure or compute every row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=float, default=16.0, help="GiB that a row may take to be run")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--row", help="used by the script itself")
    args = parser.parse_args()
    if args.row:
        torch.set_num_threads(args.threads)
        sys.stdout.write(json.dumps(steps(**json.loads(args.row))) + "\n")
        return 0
    rows = [
        {"train": train, "checkpointing": checkpointing, "average": average}
        for train in ("lora", "full")
        for average in (False, True)
        for checkpointing in (True, False)
    ]
    activations: dict[tuple[str, bool], float] = {}
    for row in rows:
        known = sizes(row["train"], average=row["average"])
        state = sum(known.values())
        name = f"{row['train']:4}, checkpointing {row['checkpointing']!s:5}, average {row['average']!s:5}"
        key = row["train"], row["checkpointing"]
        expected = activations.get(key, activations.get(("lora", row["checkpointing"]), 0.0))
        if state + expected > args.limit:
            sys.stdout.write(f"{name}: {state + expected:5.1f} GiB computed ({state:.1f} of state)\n")
            continue
        command = [sys.executable, __file__, "--row", json.dumps(row), "--threads", str(args.threads)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            sys.stdout.write(f"{name}: ended with {run.returncode}: {run.stderr.strip()[-200:]}\n")
            continue
        measured = json.loads(run.stdout.splitlines()[-1])
        activations[key] = measured["activations"]
        sys.stdout.write(
            f"{name}: {measured['peak']:5.1f} GiB measured ({state:.1f} of state, "
            f"{measured['activations']:.1f} of activations), {measured['seconds']:.0f} s a step\n"
        )
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
