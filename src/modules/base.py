"""What every trained LightningModule here shares: optimizer, schedule, channels-last and export."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from lightning import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

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
        """Optimizer over the parameters that need gradients, with a schedule per step."""
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        if self.lr_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.lr_scheduler(optimizer), "interval": "step"},
        }
