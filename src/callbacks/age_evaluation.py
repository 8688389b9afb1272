"""Measure during training how well edits show the age asked for and keep the person."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from faceforward.callbacks.edit_plan import DEFAULT_PLAN, EditPlan
from faceforward.callbacks.edits import ValidationEdits, warn_without_validation
from faceforward.callbacks.ranks import gather, share, together
from faceforward.errors import ConfigurationError
from faceforward.faces.age import AgeEstimator, DlibAgeEstimator
from faceforward.faces.identity import DlibEmbedder, Embedder
from faceforward.metrics.age import AgeError
from faceforward.metrics.calibration import read_calibration, shipped_calibration
from faceforward.metrics.identity import IdentityDistance
from faceforward.metrics.intervals import mean_interval
from faceforward.metrics.measure import measure
from faceforward.metrics.thresholds import DLIB_RECOGNITION

if TYPE_CHECKING:
    from faceforward.callbacks.edit_plan import EditedPhoto

logger = logging.getLogger(__name__)

ALWAYS = ("age_mae", "age_bias", "age_spearman", "identity")
CALIBRATED = ("age_mae_calibrated", "choice")


class AgeEvaluation(Callback):
    """Edits held-out photographs at validations and logs figures that others can monitor.

    `val/age_mae` and `val/age_bias` (mean of estimated - asked for) in years, `val/age_bias_<from>` for each
    decade of target ages, `val/age_spearman` over all edits; `val/identity`, the mean descriptor distance of
    an edit to its photograph, and `val/identity_share`, the share below the threshold of the age shown (see
    `IdentityDistance`); where the data module gives latents, the photograph is what the autoencoder makes of
    them. `train.py test` gives the same as `test/...` of the test split. An `AgeEditing` of the same plan
    shares the edits.

    Those hold the estimator's own error as well: a reader that takes 70 for 62 rates a model that overshoots
    above a perfect one. So where the calibration knows the estimator there are also
    `val/age_mae_calibrated` (see `Calibration.corrected`) with `_low` and `_high`, the ends of its 95 %
    interval over photographs, `val/age_bias_calibrated`, and, with thresholds, `val/choice`, by which
    checkpoints and early stopping choose: the calibrated error over that of real photographs of the same
    ages, plus the share of edits that no longer pass for the person. It is 1 for perfect pictures; neither
    a model that changes nothing nor one that draws somebody else of the right age comes near.

    Args:
        edits: Which photographs, to which ages, with which weights.
        every_n_validations: Between evaluations, from the first on; in between the last figures stand.
        estimator: Reads ages off faces; None takes dlib's.
        embedder: Compares faces; None takes dlib's.
        thresholds: First age of each band -> distance, of the embedder; None has dlib's for dlib's and gives
            no share for another.
        calibration: Table of `faceforward evaluate --calibrate`; None takes the package's.

    Raises:
        ConfigurationError: `every_n_validations` is below 1, or the weights of a network are missing.

    Example:
        >>> AgeEvaluation(EditPlan(photos=4)).every_n_validations
        1
    """

    def __init__(
        self,
        edits: EditPlan = DEFAULT_PLAN,
        *,
        every_n_validations: int = 1,
        estimator: AgeEstimator | None = None,
        embedder: Embedder | None = None,
        thresholds: dict[int, float] | None = None,
        calibration: str | None = None,
    ) -> None:
        if every_n_validations < 1:
            raise ConfigurationError(f"every_n_validations is {every_n_validations}: give at least 1")
        self.edits = ValidationEdits(edits)
        self.every_n_validations = every_n_validations
        self.estimator = estimator or DlibAgeEstimator()
        self.embedder = embedder or DlibEmbedder()
        dlib = isinstance(self.embedder, DlibEmbedder)
        self.thresholds = thresholds or (DLIB_RECOGNITION if dlib else None)
        self.calibration = (
            shipped_calibration() if calibration is None else read_calibration(Path(calibration))
        )
        self._validations = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the edits, which callbacks of one plan share.

        Raises:
            ConfigurationError: The module cannot edit.
        """
        self.edits = self.edits.shared(trainer, pl_module, self)
        self.edits.forget()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so where no figure will come of this run."""
        warn_without_validation(trainer, "AgeEvaluation")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The weights change now: let the last edits go."""
        self.edits.forget()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Edit, measure and log; the sanity check tries it out on one photograph in two steps.

        Raises:
            ConfigurationError: There are no photographs.
        """
        if not trainer.sanity_checking:
            self._validations += 1
            if (self._validations - 1) % self.every_n_validations:
                return
        self._evaluate(trainer, pl_module, "val", trial=trainer.sanity_checking)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Edit, measure and log photographs of the test split.

        Raises:
            ConfigurationError: There are no photographs.
        """
        self._evaluate(trainer, pl_module, "test")

    def _evaluate(
        self, trainer: Trainer, module: LightningModule, split: str, *, trial: bool = False
    ) -> None:
        if not self.edits.available(trainer):
            raise ConfigurationError(
                f"AgeEvaluation has no photographs: give edits.files, or a data module with a {split} split"
            )
        with together(trainer, "AgeEvaluation"):
            edited = self.edits.make(trainer, module, trial=trial)  # type: ignore[arg-type]
            mine = self._measure(trainer, edited)
        if not trial:
            rows = gather(trainer, mine, self.edits.count)
            module.log_dict(self.figures(rows, split), sync_dist=True, batch_size=1)

    def _measure(self, trainer: Trainer, edited: list[EditedPhoto]) -> torch.Tensor:
        """`(n, ages, 2)` of this rank: estimated age and distance of each edit, nan where it is missing."""
        mine = len(share(self.edits.count, trainer))
        rows = torch.full((mine, len(self.edits.plan.target_ages), 2), torch.nan)
        for photo in edited:
            found = measure(
                photo.source,
                photo.images,
                age=photo.age,
                readers=[self.estimator],
                embedder=self.embedder,
            )
            measured = [[p.years[self.estimator.name], p.distance] for p in found.pictures]
            rows[photo.place // trainer.world_size] = torch.tensor(measured)
        return rows

    def figures(self, rows: torch.Tensor, split: str = "val") -> dict[str, float]:
        """The figures of all ranks' edits, by the names under which they are logged.

        Args:
            rows: `(photographs, ages, 2)`: estimated age in years and descriptor distance; nan where an edit
                is missing.
            split: In front of each name.
        """
        targets = torch.tensor(self.edits.plan.target_ages).expand(len(rows), -1)
        there = torch.isfinite(rows).all(dim=2)
        if not there.any():
            logger.warning("no photograph could be edited: the figures of AgeEvaluation are nan")
            return {f"{split}/{name}": float("nan") for name in (*ALWAYS, *CALIBRATED)}
        asked, measured = targets[there], rows[there]
        ages = AgeError(sync_on_compute=False)
        ages.update(measured[:, 0], asked)
        found = ages.compute()
        figures = {f"age_{name}": found[name] for name in ("mae", "bias", "spearman")}
        figures |= {name.replace("bias/", "age_bias_"): v for name, v in found.items() if "bias/" in name}
        figures["identity"] = measured[:, 1].mean()
        figures |= self._calibrated(measured[:, 0], asked, torch.where(there)[0])
        if self.thresholds is not None:
            people = IdentityDistance(thresholds=self.thresholds, sync_on_compute=False)
            people.update(measured[:, 1], ages=asked)
            figures["identity_share"] = people.compute()["share"]
            if "age_mae_calibrated" in figures:
                floor = self.calibration.spread(self.estimator.name, asked.numpy()).mean()
                figures["choice"] = figures["age_mae_calibrated"] / floor + 1 - figures["identity_share"]
        return {f"{split}/{name}": float(value) for name, value in figures.items()}

    def _calibrated(
        self, years: torch.Tensor, asked: torch.Tensor, photographs: torch.Tensor
    ) -> dict[str, float]:
        """Calibrated figures of edits `(n,)` of some photographs; empty for an unknown estimator."""
        name = self.estimator.name
        if name not in self.calibration.readers:
            return {}
        error = self.calibration.corrected(name, years.double().numpy(), asked.double().numpy())
        found = mean_interval(np.abs(error), photographs.tolist(), over="photographs", rounds=2000)
        return {
            "age_mae_calibrated": found.value,
            "age_mae_calibrated_low": found.low,
            "age_mae_calibrated_high": found.high,
            "age_bias_calibrated": float(error.mean()),
        }
