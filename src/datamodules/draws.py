"""What training draws at random, from seed, epoch and place alone: the same on any number of ranks."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler, default_collate

from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lightning import Trainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draw:
    """A sample and the seed of everything that is drawn for it: mirror, caption, timestep, noise.

    Attributes:
        index: Of the sample in its data set.
        seed: In 0 .. 2^63 - 1.
    """

    index: int
    seed: int


def as_draw(place: Draw | int) -> Draw:
    """A place in the data as a `Draw`.

    Where Lightning puts an order of its own in the place of ours (`trainer.overfit_batches`), plain indices
    come; what is drawn for a sample is the same each time then.
    """
    return place if isinstance(place, Draw) else Draw(place, seed_of(place))


def seed_of(*parts: int) -> int:
    """One seed in 0 .. 2^63 - 1 out of several numbers; near numbers give unrelated seeds."""
    text = ",".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


class DrawSampler(DistributedSampler):
    """Shuffled `Draw`s that depend on the seed and the place alone, however a run is shared or interrupted.

    Batch `b` of a pass is the places `b R B .. (b + 1) R B - 1` of the pass's order, for `R` ranks of batch
    size `B`; each rank takes its `B` of them, so that one rank with batch size `R B` sees what `R` ranks see.
    The last incomplete batch is dropped, and so are batches that fill no whole step of accumulated gradients,
    whose samples would count less than others. An iteration starts after the batches that are done and goes
    to the end of that pass: a resumed run sees what an unbroken one saw.

    Lightning leaves a `DistributedSampler` as it is. Its count of epochs is not used: it also goes up when a
    run stops inside one.

    Args:
        size: Samples of the data set.
        batch_size: Of each rank.
        seed: Of the run.
        weights: One per sample: drawn with replacement in proportion to them; None gives a permutation.
        replicas: Number of ranks.
        rank: This one.
        accumulate: Batches in a step of the optimizer.
        done: Tells how many batches of each rank the run has behind it.

    Raises:
        ConfigurationError: There are fewer samples than one step takes.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int = 0,
        weights: Sequence[float] | None = None,
        replicas: int = 1,
        rank: int = 0,
        accumulate: int = 1,
        done: Callable[[], int] = lambda: 0,
    ) -> None:
        # Not the parent's: it wants a data set, and shares it out in another order.
        Sampler.__init__(self)
        if size < batch_size * replicas * accumulate:
            times = f", {accumulate} times" if accumulate > 1 else ""
            raise ConfigurationError(
                f"{size} training photographs do not fill one batch of {batch_size} on {replicas} rank(s)"
                f"{times}: lower data.init_args.batch_size, trainer.devices or "
                "trainer.accumulate_grad_batches, or give more photographs"
            )
        self.batches = size // (batch_size * replicas * accumulate) * accumulate
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        self.num_replicas = replicas
        self.rank = rank
        self.done = done

    def order(self, number: int) -> list[int]:
        """Indices of the samples in the order of pass `number`."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, number))
        if self.weights is None:
            return torch.randperm(self.size, generator=generator).tolist()
        return torch.multinomial(self.weights, self.size, replacement=True, generator=generator).tolist()

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]
        number, start = divmod(self.done(), self.batches)
        order = self.order(number)
        for batch in range(start, self.batches):
            first = (batch * self.num_replicas + self.rank) * self.batch_size
            for place in range(first, first + self.batch_size):
                yield Draw(order[place], seed_of(self.seed, number, place))

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def order_facts(self) -> dict[str, Any]:
        """What the order of a run depends on, as a checkpoint keeps it."""
        weights = b"" if self.weights is None else self.weights.numpy().tobytes()
        return {
            "photographs": self.size,
            "batch_size": self.batch_size,
            "ranks": self.num_replicas,
            "batches": self.batches,
            "seed": self.seed,
            "weights": hashlib.sha256(weights).hexdigest()[:16],
        }

    def set_epoch(self, epoch: int) -> None:
        """Not used: see above."""


def training_sampler(
    trainer: Trainer | None,
    size: int,
    batch_size: int,
    *,
    seed: int,
    weights: Sequence[float] | None = None,
) -> DrawSampler:
    """The sampler of a training loader, from where the trainer's run stands.

    Args:
        trainer: Attached to the data module; None stands for one rank at the start.
        size: Samples of the data set.
        batch_size: Of each rank. Resume with the same one and as many ranks: the batches done are counted.
        seed: Of the run.
        weights: See `DrawSampler`.

    Raises:
        ConfigurationError: See `DrawSampler`.
    """
    if trainer is None:
        return DrawSampler(size, batch_size, seed=seed, weights=weights)
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return DrawSampler(
        size,
        batch_size,
        seed=seed,
        weights=weights,
        replicas=trainer.world_size,
        rank=trainer.global_rank,
        accumulate=trainer.accumulate_grad_batches,
        done=lambda: progress.total.processed,  # type: ignore[attr-defined]
    )


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch of samples; `gender` stays a list, since it may be unknown (None)."""
    batch = default_collate([{k: v for k, v in sample.items() if k != "gender"} for sample in samples])
    return {**batch, "gender": [sample["gender"] for sample in samples]}


