"""Which number formats this machine computes in hardware."""

from __future__ import annotations

import torch


def has_bfloat16(device: str | torch.device = "cpu") -> bool:
    """Whether bfloat16 is worth using.

    CPUs without its instructions (AVX2 only, as AMD's before Zen 4) emulate it: convolutions take ten times
    as long as in float32.

    Args:
        device: `cpu`, `cuda`, `mps` ...; anything but a CPU is taken to have it.
    """
    if torch.device(device).type != "cpu":
        return True
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
