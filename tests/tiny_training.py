"""A tiny Specialization on a tiny archive, for tests of what happens around its steps."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from lightning import Trainer

from faceforward.datamodules.labelled_folder import LabelledFolder
from faceforward.modules.specialization import Specialization

ROOT = Path(__file__).parents[1]

QUIET = [
    pytest.mark.filterwarnings(f"ignore:{text}:UserWarning")
    for text in (
        ".*does not have many workers",
        ".*smaller than the logging interval",
        "Found .* in eval mode",
        ".*Checkpoint directory",
        "Using ModelCheckpoint with manual optimization",
    )
]


def latents(archive: Path, vae: Path, cache: Path, batch_size: int = 4) -> LabelledFolder:
    """The data module; `archive` is of `training_data.write_archive`."""
    return LabelledFolder(
        str(archive),
        str(vae),
        cache_dir=str(cache),
        batch_size=batch_size,
        rejected=str(cache.parent / "rejected.csv"),
    )


def collections(*archives: Path) -> str:
    """The option that puts archives in the place of a shipped experiment's collections."""
    kind = "faceforward.datamodules.labelled_folder.FolderSource"
    parts = [{"source": {"class_path": kind, "init_args": {"root": str(root)}}} for root in archives]
    return f"--data.init_args.collections={json.dumps(parts)}"


def tiny_trainer(root: Path, callbacks: list, steps: int = 2, **kwargs) -> Trainer:
    """On one CPU, in full precision and silent."""
    settings = {
        "default_root_dir": root, "max_steps": steps, "callbacks": callbacks, "accelerator": "cpu",
        "devices": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "val_check_interval": 1, "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0, "limit_val_batches": 1,
    }  # fmt: skip
    return Trainer(**settings | kwargs)


def specialization(sd: Path, lr: float = 1e-2, **kwargs) -> Specialization:
    """With a rate that changes weights visibly in a step."""
    import torch

    return Specialization(
        init_from=str(sd), optimizer=lambda params: torch.optim.SGD(params, lr=lr), **kwargs
    )


def train_py(
    *arguments: str, cwd: Path, ok: bool = True, largest_file: int | None = None, **environment: str
) -> subprocess.CompletedProcess:
    """The real train.py in a process of its own, with one thread to each rank.

    Args:
        arguments: Of the command.
        cwd: Where it runs.
        ok: Whether it has to succeed.
        largest_file: Bytes to which files may grow, as on a disk that is full.
        environment: Added to this process's.
    """

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "train.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        preexec_fn=limit,
    )
    assert not ok or run.returncode == 0, run.stderr[-4000:]
    return run


def tiny_arguments(archive: Path, sd: Path, vae: Path, cache: Path) -> list[str]:
    """The shipped experiment at tiny size."""
    return [
        "fit", "-c", str(ROOT / "configs" / "experiment" / "specialize_faces128.yaml"),
        collections(archive),
        "--data.init_args.batch_size=2", f"--data.init_args.vae={vae}", f"--data.init_args.cache_dir={cache}",
        f"--model.init_args.init_from={sd}", "--trainer.accelerator=cpu", "--trainer.precision=32-true",
        "--trainer.val_check_interval=1", "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false", "--trainer.log_every_n_steps=1",
    ]  # fmt: skip
