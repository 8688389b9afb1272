"""What the readers of age say of a picture, in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What people call the readers; others go by their own name.
SHORT = {"dlib-age-gender": "dlib", "faceres": "FaceRes"}


def said(readings: Mapping[str, float]) -> str:
    """The readings of one picture: "reads 34 (dlib) / 37 (FaceRes)"; empty when there is none.

    Args:
        readings: Short name of the reader -> age in years.
    """
    return f"reads {' / '.join(f'{age:.0f} ({name})' for name, age in readings.items())}" if readings else ""


def short(estimator: str) -> str:
    """What a reader is called where there is little room."""
    return SHORT.get(estimator, estimator or "age estimator")


def readings_of(picture: Mapping[str, Any]) -> dict[str, float]:
    """Short name of a reader -> the age that it saw in a picture, the reader that chooses first.

    Args:
        picture: One of `ages` in result.json, or its `source`.
    """
    both = (picture.get(name) for name in ("estimated_age", "judged_age"))
    return {short(each.get("estimator", "")): each["years"] for each in both if each}
