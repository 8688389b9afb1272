"""What callbacks need to know about the other ranks: that none waits for one that failed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from faceforward.errors import ConfigurationError, FaceforwardError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning import LightningDataModule, LightningModule, Trainer


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


#: Note of an error on another rank than the first, which raises one with the same message and says it.
SAID_BY_FIRST = "The first rank says why."


@contextmanager
def together(trainer: Trainer, what: str) -> Iterator[None]:
    """Work of one rank or of all, without communication: an error of one rank becomes an error of all.

    Without this the others would wait for ever at their next common step.

    Args:
        trainer: Whose ranks they are.
        what: Is done, for the message where an error is none of this package's.

    Raises:
        FaceforwardError: Another rank failed, for the same reason; where it happened, its own error is
            raised. On all but the first rank the error has the note `SAID_BY_FIRST`.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:  # whatever it is, the other ranks have to hear of it first
        failure = error
    if trainer.strategy.reduce_boolean_decision(failure is None, all=True):
        return
    if trainer.world_size > 1:
        failure = _agreed(trainer, what, failure)
    assert failure is not None  # one rank's decision is its own
    raise failure


def _agreed(trainer: Trainer, what: str, failure: Exception | None) -> Exception:
    """The error to raise here: this rank's own, or one with the message of the first rank that failed."""
    failed = torch.tensor([failure is not None], device=trainer.strategy.root_device)
    source = int(trainer.strategy.all_gather(failed).flatten().int().argmax())
    own = isinstance(failure, FaceforwardError)
    told = str(failure) if own else f"{what} failed on rank {source}: {type(failure).__name__}: {failure}"
    told, refused = trainer.strategy.broadcast((told, isinstance(failure, ConfigurationError)), src=source)
    if failure is None:
        failure = (ConfigurationError if refused else TrainingError)(told)
    if not trainer.is_global_zero and isinstance(failure, FaceforwardError):
        failure.add_note(SAID_BY_FIRST)
    return failure


def agree_on_loss(module: LightningModule) -> bool:
    """Whether ranks agree at this step on whether to learn from its losses (see `together`).

    On CPUs at each step; elsewhere, where ranks would have to wait for their devices, when figures are logged
    anyway.
    """
    return module.device.type == "cpu" or module.global_step % module.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]


def prepare_together(trainer: Trainer, data: LightningDataModule) -> None:
    """Have what fails while data is prepared or set up on one rank end all of them.

    `prepare_data` runs on the first rank of each machine, while the others wait: what fails there is raised
    in `setup`, where all ranks are.

    Args:
        trainer: Whose ranks they are.
        data: Its two hooks are replaced.
    """
    prepare, setup = data.prepare_data, data.setup
    failures: list[Exception] = []

    def prepare_data() -> None:
        try:
            prepare()
        except Exception as error:  # raised in setup
            failures.append(error)

    def set_up(stage: str) -> None:
        with together(trainer, "preparing the data"):
            if failures:
                raise failures.pop()
            setup(stage)

    data.prepare_data, data.setup = prepare_data, set_up  # type: ignore[method-assign]


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
