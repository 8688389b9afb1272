"""Raw features to the final picture: two blocks of StyleGAN2 under the last w (arXiv 2112.07945, 4.3)."""

from __future__ import annotations

import torch
from torch import nn

from faceforward.eg3d.layers import Noise, SynthesisBlock
from faceforward.eg3d.resampling import resized


class SuperResolution(nn.Module):
    """Four times the side ("8XDC" of the release takes 128 to 512), or twice.

    Args:
        channels: Features in.
        w: Width of w.
        resolution: Side of the output.
        factor: 4 doubles the side in both blocks, 2 in the second alone.
        widths: Channels of the two blocks.
        clamp: Bound of every convolution's output: 256 in the release, which trained it in float16.

    Raises:
        ValueError: The factor is neither.
    """

    def __init__(
        self,
        channels: int,
        w: int,
        resolution: int,
        *,
        factor: int = 4,
        widths: tuple[int, int] = (256, 128),
        clamp: float | None = 256.0,
    ) -> None:
        super().__init__()
        if factor not in (2, 4):
            raise ValueError(f"super-resolution by {factor}: give 2 or 4")
        self.side = resolution // factor
        self.block0 = SynthesisBlock(channels, widths[0], w, resolution // 2, 3, up=factor == 4, clamp=clamp)
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
            antialias: Of the resizing where r is not the side that the blocks take.
            dtype: Of the convolutions.

        Returns:
            `(N, 3, R, R)` in about [-1, 1].
        """
        features = resized(features, self.side, antialias=antialias)
        ws = ws[:, -1:].expand(-1, 3, -1)
        x, picture = self.block0(features.to(dtype or features.dtype), features[:, :3], ws, noise)
        return self.block1(x, picture, ws, noise)[1]
