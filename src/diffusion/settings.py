"""How far an edit is held to the photograph: the settings, what may differ, and the file beside a model."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from faceforward.checks import check_shares
from faceforward.diffusion.beside import read_beside
from faceforward.diffusion.blending import LocalBlend
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from faceforward.diffusion.tokens import Tail


Neutral = Literal["words", "both"]


@dataclass(frozen=True)
class EditSettings:
    """How far the targets are held to the source, FADING's settings (arXiv 2309.11321) by default.

    Attributes:
        steps: DDIM steps of the inversion and the edit, where no inversion is given that says them.
        guidance_scale: Strength of classifier-free guidance (arXiv 2207.12598).
        cross_replace: Share of the steps, from the noisiest on, in which cross-attention is the source's.
        self_replace: Share of the steps in which self-attention is the source's.
        self_side: Side of the largest layers in which it is, as a share of the latents' side (32 of 64).
        age_weight: Factor of the cross-attention to the age's words while it is replaced; 1 changes nothing.
        local_blend: Keeps the photograph away from the changed words; None leaves it out.
        tail: See `tokens.replacement_mapper`.
        neutral: How a person of unknown gender is edited: by the template's neutral `words`, or as `both` a
            woman and a man, whose changes are averaged: for a model that has hardly seen the neutral words.

    Raises:
        ConfigurationError: A share is outside 0 to 1, the guidance is negative, or a factor is not a number.
    """

    steps: int = 50
    guidance_scale: float = 7.5
    cross_replace: float = 0.8
    self_replace: float = 0.5
    self_side: float = 0.5
    age_weight: float = 1.0
    local_blend: LocalBlend | None = field(default_factory=LocalBlend)
    tail: Tail = "unshifted"
    neutral: Neutral = "words"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigurationError(f"edit.steps is {self.steps}: give at least 1")
        check_shares(self, "edit", ("cross_replace", "self_replace", "self_side"))
        if self.neutral not in get_args(Neutral):
            raise ConfigurationError(f"edit.neutral is {self.neutral!r}: give words or both")
        for name, least in (("guidance_scale", 0.0), ("age_weight", -math.inf)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < least:
                raise ConfigurationError(
                    f"edit.{name} is {value}: give a number{' from 0 on' if least == 0 else ''}"
                )


@dataclass(frozen=True)
class EditChanges:
    """What is to differ from the settings that were chosen for a model.

    Attributes:
        local_blend: "saved" keeps the model's, "none" or None leaves the blend out.

    The other attributes are those of `EditSettings`; None keeps the model's.
    """

    steps: int | None = None
    guidance_scale: float | None = None
    cross_replace: float | None = None
    self_replace: float | None = None
    self_side: float | None = None
    age_weight: float | None = None
    local_blend: LocalBlend | Literal["saved", "none"] | None = "saved"
    tail: Tail | None = None
    neutral: Neutral | None = None

    def over(self, settings: EditSettings) -> EditSettings:
        """The settings with these changes.

        Raises:
            ConfigurationError: See `EditSettings`.
        """
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        blend = values.pop("local_blend")
        if blend != "saved":
            settings = replace(settings, local_blend=None if blend == "none" else blend)
        return replace(settings, **{name: value for name, value in values.items() if value is not None})


SETTINGS_FILE = "edit_settings.json"  # beside a model for which they were chosen by measurement


def save_settings(settings: EditSettings, folder: Path) -> None:
    """Write the settings beside a model that was validated with them."""
    text = json.dumps(dataclasses.asdict(settings), indent=2)
    (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")


def saved_settings(*places: str | Path | None) -> EditSettings:
    """The settings that lie beside a model; FADING's where none do.

    Args:
        places: Folders, or files in them, in order; what is not a path on this machine is passed over.

    Raises:
        ConfigurationError: The file is damaged.
    """
    saved = read_beside(
        SETTINGS_FILE, *places, build=_settings, what="settings of an edit", argument="model.init_args.edit"
    )
    return saved or EditSettings()


def _settings(values: dict[str, Any]) -> EditSettings:
    values = {name: value for name, value in values.items() if name != "restore_colors"}  # of older folders
    blend = values.get("local_blend")
    return EditSettings(**values | ({} if blend is None else {"local_blend": LocalBlend(**blend)}))
