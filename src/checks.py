"""Checks of what users set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_shares(settings: Any, section: str, names: Sequence[str]) -> None:
    """See that some attributes are shares.

    Args:
        settings: What holds them.
        section: Where the user sets them, for the message.
        names: Of the attributes.

    Raises:
        ConfigurationError: One is not from 0 to 1.
    """
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value <= 1:
            raise ConfigurationError(f"{section}.{name} is {value}: give a share from 0 to 1")


def at_least(least: float, **settings: float | None) -> None:
    """See that settings are numbers and not too small.

    Args:
        least: The smallest that works.
        settings: By the names that the user gives them; None is a choice of its own.

    Raises:
        ConfigurationError: One is smaller, infinite or no number; it says which.
    """
    for name, value in settings.items():
        if value is not None and not least <= value < math.inf:
            raise ConfigurationError(f"{name} is {value}: give {least:g} or more")
