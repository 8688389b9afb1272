"""Pictures and feature maps of another size: StyleGAN2's low-pass (arXiv 1912.04958) and plain resizing."""

from __future__ import annotations

import torch
from torch.nn import functional as F

TAPS = (1.0, 3.0, 3.0, 1.0)


def resample_filter() -> torch.Tensor:
    """The binomial low-pass, `(4, 4)`, of sum 1."""
    taps = torch.tensor(TAPS)
    kernel = taps.outer(taps)
    return kernel / kernel.sum()


def widened(x: torch.Tensor) -> torch.Tensor:
    """Half precision as float32; float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def resized(x: torch.Tensor, side: int, *, antialias: bool = True) -> torch.Tensor:
    """`(N, C, H, W)` to `(N, C, side, side)`, bilinear; the same tensor where it has that size."""
    if x.shape[2:] == (side, side):
        return x
    # In float32: CPUs have no antialiased resizing of half precision.
    wide = F.interpolate(widened(x), (side, side), mode="bilinear", align_corners=False, antialias=antialias)
    return wide.to(x.dtype)


def low_pass(
    x: torch.Tensor, kernel: torch.Tensor, *, padding: int, gain: float = 1.0, stride: int = 1
) -> torch.Tensor:
    """Each channel through a filter, `(N, C, H, W)` to `(N, C, (H + 2 padding - 4) // stride + 1, ...)`."""
    channels = x.shape[1]
    weight = (kernel.flip((0, 1)) * gain).to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv2d(x, weight, stride=stride, padding=padding, groups=channels)


def upsample(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Twice the size: zeros between the samples, then the low-pass with gain 4."""
    channels = x.shape[1]
    weight = (kernel * 4).to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv_transpose2d(x, weight, stride=2, padding=1, groups=channels)
