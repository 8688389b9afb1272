"""What a training shows of itself, the same whatever packages for terminals are installed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import ModelSummary, ProgressBar, TQDMProgressBar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lightning import Callback

logger = logging.getLogger(__name__)

#: Of Lightning's messages: advertisements, and word of the summary that `own_output` has given.
NOT_SAID = ("Tip: For seamless", "Trainer already configured with model summary")


class LearningSummary(ModelSummary):
    """Says which networks learn and how large they are.

    Lightning's own also shows floating-point operations, which nothing counts here, as 0.

    Example:
        >>> LearningSummary().__class__.__name__
        'LearningSummary'
    """

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        model_size: float,
        total_training_modes: dict[str, int],
        total_flops: int,
        **summarize_kwargs: Any,
    ) -> None:
        """Log a line; the arguments are Lightning's."""
        columns = dict(summary_data)
        networks = [
            f"{name} ({kind}, {parameters.strip()})"
            for name, kind, parameters in zip(
                columns["Name"], columns["Type"], columns["Params"], strict=True
            )
        ]
        logger.info(
            "%s of %s parameters learn, %.0f MB: %s",
            f"{trainable_parameters:,}",
            f"{total_parameters:,}",
            model_size,
            ", ".join(networks),
        )


def own_output(trainer: Mapping[str, Any], callbacks: Iterable[Callback]) -> list[Callback]:
    """The progress bar and the summary to add to a trainer's callbacks, where it has none of its own.

    Lightning takes those of `rich` where that is installed, which count epochs of -1 ("Epoch 0/-2") where a
    training is as long as `max_steps` says.

    Args:
        trainer: The trainer's settings.
        callbacks: What the configuration names.
    """
    named = list(callbacks)
    if trainer.get("barebones"):
        return []
    added: list[Callback] = []
    if trainer.get("enable_progress_bar") is not False and not _any(named, ProgressBar):
        added.append(TQDMProgressBar())
    if trainer.get("enable_model_summary") is not False and not _any(named, ModelSummary):
        added.append(LearningSummary())
    return added


def _any(callbacks: Iterable[Callback], kind: type) -> bool:
    return any(isinstance(each, kind) for each in callbacks)


class NoAdvertisements(logging.Filter):
    """Leaves out what Lightning says of its maker's services.

    Example:
        >>> record = logging.makeLogRecord({"msg": "Tip: For seamless cloud logging, try installing ..."})
        >>> NoAdvertisements().filter(record)
        False
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a message is shown."""
        return not any(words in str(record.msg) for words in NOT_SAID)
