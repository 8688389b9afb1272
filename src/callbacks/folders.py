"""Folders that are there complete or not at all."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from faceforward.modules.base import TrainedModule

FACTS = "training.json"


def write_export(module: TrainedModule, final: Path, facts: Mapping[str, Any]) -> None:
    """Export a module to a folder that takes the place of an older one when it is complete.

    Args:
        module: Its weights are written as they are.
        final: The folder; nothing is left of one that could not be written.
        facts: What `training.json` in it says about the weights.

    Raises:
        OSError: The disk is full or the folder cannot be written.
        SafetensorError: The same, where weights were being written.
    """
    temporary = temporary_for(final)
    try:
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        module.export(temporary)
        (temporary / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        replace_folder(temporary, final)
    except (OSError, SafetensorError):
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def replace_folder(temporary: Path, final: Path) -> None:
    """Put a complete folder in the place of an older one."""
    recover_folder(final)
    old = _old(final)
    if final.exists():
        final.replace(old)
    temporary.replace(final)
    if old.exists():
        shutil.rmtree(old)


def recover_folder(final: Path) -> None:
    """Put right what a kill in the middle of `replace_folder` left: the older folder, or the rest of it."""
    old = _old(final)
    if old.exists() and not final.exists():
        old.replace(final)
    elif old.exists():
        shutil.rmtree(old)


def temporary_for(final: Path) -> Path:
    """Where the folder is made before it takes its place: beside it, on the same disk, and hidden."""
    return final.with_name(f".{final.name}.tmp")


def _old(final: Path) -> Path:
    return final.with_name(f".{final.name}.old")
