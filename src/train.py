"""The training door: fit, validate and test from YAML."""

from __future__ import annotations

import logging

import torch

from faceforward.cli import FaceforwardCLI


def main(argv: list[str] | None = None) -> int:
    """Run `train.py fit|validate|test -c CONFIG ...`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    torch.set_float32_matmul_precision("high")
    FaceforwardCLI(args=argv)
    return 0
