"""Folders that are there complete or not at all."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
