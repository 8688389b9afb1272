"""JSON files that lie beside a model: the settings that were chosen for it, the prompt that it learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

Made = TypeVar("Made")


def read_beside(
    name: str, *models: str | Path | None, build: Callable[[dict[str, Any]], Made], what: str, argument: str
) -> Made | None:
    """What the first of some models has beside it.

    Args:
        name: Of the file.
        models: Folders, or files in them; what is no path on this machine (a hub id, None) is passed over.
        build: Makes it from the file's values.
        what: What `build` makes, for messages.
        argument: Where the user gives another one, for messages.

    Returns:
        What `build` made; None where no model has such a file.

    Raises:
        ConfigurationError: The file cannot be read, or not be used.
    """
    for place in [Path(model) for model in models if model]:
        file = (place.parent if place.is_file() else place) / name
        if not file.is_file():
            continue
        try:
            return build(json.loads(file.read_text(encoding="utf-8")))
        except (ConfigurationError, OSError, AttributeError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{file} holds no {what}: {error}. Remove it and give {argument}"
            ) from error
    return None
