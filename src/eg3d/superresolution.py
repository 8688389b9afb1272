"""Raw features to the final picture: two blocks of StyleGAN2 under the last w (arXiv 2112.07945, 4.3)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from faceforward.eg3d.layers import Noise, SynthesisBlock


class SuperResolution(nn.Module):
    """Four times the side ("8XDC" of the release takes 128 to 512).

    Args:
        channels: Features in.
        w: Width of w.
        resolution: Side of the output; a quarter of it goes in.
        widths: Channels of the two blocks.
        clamp: Bound of every convolution's output: 256 in the release, which trained it in float16.
    """

    def __init__(
        self,
        channels: int,
        w: int,
        resolution: int,
        *,
        widths: tuple[int, int] = (256, 128),
        clamp: float | None = 256.0,
    ) -> None:
        super().__init__()
        self.side = resolution // 4
        self.block0 = SynthesisBlock(channels, widths[0], w, resolution // 2, 3, clamp=clamp)
        self.block1 = SynthesisBlock(widths[0], widths[1], w, resolution, 3, clamp=clamp)

    def forward(
        self,
        features: torch.Tensor,
        ws: torch.Tensor,
        *,
        noise: Noise = "none",
        antialias: bool = True,
        dtype: torch.dtype | None = None,
    ) -> torch.Tensor:
        """The final picture.

        Args:
            features: `(N, channels, r, r)`, the raw RGB in front.
            ws: `(N, num_ws, w)` or `(1, num_ws, w)`; the last w is taken.
            noise: See `Noise`.
            antialias: Of the resizing where r is not a quarter of the output's side.
            dtype: Of the convolutions.

        Returns:
            `(N, 3, R, R)` in about [-1, 1].
        """
        if features.shape[-1] != self.side:
            features = F.interpolate(
                features, (self.side, self.side), mode="bilinear", align_corners=False, antialias=antialias
            )
        ws = ws[:, -1:].expand(-1, 3, -1)
        x, picture = self.block0(features.to(dtype or features.dtype), features[:, :3], ws, noise)
        return self.block1(x, picture, ws, noise)[1]
