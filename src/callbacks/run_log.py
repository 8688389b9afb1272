"""What a run's logger is told beside the losses: its config, gradients, speed and memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
import yaml
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

if TYPE_CHECKING:
    from collections.abc import Mapping

GIB = 2**30


class RunLog(Callback):
    """Logs figures of the run at every `trainer.log_every_n_steps`, and its config at the start.

    `train/grad_norm` (L2 over all trained weights, before clipping; not under FSDP and DeepSpeed, where no
    rank has whole gradients), `train/images_per_second` (all ranks together, since the last figure, without
    validation) and, on GPUs, `train/gpu_memory_peak` in GiB (the largest of the ranks, since the start). The
    learning rate is `lightning.pytorch.callbacks.LearningRateMonitor`'s.

    Example:
        >>> RunLog().images
        0
    """

    def __init__(self) -> None:
        self.images = 0
        self._begun = 0.0
        self._paused = 0.0
        self._step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tell the loggers the whole config, as `config.yaml` has it."""
        saved = next((c for c in trainer.callbacks if isinstance(c, SaveConfigCallback)), None)  # type: ignore[attr-defined]
        if saved is not None and trainer.is_global_zero:
            config = yaml.safe_load(saved.parser.dump(saved.config, skip_none=False))
            for receiver in trainer.loggers:
                receiver.log_hyperparams(config)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._step = trainer.global_step
        self._restart()

    def _restart(self) -> None:
        self.images, self._begun, self._paused = 0, time.perf_counter(), 0.0

    @staticmethod
    def _due(trainer: Trainer, step: int) -> bool:
        return bool(trainer.log_every_n_steps) and step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Log the norm of the gradient, which is whole and unscaled here and not clipped yet."""
        sharded = isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy)
        if self._due(trainer, trainer.global_step + 1) and not sharded:
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            pl_module.log("train/grad_norm", torch.nn.utils.get_total_norm(gradients))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count images; log speed and memory when it is time."""
        self.images += batch_size(batch)
        stepped = trainer.global_step > self._step
        self._step = trainer.global_step
        if not stepped or not self._due(trainer, trainer.global_step):
            return
        device = pl_module.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            peak = torch.cuda.max_memory_allocated(device) / GIB
            pl_module.log("train/gpu_memory_peak", peak, sync_dist=True, reduce_fx="max")
        rate = self.images / (time.perf_counter() - self._begun - self._paused)
        pl_module.log("train/images_per_second", rate, sync_dist=True, reduce_fx="sum")
        self._restart()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._paused -= time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on."""
        self._paused += time.perf_counter()


def batch_size(batch: Mapping[str, Any] | torch.Tensor) -> int:
    """Samples in a batch, from its first tensor; 0 where there is none."""
    if isinstance(batch, torch.Tensor):
        return len(batch)
    return next((len(value) for value in batch.values() if isinstance(value, torch.Tensor)), 0)
