"""Learning-rate schedules that YAML can name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from torch.optim import Optimizer


class WarmupCosine(LambdaLR):
    """Linear warm-up, a plateau, and a half cosine down to a share of the rate.

    Args:
        optimizer: The optimizer.
        total_steps: Step at which the cosine ends.
        warmup_steps: Steps of the linear rise.
        decay_steps: Steps of the cosine at the end; None decays from the end of the warm-up.
        final: Share of the rate that is left at the end.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int = 0,
        decay_steps: int | None = None,
        final: float = 0.0,
    ) -> None:
        start = warmup_steps if decay_steps is None else max(warmup_steps, total_steps - decay_steps)

        def factor(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / warmup_steps
            progress = min(max(step - start, 0) / max(total_steps - start, 1), 1.0)
            return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

        super().__init__(optimizer, factor)