class ResumableLoader(DataLoader):
    """A loader over a `DrawSampler`: tells Lightning that a run can be resumed inside an epoch."""

    def state_dict(self) -> dict[str, Any]:
        """What the order depends on; how many batches are done the trainer knows."""
        return self.sampler.order_facts() if isinstance(self.sampler, DrawSampler) else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Say so when the run that is resumed drew in another order: it goes on, but not as it would have."""
        now = self.state_dict()
        changed = [
            f"{name} {state_dict[name]} -> {value}"
            for name, value in now.items()
            if state_dict.get(name, value) != value
        ]
        if changed:
            logger.warning(
                "the checkpoint's run had another order of photographs (%s): this one goes on from its "
                "weights, at another place of the data than an unbroken run would be",
                ", ".join(changed),
            )


class FixedDraws(Sampler):
    """Every sample once, in a mixed order and with draws that are the same each time: for validation.

    Names put the photographs of one person, one age or one source side by side, so that a limited number of
    batches in their order would be of a few people. The order is the same for every run of as many samples.
    Lightning shares it out among ranks.

    Args:
        size: Samples of the data set.
        seed: Of the run; draws follow it, the order does not.
    """

    def __init__(self, size: int, *, seed: int = 0) -> None:
        super().__init__()
        self.size = size
        self.seed = seed

    def __iter__(self) -> Iterator[Draw]:
        order = np.random.default_rng(self.size).permutation(self.size).tolist()
        return (Draw(place, seed_of(self.seed, -1, place)) for place in order)

    def __len__(self) -> int:
        return self.size


def training_loader(
    trainer: Trainer | None,
    dataset: Dataset,
    batch_size: int,
    *,
    seed: int,
    weights: Sequence[float] | None = None,
    **loading: Any,
) -> ResumableLoader:
    """Shuffled or weighted batches of a data set that takes `Draw`s; the last incomplete one is dropped.

    Args:
        trainer: See `training_sampler`, as the others.
        dataset: Of samples that hold `gender`.
        batch_size: Of each rank.
        seed: Of the run.
        weights: See `DrawSampler`.
        loading: For the `DataLoader`.
    """
    size = len(dataset)  # type: ignore[arg-type]
    sampler = training_sampler(trainer, size, batch_size, seed=seed, weights=weights)
    return ResumableLoader(
        dataset, batch_size, sampler=sampler, drop_last=True, collate_fn=collate, **loading
    )


def ordered_loader(dataset: Dataset, batch_size: int, *, seed: int, **loading: Any) -> DataLoader:
    """Every sample once, in one mixed order, with the same draws each time; see `training_loader`."""
    sampler = FixedDraws(len(dataset), seed=seed)  # type: ignore[arg-type]
    return DataLoader(dataset, batch_size, sampler=sampler, collate_fn=collate, **loading)
