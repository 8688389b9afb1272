"""An image encoder for small generators: a photograph and its camera to one w."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from faceforward.eg3d.cameras import LABEL
from faceforward.eg3d.checkpoint import save_module
from faceforward.eg3d.discriminator import DiscriminatorBlock
from faceforward.eg3d.layers import FullyConnected
from faceforward.eg3d.resampling import resized
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = "image_encoder"  # in the metadata of safetensors: the arguments as JSON


class ImageEncoder(nn.Module):
    """Residual blocks of StyleGAN2's discriminator (arXiv 1912.04958), ended by w instead of a logit.

    It is told the camera, so that w need not hold it. The last activation is that of the mapping network,
    whose w's are to be of the same kind.

    Args:
        w: Width of w.
        resolution: Side at which pictures are looked at, 4 times a power of two.
        widths: Channels at the resolution and at each half of it, down to 4.
        hidden: Width of the layer before the last.

    Raises:
        ValueError: There are more or fewer widths than sides.
    """

    def __init__(
        self,
        w: int,
        *,
        resolution: int = 64,
        widths: tuple[int, ...] = (32, 64, 128, 192, 256),
        hidden: int = 512,
    ) -> None:
        super().__init__()
        if resolution != 4 * 2 ** (len(widths) - 1):
            raise ValueError(f"{len(widths)} widths end at {4 * 2 ** (len(widths) - 1)} px, not {resolution}")
        self.resolution = resolution
        self.shapes = {"w": w, "resolution": resolution, "widths": list(widths), "hidden": hidden}
        self.blocks = nn.Sequential(
            *(
                DiscriminatorBlock(inputs, outputs, picture=0 if index else 3)
                for index, (inputs, outputs) in enumerate(pairwise(widths))
            )
        )
        self.hidden = FullyConnected(widths[-1] * 16 + LABEL, hidden, activation=True)
        self.out = FullyConnected(hidden, w, activation=True)

    def forward(self, images: torch.Tensor, cameras: torch.Tensor) -> torch.Tensor:
        """`(N, 3, S, S)` in [-1, 1] and `(N, 25)` to `(N, w)`."""
        images = resized(images, self.resolution)
        x = self.blocks(images.contiguous(memory_format=torch.channels_last)).flatten(1)
        return self.out(self.hidden(torch.cat([x, cameras.to(x.dtype)], dim=1))).float()


def save_encoder(encoder: ImageEncoder, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write an encoder as one `.safetensors` file that says its own shapes.

    Raises:
        OSError: It cannot be written.
    """
    save_module(encoder, path, {SHAPES: json.dumps(encoder.shapes)}, dtype)


def load_encoder(path: Path) -> ImageEncoder:
    """What `save_encoder` wrote, float32 on the CPU, in evaluation mode.

    Raises:
        ConfigurationError: There is none, or it is another file.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            shapes = json.loads((opened.metadata() or {})[SHAPES])
            tensors = {name: opened.get_tensor(name).float() for name in opened.keys()}  # noqa: SIM118
        encoder = ImageEncoder(
            int(shapes["w"]),
            resolution=int(shapes["resolution"]),
            widths=tuple(int(width) for width in shapes["widths"]),
            hidden=int(shapes["hidden"]),
        )
        encoder.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigurationError(f"{path} is no encoder of a tri-plane autoencoder: {error}") from error
    return encoder.eval()
