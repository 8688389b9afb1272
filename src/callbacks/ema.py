"""An exponential moving average of what is trained, kept beside the raw weights."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from diffusers.training_utils import EMAModel
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from faceforward.callbacks.ranks import refuse_shards
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class EMA(Callback):
    """Averages the parameters that need gradients after every optimizer step; validation sees the average.

    Checkpoints keep the raw weights in the module and the average here, whenever they are saved; exports take
    the average. It is float32 whatever the weights are: in bfloat16 its small steps would be lost.

    Args:
        decay: Upper limit of the decay.
        warmup: Let the decay grow with the steps, as `1 - (1 + step)^-power`; else as
            `(1 + step) / (10 + step)`.
        power: Of the warm-up.
        skip: Parts of the module that have no average: names, as `adversary`.

    Example:
        >>> EMA(decay=0.999).decay
        0.999
    """

    def __init__(
        self, decay: float = 0.9995, *, warmup: bool = True, power: float = 0.75, skip: Sequence[str] = ()
    ) -> None:
        self.decay = decay
        self.warmup = warmup
        self.power = power
        self.skip = tuple(skip)
        self.model: EMAModel | None = None
        self._loaded: dict[str, Any] | None = None
        self._raw: list[torch.Tensor] | None = None  # the weights, while the average is in their place
        self._step = -1

    def _named(self, module: LightningModule) -> dict[str, torch.nn.Parameter]:
        return {
            name: parameter
            for name, parameter in module.named_parameters()
            if parameter.requires_grad and not any(name.startswith(f"{part}.") for part in self.skip)
        }

    def _parameters(self, module: LightningModule) -> list[torch.nn.Parameter]:
        return list(self._named(module).values())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what an average is not defined for.

        Raises:
            ConfigurationError: The weights are shared out among ranks.
        """
        refuse_shards(trainer, "EMA")

    def _start(self, pl_module: LightningModule) -> None:
        """An average that starts at the weights."""
        self.model = EMAModel(
            self._parameters(pl_module),
            decay=self.decay,
            use_ema_warmup=self.warmup,
            power=self.power,
            foreach=True,
        )
        self._take_up(pl_module)

    def _take_up(self, pl_module: LightningModule) -> None:
        """Go on with what a checkpoint brought, under the settings of this run.

        Raises:
            ConfigurationError: It is the average of another model.
        """
        assert self.model is not None  # called after _start
        if self._loaded is not None:
            mine = [tuple(p.shape) for p in self._parameters(pl_module)]
            theirs = [tuple(p.shape) for p in self._loaded["shadow_params"]]
            if mine != theirs:
                raise ConfigurationError(
                    f"the checkpoint's average (EMA) is of {len(theirs)} weights that are not the "
                    f"{len(mine)} that are trained here: take the model and `train` of that run, or start a "
                    "new one from its exported folder with model.init_args.init_from"
                )
            self.model.load_state_dict(self._loaded)
            self.model.decay, self.model.use_ema_warmup = self.decay, self.warmup
            self.model.power = self.power
            self._loaded = None
        self.model.to(pl_module.device, dtype=torch.float32)

    def put(self, pl_module: LightningModule, state_dict: dict[str, Any]) -> None:
        """Put a checkpoint's average into the module for good, outside a run.

        Args:
            pl_module: What was trained.
            state_dict: Of this callback, from the checkpoint.

        Raises:
            ConfigurationError: It is the average of another model.
        """
        self.load_state_dict(state_dict)
        self._start(pl_module)
        assert self.model is not None  # started just now
        self.model.copy_to(self._parameters(pl_module))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the average at the weights, or where the checkpoint left it."""
        self._start(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from where a resumed run stands; at the start of the fit it is not known yet."""
        self._step = trainer.global_step
        if self._loaded is not None:  # DeepSpeed reads its checkpoint after the start of the fit
            self._take_up(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Follow the weights once per optimizer step."""
        self.follow(trainer, pl_module)

    def follow(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take this step's weights in, unless they are in already.

        What shows or exports the average after a step asks for it, and need not be listed after this.
        """
        if self.model is not None and self._raw is None and trainer.global_step > self._step >= 0:
            self._step = trainer.global_step
            self.model.step(self._parameters(pl_module))

    def _put_average(self, pl_module: LightningModule) -> None:
        if self.model is not None and self._raw is None:
            parameters = self._parameters(pl_module)
            self._raw = [p.detach().cpu().clone() for p in parameters]
            self.model.copy_to(parameters)

    def _put_raw(self, pl_module: LightningModule) -> None:
        if self._raw is not None:
            for parameter, raw in zip(self._parameters(pl_module), self._raw, strict=True):
                parameter.data.copy_(raw)
            self._raw = None

    @contextmanager
    def averaged(self, pl_module: LightningModule) -> Iterator[None]:
        """Have the average in the module for a while; it stays where it is there already."""
        if self.model is None or self._raw is not None:
            yield
            return
        self._put_average(pl_module)
        try:
            yield
        finally:
            self._put_raw(pl_module)

    @contextmanager
    def live(self, pl_module: LightningModule) -> Iterator[None]:
        """Have the raw weights in the module for a while; they stay where they are there already."""
        if self._raw is None:
            yield
            return
        self._put_raw(pl_module)
        try:
            yield
        finally:
            self._put_average(pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average; `validate --ckpt_path` finds it in the checkpoint."""
        if trainer.state.fn != TrainerFn.FITTING and self._loaded is not None:
            self._start(pl_module)
        self._put_average(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the raw weights."""
        self._put_raw(pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test the average."""
        self.on_validation_start(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the raw weights."""
        self._put_raw(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the raw weights back before anybody saves what an interrupted validation left."""
        self._put_raw(pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the raw weights, even where a cluster's signal to save comes in the middle of a validation."""
        if self._raw is not None:
            checkpoint["state_dict"].update(zip(self._named(pl_module), self._raw, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {} if self.model is None else self.model.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Kept until the fit starts: the model is not on its device yet."""
        self._loaded = state_dict or None


def average_of(trainer: Trainer) -> EMA | None:
    """The average that this trainer keeps, if it keeps one."""
    return next((c for c in trainer.callbacks if isinstance(c, EMA)), None)  # type: ignore[attr-defined]
