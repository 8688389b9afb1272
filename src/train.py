"""The training door: fit, validate and test from YAML."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from faceforward.callbacks.ranks import SAID_BY_FIRST, prepare_together
from faceforward.cli import FaceforwardCLI, resolve_configs
from faceforward.errors import ConfigurationError, FaceforwardError, TrainingError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: In the names of strategies that work on GPUs alone -> how they are called.
GPUS_ALONE = {"fsdp": "FSDP", "deepspeed": "DeepSpeed", "modelparallel": "ModelParallel"}
#: What gloo says of a rank that is gone, in errors that have no class of their own.
LOST = ("Connection closed by peer", "Connection reset by peer")


class SavingTrainer(Trainer):
    """Lightning's; it says which checkpoint could not be written."""

    def save_checkpoint(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Save.

        Raises:
            TrainingError: The disk is full or the folder cannot be written, or the module will not be saved.
        """
        try:
            super().save_checkpoint(filepath, *args, **kwargs)
        except FaceforwardError as error:  # of the module, whose ranks agree on it
            if not self.is_global_zero:
                error.add_note(SAID_BY_FIRST)
            raise
        except OSError as error:
            folder = next((p for p in Path(filepath).absolute().parents if p.exists()), Path("/"))
            raise TrainingError(
                f"the checkpoint {filepath} of step {self.global_step} cannot be written: {error} "
                f"({shutil.disk_usage(folder).free / 1e6:.0f} MB free). Make room there, or give another "
                "folder as --trainer.default_root_dir, and go on from the last checkpoint, if there is one, "
                "with --ckpt_path"
            ) from error


class TrainCLI(FaceforwardCLI):
    """The command line of trainings; what fails on one rank ends all of them."""

    def before_instantiate_classes(self) -> None:
        """Refuse a GPU where there is none, and a CPU where GPUs share weights; Lightning says less of it.

        Raises:
            ConfigurationError: As said.
        """
        super().before_instantiate_classes()
        trainer = self.config[self.subcommand].trainer
        accelerator, strategy = trainer.accelerator, trainer.strategy
        name = str(strategy if isinstance(strategy, str) else getattr(strategy, "class_path", "")).lower()
        shares = next((words for part, words in GPUS_ALONE.items() if part in name), None)
        if shares and (accelerator == "cpu" or not torch.accelerator.is_available()):
            raise ConfigurationError(
                f"{shares} shares a model among GPUs, and "
                + ("trainer.accelerator is cpu" if accelerator == "cpu" else "PyTorch finds no GPU here")
                + ": leave out its YAML (such as -c configs/trainer/fsdp.yaml); several processes on CPUs "
                "are --trainer.strategy ddp --trainer.accelerator cpu --trainer.devices 2"
            )
        if accelerator in ("gpu", "cuda") and not torch.accelerator.is_available():
            raise ConfigurationError(
                f"trainer.accelerator is {accelerator}, and PyTorch finds no GPU on this machine: leave out "
                "the YAML that asks for it (such as -c configs/trainer/gpu.yaml), or give "
                "--trainer.accelerator cpu --trainer.devices 1. Where there is a GPU, faceforward doctor "
                "says what is missing"
            )

    def instantiate_classes(self) -> None:
        """Build everything; the data of several ranks is prepared together."""
        super().instantiate_classes()
        if self.trainer.world_size > 1 and self.datamodule is not None:
            prepare_together(self.trainer, self.datamodule)


def main(argv: list[str] | None = None) -> int:
    """Run `train.py fit|validate|test -c CONFIG ...`; shipped YAMLs are found from any folder.

    Returns:
        0, also on a rank whose error the first rank says and ends with; 1 when the run ended before its
        time, 2 when it cannot work as asked.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    torch.set_float32_matmul_precision("high")
    # It saves what both networks of a GAN are after their steps, as it should.
    warnings.filterwarnings("ignore", message="Using ModelCheckpoint with manual optimization")
    # Frozen networks are meant to stay so; the second is Lightning 2.6 over torch 2.13.
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    try:
        arguments = resolve_configs(sys.argv[1:] if argv is None else argv)
        TrainCLI(args=arguments, trainer_class=SavingTrainer)
    except (FaceforwardError, MisconfigurationException) as error:
        return _ended(error)
    except OSError as error:
        if isinstance(error.__context__, FaceforwardError):  # on a full disk the loggers fail after it
            return _ended(error.__context__)
        if error.errno not in FULL:
            raise
        return _ended(TrainingError(f"{error.filename or 'a file'} cannot be written: {error}. Make room"))
    except RuntimeError as error:
        if not any(words in str(error) for words in LOST):
            raise
        return _ended(TrainingError("another rank has ended; its own message says why"))
    return 0


def _ended(error: Exception) -> int:
    """Say why the run ended, once; the status with which this rank leaves."""
    if SAID_BY_FIRST in getattr(error, "__notes__", ()):
        return 0  # Lightning kills the first rank, in the middle of its words, when another leaves otherwise
    wrong = isinstance(error, ConfigurationError | MisconfigurationException)
    # The first rank of the machine has the same configuration and files, and says the same.
    if not (wrong and os.environ.get("LOCAL_RANK", "0") != "0"):
        sys.stderr.write(f"train: {error}\n")
    return 2 if wrong else 1
