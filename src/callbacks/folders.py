"""The folder that a training exports, with what is known about the weights in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from faceforward.atomic import atomic_folder

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
    with atomic_folder(final) as folder:
        module.export(folder)
        (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
