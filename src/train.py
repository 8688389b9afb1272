"""The training door: fit, validate and test from YAML."""

from __future__ import annotations

import logging
import sys
import warnings

import torch

from faceforward.cli import FaceforwardCLI, resolve_configs
from faceforward.errors import ConfigurationError, FaceforwardError


def main(argv: list[str] | None = None) -> int:
    """Run `train.py fit|validate|test -c CONFIG ...`; shipped YAMLs are found from any folder.

    Returns:
        0; 1 when the run ended before its time, 2 when it cannot work as asked.
    """
    arguments = resolve_configs(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    torch.set_float32_matmul_precision("high")
    # It saves what both networks of a GAN are after their steps, as it should.
    warnings.filterwarnings("ignore", message="Using ModelCheckpoint with manual optimization")
    try:
        FaceforwardCLI(args=arguments)
    except FaceforwardError as error:
        sys.stderr.write(f"train: {error}\n")
        return 2 if isinstance(error, ConfigurationError) else 1
    return 0
