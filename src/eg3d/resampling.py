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
    if stride > 1 and x.requires_grad and x.device.type == "cpu":
        # Backwards, oneDNN's strided filter takes five times as long as the whole one.
        return F.conv2d(x, weight, padding=padding, groups=channels)[..., ::stride, ::stride]
    return F.conv2d(x, weight, stride=stride, padding=padding, groups=channels)


def upsample(x: torch.Tensor) -> torch.Tensor:
    """Twice the size: zeros between the samples, then the binomial low-pass with gain 4.

    What is left of both are weights of 3/4 and 1/4 for the two samples next to each new one, with zeros
    beyond the edges.
    """
    near = TAPS[1] / (TAPS[0] + TAPS[1])
    for axis in (3, 2):
        x = F.pad(x, (1, 1) if axis == 3 else (0, 0, 1, 1))
        count = x.shape[axis] - 2
        before, here, after = (x.narrow(axis, start, count) for start in range(3))
        pair = torch.stack([torch.lerp(before, here, near), torch.lerp(after, here, near)], dim=axis + 1)
        x = pair.flatten(axis, axis + 1)
    return x
