"""Tiny networks of GOAE's real classes over the tiny generator."""

import torch

from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.goae.afa import Afa, AfaConfig
from faceforward.goae.encoder import EncoderConfig, GoaeEncoder
from faceforward.goae.inversion import Goae
from faceforward.goae.swin import SwinConfig
from tiny_crops import TINY

TINY_SWIN = SwinConfig(
    resolution=32,
    patch=2,
    window=4,
    embed=8,
    depths=(2, 1, 1, 1),
    heads=(1, 1, 2, 2),
    pretrained=(0, 0, 0, 0),
)
TINY_ENCODER = EncoderConfig(TINY_SWIN, w=8, codes=(1, 2, 2), heads=2, hidden=16)
TINY_AFA = AfaConfig(widths=(16, 16), units=1, features=8, side=8, heads=2, hidden=16)


def tiny_goae(*, afa: bool = True, seed: int = 0) -> Goae:
    torch.manual_seed(seed)
    generator = TriPlaneGenerator(TINY).requires_grad_(False)
    for block in (generator.superresolution.block0, generator.superresolution.block1):
        torch.nn.init.zeros_(
            block.torgb.weight
        )  # the final picture is the raw one, enlarged, as in trained ones
    return Goae(generator, GoaeEncoder(TINY_ENCODER), Afa(TINY_AFA) if afa else None).eval()
