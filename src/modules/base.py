"""What every trained LightningModule here shares: optimizer, schedule, checkpoints and export."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from lightning import Callback, LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau

from faceforward.callbacks.between_steps import SignalsBetweenSteps
from faceforward.callbacks.fingerprint import Fingerprint
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def adamw(params: Any) -> torch.optim.Optimizer:
    """AdamW as FADING publishes it (arXiv 2309.11321): lr 5e-6, betas 0.9/0.999, weight decay 1e-2."""
    return torch.optim.AdamW(params, lr=5e-6, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)


class TrainedModule(LightningModule):
    """Base of the modules that learn.

    Args:
        optimizer: Builds the optimizer from the trained parameters.
        lr_scheduler: Builds the schedule, stepped after each optimizer step; None keeps the rate constant.
    """

    def __init__(
        self, *, optimizer: OptimizerCallable = adamw, lr_scheduler: LRSchedulerCallable | None = None
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write what was learnt as a diffusers directory."""

    def learnt(self) -> dict[str, torch.Tensor]:
        """The tensors that a checkpoint of this module holds, by name."""
        return self.state_dict()

    def configure_callbacks(self) -> list[Callback]:
        """See that no other model's checkpoint is loaded and no step is cut in two."""
        return [Fingerprint(), SignalsBetweenSteps()]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint that does not hold exactly the weights that are expected.

        Raises:
            ConfigurationError: The checkpoint is of another model.
        """
        if "state_dict" not in checkpoint:  # FSDP and DeepSpeed load the weights themselves
            return
        state, mine = checkpoint["state_dict"], self.learnt()
        missing = sorted(mine.keys() - state.keys())
        misfits = sorted(name for name in mine.keys() & state.keys() if mine[name].shape != state[name].shape)
        unknown = sorted(state.keys() - mine.keys())
        for names, what in (
            (missing, "are missing in it"),
            (misfits, "have another shape in it"),
            (unknown, "in it are unknown or frozen here"),
        ):
            if names:
                raise ConfigurationError(
                    f"the checkpoint is of another model: {len(names)} weights {what}, first "
                    f"{', '.join(names[:3])}; take the model and `train` of the run that wrote "
                    "it, or start a new run from its exported folder with model.init_args.init_from"
                )

    def configure_optimizers(self) -> Any:
        """Optimizer over the parameters that need gradients, with a schedule per step.

        A schedule that watches a figure looks at it after each epoch, or after each validation where those
        are counted in steps: sooner a figure of validation would not be there.
        """
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        if self.lr_scheduler is None:
            return optimizer
        schedule: dict[str, Any] = {"scheduler": self.lr_scheduler(optimizer), "interval": "step"}
        if isinstance(schedule["scheduler"], ReduceLROnPlateau):
            schedule |= {"monitor": schedule["scheduler"].monitor, **self._looks()}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _looks(self) -> dict[str, Any]:
        """How often a schedule looks at its figure, in Lightning's words."""
        trainer = self.trainer
        if trainer.check_val_every_n_epoch is not None:
            return {"interval": "epoch", "frequency": trainer.check_val_every_n_epoch}
        every = math.lcm(int(trainer.val_check_interval), trainer.accumulate_grad_batches)
        trainer.fit_loop.setup_data()  # Lightning counts batches in their epoch, whose length is known then
        batches = trainer.num_training_batches
        if every <= batches:
            return {"interval": "step", "frequency": every}
        return {"interval": "epoch", "frequency": math.ceil(every / batches)}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step; a figure is the mean of all ranks, which would go on at different rates otherwise."""
        if metric is not None:
            metric = self.trainer.strategy.reduce(metric, reduce_op="mean")
        super().lr_scheduler_step(scheduler, metric)
