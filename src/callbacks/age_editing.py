"""See how well faces age while the model is trained: grids of edits, on this machine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.trainer.states import TrainerFn

from faceforward.atomic import atomic_file
from faceforward.callbacks.edit_plan import DEFAULT_PLAN, EditPlan
from faceforward.callbacks.edits import ValidationEdits, warn_without_validation
from faceforward.callbacks.ema import average_of
from faceforward.callbacks.ranks import gather, share, together
from faceforward.faces.crops import resized
from faceforward.report.grid import edit_grid
from faceforward.report.metadata import Mark, write_png

if TYPE_CHECKING:
    from faceforward.callbacks.edit_plan import EditedPhoto

logger = logging.getLogger(__name__)


class AgeEditing(Callback):
    """Edits the same validation photographs to the same ages again and again; each time one PNG.

    `NAME/step-00000500.png` in the run's folder, marked as synthetic; `train.py validate` takes the step from
    its checkpoint. The sanity check edits one photograph
    in two steps, so that what cannot work is said at once. Pictures leave the machine only with `log_images`.

    Args:
        edits: Which photographs, to which ages, with which weights.
        every_n_steps: Between grids; without this and the next, at each validation.
        every_n_epochs: Between grids.
        name: Folder under `trainer.default_root_dir`.
        tile: Side of a picture on the grid, pixels.
        log_images: Give the grids to the W&B or TensorBoard logger too. W&B takes them to its servers.

    Example:
        >>> AgeEditing(EditPlan(target_ages=(60, 20)), every_n_steps=500).edits.plan.target_ages
        (20, 60)
    """

    def __init__(
        self,
        edits: EditPlan = DEFAULT_PLAN,
        *,
        every_n_steps: int | None = None,
        every_n_epochs: int | None = None,
        name: str = "age_editing",
        tile: int = 160,
        log_images: bool = False,
    ) -> None:
        self.every_n_steps = every_n_steps
        self.every_n_epochs = every_n_epochs
        self.name = name
        self.tile = tile
        self.log_images = log_images
        self.edits = ValidationEdits(edits)
        self._last = -1
        self._loaded: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the edits, which callbacks of one plan share.

        Raises:
            ConfigurationError: The module cannot edit.
        """
        self.edits = self.edits.shared(trainer, pl_module, self)
        self.edits.forget()
        self._loaded = None
        if stage == "test":  # the figures of `AgeEvaluation` are what a test is for
            return
        timed = self.every_n_steps or self.every_n_epochs or trainer.limit_val_batches != 0  # type: ignore[attr-defined]
        if not (timed and self.edits.available(trainer)) and trainer.is_global_zero:
            logger.warning(
                "AgeEditing has nothing to do: let validation run, or give edits.files and every_n_steps"
            )
        if self.log_images and not any(
            isinstance(g, TensorBoardLogger | WandbLogger) for g in trainer.loggers
        ):
            logger.warning("AgeEditing has log_images, and no logger of this run takes pictures")

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note the checkpoint's step: a validation alone counts none."""
        self._loaded = checkpoint["global_step"]

    def _step(self, trainer: Trainer) -> int:
        """The step that the weights are of."""
        alone = trainer.state.fn != TrainerFn.FITTING
        return self._loaded if alone and self._loaded is not None else trainer.global_step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from where a resumed run stands, and say so where no grid will come of it."""
        self._last = trainer.global_step
        if not (self.every_n_steps or self.every_n_epochs):
            warn_without_validation(trainer, "AgeEditing", ", or every_n_steps of AgeEditing")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The weights change now: let the last edits go."""
        self.edits.forget()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Edit when enough steps went by."""
        if self.every_n_steps and trainer.global_step - self._last >= self.every_n_steps:
            self._run(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Edit after every so many epochs."""
        if self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._run(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Edit at each validation, unless a fit does so by steps or epochs; the sanity check tries it out."""
        if trainer.sanity_checking:
            if not self.edits.available(trainer):
                return
            with together(trainer, "the trial of AgeEditing"):
                self.edits.make(trainer, pl_module, trial=True)  # type: ignore[arg-type]
        elif trainer.state.fn != TrainerFn.FITTING or not (self.every_n_steps or self.every_n_epochs):
            self._run(trainer, pl_module)

    def _run(self, trainer: Trainer, module: LightningModule) -> None:
        """Edit, gather and write one grid."""
        self._last = trainer.global_step
        if not self.edits.available(trainer):
            return
        with together(trainer, "AgeEditing"):
            edited = self.edits.make(trainer, module)  # type: ignore[arg-type]
            pictures, ages = self._tensors(trainer, edited)
        pictures = gather(trainer, pictures, self.edits.count).numpy()
        ages = gather(trainer, ages, self.edits.count)[:, 0].tolist()
        with together(trainer, "writing the grid of AgeEditing"):
            if trainer.is_global_zero:
                self._write(trainer, pictures, ages)

    def _tensors(self, trainer: Trainer, edited: list[EditedPhoto]) -> tuple[torch.Tensor, torch.Tensor]:
        """This rank's pictures `(n, 1 + ages, tile, tile, 3)` uint8, and ages `(n, 1)`, -1 without edits."""
        mine, columns = len(share(self.edits.count, trainer)), 1 + len(self.edits.plan.target_ages)
        pictures = torch.zeros(mine, columns, self.tile, self.tile, 3, dtype=torch.uint8)
        ages = torch.full((mine, 1), -1.0)
        for photo in edited:
            row = photo.place // trainer.world_size
            tiles = [resized(image, self.tile) for image in (photo.source, *photo.images.values())]
            pictures[row] = torch.from_numpy(np.stack(tiles))
            ages[row] = photo.age
        return pictures, ages

    def _write(self, trainer: Trainer, pictures: np.ndarray, ages: list[float]) -> None:
        """Draw and save the grid; a disk that is full is said and costs the grid only."""
        step = self._step(trainer)
        rows = [row for row, age in enumerate(ages) if age >= 0]
        if not rows:
            logger.warning("step %d: no photograph could be edited", step)
            return
        averaged = self.edits.plan.weights == "average" and average_of(trainer) is not None
        shown = "averaged weights" if averaged else "live weights"
        grid = edit_grid(
            [pictures[row, 0] for row in rows],
            [list(pictures[row, 1:]) for row in rows],
            source_ages=[ages[row] for row in rows],
            target_ages=self.edits.plan.target_ages,
            footer=f"step {step}, {shown}; orange frames: synthetic, no photographs",
            tile=self.tile,
        )
        path = Path(trainer.default_root_dir) / self.name / f"step-{step:08d}.png"
        mark = Mark("composite", f"Validation photographs edited to other ages at step {step}.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as temporary:
                write_png(temporary, grid, mark)
        except OSError as error:
            logger.error("%s could not be written: %s; make room, the training goes on", path, error)
            return
        logger.info("step %d: ages of %d photographs in %s", step, len(rows), path)
        if self.log_images:
            self._log(trainer, grid, path, step)

    def _log(self, trainer: Trainer, grid: np.ndarray, path: Path, step: int) -> None:
        """Give the grid to the loggers that take pictures; W&B gets the file, with its marks."""
        for receiver in trainer.loggers:
            if isinstance(receiver, WandbLogger):
                receiver.log_image(f"val/{self.name}", [str(path)], step=step)
            elif isinstance(receiver, TensorBoardLogger):
                receiver.experiment.add_image(f"val/{self.name}", grid, step, dataformats="HWC")
