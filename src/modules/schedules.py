"""Learning-rate schedules that YAML can name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LambdaLR

from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from torch.optim import Optimizer


class WarmupCosine(LambdaLR):
    """Linear warm-up, a plateau, and a half cosine down to a share of the rate.

    Args:
        optimizer: The optimizer.
        total_steps: Step at which the cosine ends.
        warmup_steps: Steps of the linear rise.
        decay_steps: Steps of the cosine at the end; None, or more than there are, decays from the end
            of the warm-up.
        final: Share of the rate that is left at the end.

    Raises:
        ConfigurationError: A number is out of range, as `total_steps` is where it is taken from the trainer's
            `max_steps` and only epochs are limited.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int = 0,
        decay_steps: int | None = None,
        final: float = 0.0,
    ) -> None:
        if total_steps < 1:
            raise ConfigurationError(
                f"total_steps of the schedule is {total_steps}, which leaves no rate to learn with: give the "
                "steps of the run as --trainer.max_steps, or as total_steps of the schedule "
                "(model.init_args.lr_scheduler.init_args.total_steps)"
            )
        if warmup_steps < 0:
            raise ConfigurationError(f"warmup_steps of the schedule is {warmup_steps}: give 0 or more")
        if decay_steps is not None and decay_steps < 1:
            raise ConfigurationError(f"decay_steps of the schedule is {decay_steps}: give 1 or more, or null")
        if not 0 <= final <= 1:
            raise ConfigurationError(f"final of the schedule is {final}: give a share from 0 to 1")
        start = warmup_steps if decay_steps is None else max(warmup_steps, total_steps - decay_steps)

        def factor(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / warmup_steps
            progress = min(max(step - start, 0) / max(total_steps - start, 1), 1.0)
            return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

        super().__init__(optimizer, factor)
