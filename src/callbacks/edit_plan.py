"""What is to be edited during training, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from faceforward.datamodules.people import check_ages
from faceforward.diffusion.prompts import PromptTemplate
from faceforward.diffusion.settings import EditChanges
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class EditPlan:
    """Which photographs are edited during training, and how.

    Args:
        target_ages: In years; each photograph is edited to all of them.
        photos: How many photographs, spread evenly over those that there are.
        files: Photographs as infer.py takes them (a folder, a CSV, a file), their ages in the CSV; None takes
            the validation split of the data module, in `train.py test` the test split.
        steps: DDIM steps of inversion and edit; fewer are faster and tell less of what infer.py's 50 give.
        settings: What is to differ, if anything, from the settings of the edit that lie beside the model from
            which the training started (FADING's where none do), which infer.py would take with that model.
        template: Words of the prompts; None takes those that `Specialization` learns, else FADING's.
        weights: Those of the `EMA`, where there is one, or the `live` ones.
        max_batch: Bound of the UNet's batch.

    Raises:
        ConfigurationError: A figure is out of range.
    """

    target_ages: tuple[int, ...] = (10, 30, 50, 70)
    photos: int = 8
    files: str | None = None
    steps: int = 20
    settings: EditChanges | None = None
    template: PromptTemplate | None = None
    weights: Literal["average", "live"] = "average"
    max_batch: int = 17

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_ages", check_ages(tuple(self.target_ages)))
        for name, least in (("photos", 1), ("steps", 1), ("max_batch", 3)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"edits.{name} is {getattr(self, name)}: give at least {least}")


@dataclass(frozen=True, eq=False)
class EditedPhoto:
    """One photograph at all target ages.

    Attributes:
        place: Which of the plan's photographs it is.
        age: In the photograph, years.
        source: `(S, S, 3)` uint8 RGB: the photograph, or what the autoencoder makes of its latents.
        images: Target age -> `(S, S, 3)` uint8 RGB.
    """

    place: int
    age: float
    source: np.ndarray
    images: dict[int, np.ndarray]


DEFAULT_PLAN = EditPlan()
