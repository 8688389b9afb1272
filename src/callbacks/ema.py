"""An exponential moving average of what is trained, kept beside the raw weights."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from diffusers.training_utils import EMAModel
from lightning import Callback, LightningModule, Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator


class EMA(Callback):
    """Averages the parameters that need gradients after every optimizer step; validation sees the average.

    Checkpoints keep the raw weights in the module and the average here; exports take the average.

    Args:
        decay: Upper limit of the decay.
        warmup: Let the decay grow with the steps, as `1 - (1 + step)^-power`.
        power: Of the warm-up.

    Example:
        >>> EMA(decay=0.999).decay
        0.999
    """

    def __init__(self, decay: float = 0.9995, *, warmup: bool = True, power: float = 0.75) -> None:
        self.decay = decay
        self.warmup = warmup
        self.power = power
        self.model: EMAModel | None = None
        self._loaded: dict[str, Any] | None = None
        self._step = -1

    @staticmethod
    def _parameters(module: LightningModule) -> list:
        return [p for p in module.parameters() if p.requires_grad]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the average at the weights, or where the checkpoint left it."""
        self.model = EMAModel(
            self._parameters(pl_module),
            decay=self.decay,
            use_ema_warmup=self.warmup,
            power=self.power,
            foreach=True,
        )
        if self._loaded is not None:
            self.model.load_state_dict(self._loaded)
            self.model.decay = self.decay
        self.model.to(pl_module.device)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from where a resumed run stands; at the start of the fit it is not known yet."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Follow the weights once per optimizer step."""
        if self.model is not None and trainer.global_step > self._step:
            self._step = trainer.global_step
            self.model.step(self._parameters(pl_module))

    @contextmanager
    def averaged(self, pl_module: LightningModule) -> Iterator[None]:
        """Put the average into the module for a while."""
        if self.model is None:
            yield
            return
        parameters = self._parameters(pl_module)
        self.model.store(parameters)
        self.model.copy_to(parameters)
        try:
            yield
        finally:
            self.model.restore(parameters)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        if self.model is not None:
            self._swapped = self.averaged(pl_module)
            self._swapped.__enter__()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the raw weights."""
        if self.model is not None:
            self._swapped.__exit__(None, None, None)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {} if self.model is None else self.model.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Kept until the fit starts: the model is not on its device yet."""
        self._loaded = state_dict or None
