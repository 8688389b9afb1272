"""What callbacks need to know about the other ranks: that none waits for one that failed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from faceforward.errors import ConfigurationError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning import Trainer


def refuse_shards(trainer: Trainer, name: str) -> None:
    """Refuse strategies under which no rank has the whole weights.

    Args:
        trainer: Whose strategy it is.
        name: Of the callback.

    Raises:
        ConfigurationError: The strategy shares the weights out among the ranks.
    """
    strategy = trainer.strategy
    sharded = isinstance(strategy, FSDPStrategy | ModelParallelStrategy) or (
        isinstance(strategy, DeepSpeedStrategy) and strategy.zero_stage_3
    )
    if sharded:
        raise ConfigurationError(
            f"{name} needs the whole weights on every rank, and {type(strategy).__name__} shares them out: "
            "take -c configs/trainer/ddp.yaml, or leave the callback out as configs/trainer/fsdp.yaml does"
        )


@contextmanager
def together(trainer: Trainer, what: str) -> Iterator[None]:
    """Work of one rank or of all, without communication: an error of one rank becomes an error of all.

    Without this the others would wait for ever at their next common step.

    Args:
        trainer: Whose ranks they are.
        what: Is done, for the message on the other ranks.

    Raises:
        TrainingError: Another rank failed; where it happened, its own error is raised.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:  # whatever it is, the other ranks have to hear of it first
        failure = error
    if trainer.strategy.reduce_boolean_decision(failure is None, all=True):
        return
    if failure is not None:
        raise failure
    raise TrainingError(f"{what} failed on another rank, whose message says why")


def share(count: int, trainer: Trainer) -> range:
    """Which of `count` things this rank takes: its own number, and on in steps of the number of ranks."""
    return range(trainer.global_rank, count, trainer.world_size)


def gather(trainer: Trainer, mine: torch.Tensor, count: int) -> torch.Tensor:
    """Put together what `share` shared out; every rank gets all of it.

    Args:
        trainer: Whose ranks they are.
        mine: `(n, ...)`, one entry for each thing of this rank, in order.
        count: Things of all ranks.

    Returns:
        `(count, ...)` on the CPU, in the order of the things.
    """
    most = -(-count // trainer.world_size)
    padded = mine.new_zeros((most, *mine.shape[1:]))
    padded[: len(mine)] = mine
    padded = padded.to(trainer.strategy.root_device)
    every = trainer.strategy.all_gather(padded) if trainer.world_size > 1 else padded.unsqueeze(0)
    return every.transpose(0, 1).flatten(0, 1)[:count].cpu()
