"""LocalBlend: keep the photograph wherever attention to the changed words is weak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from faceforward.checks import check_shares
from faceforward.errors import ConfigurationError


@dataclass(frozen=True)
class LocalBlend:
    """Settings of prompt-to-prompt's local blend (arXiv 2208.01626), the published ones by default.

    Attributes:
        start: Share of the steps after which latents are blended; attention is summed from the first step on.
        threshold: Of the attention relative to its maximum; above it a target may differ from the source.
        side: Side of the cross-attention layers that count, as a share of the latents' side (16 of 64).
        pool: Side of the maximum filter over the attention, positions; odd.
        missing: Where a UNet has no layer of that side: take the `nearest` and log it, or raise an `error`.

    Raises:
        ConfigurationError: A share is outside 0 to 1, or the filter's side is even.
    """

    start: float = 0.2
    threshold: float = 0.3
    side: float = 0.25
    pool: int = 3
    missing: Literal["nearest", "error"] = "nearest"

    def __post_init__(self) -> None:
        check_shares(self, "local_blend", ("start", "threshold", "side"))
        if self.pool < 1 or self.pool % 2 == 0:
            raise ConfigurationError(f"local_blend.pool is {self.pool}: give an odd number of positions")

    def masks(
        self, attention: torch.Tensor, size: tuple[int, int], owners: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Where each target may differ from its source: the union of its own mask and the source's.

        Args:
            attention: `(M + N, h, w)` to the blend words, summed over layers, heads and steps; sources first.
            size: Height and width of the latents.
            owners: `(N,)` int64: the source of each target; None where there is one source, M = 1.

        Returns:
            `(N, 1, H, W)` bool.
        """
        pooled = F.max_pool2d(attention.unsqueeze(1), self.pool, stride=1, padding=self.pool // 2)
        resized = F.interpolate(pooled, size=size)  # nearest neighbour, as published
        masks = resized > self.threshold * resized.amax(dim=(2, 3), keepdim=True)
        if owners is None:
            return masks[1:] | masks[:1]
        return masks[-len(owners) :] | masks[owners]
