"""Signals of a cluster's scheduler are answered between steps, where a checkpoint is exact."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, Any

from lightning import Callback

from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning import LightningModule, Trainer

logger = logging.getLogger(__name__)


class SignalsBetweenSteps(Callback):
    """Holds back SLURM's requeue signal until all ranks have finished the same optimizer step.

    Lightning answers the signal wherever it falls: a checkpoint that is saved between the optimizer's step
    and the count of batches trains that batch again, and ranks that are at different places wait for one
    another. Here the answer (save `hpc_ckpt_N.ckpt`, `scontrol requeue`) is the same, and comes a little
    later; then training stops. Without such an answer, as outside of SLURM, this does nothing.

    Args:
        every_n_steps: How often several ranks ask one another for the signal; one rank asks after each step.
            So many steps must fit between the signal and the end (`--signal=SIGUSR1@120`).

    Raises:
        ConfigurationError: `every_n_steps` is not positive.
    """

    def __init__(self, every_n_steps: int = 10) -> None:
        if every_n_steps < 1:
            raise ConfigurationError(f"every_n_steps is {every_n_steps}: give at least 1")
        self.every_n_steps = every_n_steps
        self._answer: Callable[..., Any] | None = None
        self._arrived = False
        self._asked = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's answer, which it restores itself when training ends."""
        self._answer, self._arrived, self._asked = None, False, trainer.global_step
        answer = signal.getsignal(signal.SIGUSR1) if hasattr(signal, "SIGUSR1") else None
        if callable(answer):
            self._answer = answer
            signal.signal(signal.SIGUSR1, self._note)

    def _note(self, number: int, frame: Any) -> None:
        self._arrived = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Answer, if the signal came to any rank and the optimizer has just made its step."""
        step = trainer.global_step
        every = 1 if trainer.world_size == 1 else self.every_n_steps
        if self._answer is None or step == self._asked or step % every:
            return
        self._asked = step
        if trainer.strategy.reduce_boolean_decision(self._arrived, all=False):
            logger.info("step %d: the scheduler's signal is answered", step)
            self._answer(signal.SIGUSR1, None)
            self._answer = None
            trainer.should_stop = True
