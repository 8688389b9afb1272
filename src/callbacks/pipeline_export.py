"""Write what is being learnt as a diffusers directory, now and then and at the end."""

from __future__ import annotations

import logging
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Callback, LightningModule, Trainer

from faceforward.callbacks.ema import EMA

if TYPE_CHECKING:
    from faceforward.modules.base import TrainedModule

logger = logging.getLogger(__name__)


def replace_folder(temporary: Path, final: Path) -> None:
    """Put a complete folder in the place of an older one."""
    old = final.with_name(f".{final.name}.old")
    if old.exists():
        shutil.rmtree(old)
    if final.exists():
        final.replace(old)
    temporary.replace(final)
    if old.exists():
        shutil.rmtree(old)


class PipelineExport(Callback):
    """Exports the module under the run's folder, with the averaged weights where there are any.

    Args:
        name: Folder under `trainer.default_root_dir`.
        every_n_steps: Between exports; None exports at the end only.

    Example:
        >>> PipelineExport("vae", every_n_steps=500).name
        'vae'
    """

    def __init__(self, name: str = "pipeline", *, every_n_steps: int | None = None) -> None:
        self.name = name
        self.every_n_steps = every_n_steps
        self._last = 0

    def _export(self, trainer: Trainer, module: TrainedModule) -> None:
        if trainer.is_global_zero:
            final = Path(trainer.default_root_dir) / self.name
            temporary = final.with_name(f".{final.name}.tmp")
            if temporary.exists():
                shutil.rmtree(temporary)
            temporary.mkdir(parents=True)
            emas = [callback for callback in trainer.callbacks if isinstance(callback, EMA)]  # type: ignore[attr-defined]
            with emas[0].averaged(module) if emas else nullcontext():
                module.export(temporary)
            replace_folder(temporary, final)
            logger.info("step %d exported to %s", trainer.global_step, final)
        trainer.strategy.barrier("pipeline_export")
        self._last = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Export when enough steps went by."""
        if self.every_n_steps and trainer.global_step - self._last >= self.every_n_steps:
            self._export(trainer, pl_module)  # type: ignore[arg-type]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from where a resumed run stands; at the start of the fit it is not known yet."""
        self._last = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export what the run ends with."""
        self._export(trainer, pl_module)  # type: ignore[arg-type]
