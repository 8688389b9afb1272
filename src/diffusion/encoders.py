"""Whether two autoencoders give the same latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

ENCODER = ("encoder.", "quant_conv.")


def encoder_differences(first: AutoencoderKL, second: AutoencoderKL) -> list[str]:
    """Names of the encoder's tensors that differ by more than rounding to half precision does.

    The decoders are not compared: latents stay valid under a decoder that was trained on.

    Args:
        first: One autoencoder, of any precision.
        second: The other one.

    Returns:
        Sorted; a tensor that one of them lacks, or of another shape, differs.
    """
    mine, theirs = (
        {name: value for name, value in vae.state_dict().items() if name.startswith(ENCODER)}
        for vae in (first, second)
    )
    return sorted(
        name
        for name in mine.keys() | theirs.keys()
        if name not in mine or name not in theirs or not _alike(mine[name], theirs[name])
    )


def _alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal up to the rounding of the coarser one, which is taken to be float16 at least."""
    if a.shape != b.shape:
        return False
    coarsest = max((torch.float16, a.dtype, b.dtype), key=lambda dtype: torch.finfo(dtype).eps)
    limits = torch.finfo(coarsest)
    smallest = limits.smallest_normal * limits.eps  # step of the numbers next to zero
    return torch.allclose(a.float().cpu(), b.float().cpu(), rtol=limits.eps, atol=smallest)
