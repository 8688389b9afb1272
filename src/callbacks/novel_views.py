"""See what a 3D generator makes while it is trained: from the side, and how deep."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from faceforward.atomic import atomic_file
from faceforward.callbacks.ema import average_of
from faceforward.callbacks.ranks import together
from faceforward.eg3d.views import depth_levels, depth_preview, grid, picture, render_views
from faceforward.faces.crops import resized
from faceforward.report.metadata import Mark, write_png

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceforward.datamodules.camera_crops import CropDataset
    from faceforward.eg3d.generator import TriPlaneGenerator
    from faceforward.eg3d.heads import Head

logger = logging.getLogger(__name__)


class MakesHeads(Protocol):
    """A module whose heads can be looked at.

    Attributes:
        generator: That renders them.
        is_fine: Whether its final pictures are worth looking at; else the raw ones are.
    """

    generator: TriPlaneGenerator

    @property
    def is_fine(self) -> bool: ...  # noqa: D102

    def heads(self, dataset: CropDataset, count: int) -> Iterator[Head]:
        """The same heads each time.

        Args:
            dataset: The validation split.
            count: How many, at most.
        """
        ...


class NovelViews(Callback):
    """Turns the same heads to the same yaws again and again; each time one PNG.

    `NAME/step-00000500.png` in the run's folder, marked as synthetic: a row for each head, with its views and
    the depth map from the front. An autoencoder's heads are those of the first validation photographs, which
    stand before them; a GAN's are of the same codes. It never leaves the machine.

    Args:
        count: Heads.
        yaws: Degrees.
        every_n_steps: Between pictures.
        name: Folder under `trainer.default_root_dir`.
        tile: Side of a picture, pixels.

    Example:
        >>> NovelViews(yaws=(-20.0, 20.0)).yaws
        (-20.0, 20.0)
    """

    def __init__(
        self,
        *,
        count: int = 6,
        yaws: tuple[float, ...] = (-40.0, -20.0, 0.0, 20.0, 40.0),
        every_n_steps: int = 500,
        name: str = "novel_views",
        tile: int = 128,
    ) -> None:
        self.count = count
        self.yaws = yaws
        self.every_n_steps = every_n_steps
        self.name = name
        self.tile = tile
        self._last = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from where a resumed run stands."""
        self._last = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Turn them when enough steps went by."""
        if trainer.global_step - self._last < self.every_n_steps:
            return
        self._last = trainer.global_step
        with together(trainer, "NovelViews"):
            if trainer.is_global_zero:
                self._write(trainer, pl_module)  # type: ignore[arg-type]

    def _write(self, trainer: Trainer, module: Any) -> None:
        """Render and save; a disk that is full is said and costs the picture only."""
        dataset = trainer.datamodule.datasets["val"]  # type: ignore[attr-defined]
        average = average_of(trainer)
        was_training = module.training
        module.eval()
        try:
            if average is None:
                rows = self._rows(module, dataset)
            else:
                with average.averaged(module):
                    rows = self._rows(module, dataset)
        finally:
            module.train(was_training)
        step = trainer.global_step
        path = Path(trainer.default_root_dir) / self.name / f"step-{step:08d}.png"
        mark = Mark(
            "composite", f"Heads from several sides at step {step}, and photographs where there are any."
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as temporary:
                write_png(temporary, np.vstack(rows), mark)
        except OSError as error:
            logger.error("%s could not be written: %s; make room, the training goes on", path, error)

    @torch.no_grad()
    def _rows(self, module: MakesHeads, dataset: Any) -> list[np.ndarray]:
        rows = []
        for head in module.heads(dataset, self.count):
            tiles = [picture(image) for image in head.shown]
            for view in render_views(head.generator, head.planes, head.ws, grid(self.yaws)):
                tiles.append(picture(view.image if module.is_fine else view.raw))
            front = next(render_views(head.generator, head.planes, head.ws, [(0.0, 0.0)]))
            tiles.append(depth_preview(depth_levels(front)))
            rows.append(np.hstack([resized(tile, self.tile) for tile in tiles]))
        return rows
