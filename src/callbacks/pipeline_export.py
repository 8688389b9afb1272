"""Write what is being learnt as a diffusers directory: now and then, at its best and at the end."""

from __future__ import annotations

import json
import logging
import math
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from safetensors import SafetensorError

from faceforward.atomic import recover_folder, temporary_for
from faceforward.callbacks.ema import average_of
from faceforward.callbacks.folders import FACTS, write_export
from faceforward.callbacks.ranks import refuse_shards, together
from faceforward.errors import ConfigurationError, TrainingError

if TYPE_CHECKING:
    from faceforward.modules.base import TrainedModule

logger = logging.getLogger(__name__)


class PipelineExport(Callback):
    """Exports the module under the run's folder: `NAME` is the last, `NAME-best` the best so far.

    Where an `EMA` runs, both hold the average, and `live` adds `NAME-live` and `NAME-best-live` with the raw
    weights. A folder is replaced when its successor is complete. An export that cannot be written is said and
    tried again at the next occasion; training and its checkpoints go on, and the run ends with the error if
    an export is still missing then. `training.json` in the folder says which step it is of.

    Args:
        name: Folder under `trainer.default_root_dir`.
        every_n_steps: Between exports; None exports at the end only.
        live: Export the raw weights beside the average.
        monitor: Figure of validation that decides which export is the best; None keeps the last alone.
        mode: Whether the best is the lowest or the highest.

    Example:
        >>> PipelineExport("vae", every_n_steps=500).name
        'vae'
    """

    def __init__(
        self,
        name: str = "pipeline",
        *,
        every_n_steps: int | None = None,
        live: bool = False,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
    ) -> None:
        self.name = name
        self.every_n_steps = every_n_steps
        self.live = live
        self.monitor = monitor
        self.mode = mode
        self.best: float | None = None
        self.failures: dict[str, str] = {}
        self._last = 0
        self._resumed = False
        self._ended = False

    @property
    def state_key(self) -> str:
        """Several exports in one run keep their state apart."""
        return self._generate_state_key(name=self.name)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See that exports are possible, and put right what a killed run left.

        Raises:
            ConfigurationError: The weights are shared out among ranks, `live` without an `EMA`, or the run's
                folder cannot be written.
        """
        if stage != "fit":
            return
        refuse_shards(trainer, "PipelineExport")
        if self.live and average_of(trainer) is None:
            raise ConfigurationError(
                "PipelineExport has live: true, and there is no EMA whose average would be the other export: "
                "add faceforward.callbacks.ema.EMA to trainer.callbacks, or leave `live` out"
            )
        self._ended = False
        self.failures = {}
        with together(trainer, "preparing the folder of exports"):
            if trainer.is_global_zero:
                self._prepare(Path(trainer.default_root_dir))

    def _prepare(self, root: Path) -> None:
        try:
            for suffix in ("", "-best"):
                for final, _ in self._folders(root, suffix):
                    recover_folder(final)
            probe = temporary_for(root / self.name)
            shutil.rmtree(probe, ignore_errors=True)
            probe.mkdir(parents=True)
            probe.rmdir()
        except OSError as error:
            raise ConfigurationError(
                f"trainer.default_root_dir {root} cannot be written: {error}; give another folder"
            ) from error

    def _folders(self, root: Path, suffix: str) -> list[tuple[Path, bool]]:
        """Folders of one export, and whether each holds the raw weights."""
        names = [(f"{self.name}{suffix}", False)]
        if self.live:
            names.append((f"{self.name}{suffix}-live", True))
        return [(root / name, live) for name, live in names]

    def _export(
        self, trainer: Trainer, module: TrainedModule, suffix: str = "", score: float | None = None
    ) -> bool:
        """Write one export on the first rank; the others wait. Whether it is there now."""
        # a trial must not take the place of what a real run exported
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return False
        failure = None
        with together(trainer, f"the export {self.name}{suffix}"):
            if trainer.is_global_zero:
                for final, live in self._folders(Path(trainer.default_root_dir), suffix):
                    failure = failure or self._write(trainer, module, final, live=live, score=score)
        failure = trainer.strategy.broadcast(failure)
        if failure is None:
            self.failures.pop(suffix, None)
        else:
            self.failures[suffix] = failure
        return failure is None

    def _write(
        self, trainer: Trainer, module: TrainedModule, final: Path, *, live: bool, score: float | None
    ) -> str | None:
        """Write one folder; what went wrong, in words."""
        average = average_of(trainer)
        if average is not None:
            average.follow(trainer, module)
        weights = nullcontext() if average is None else (average.live if live else average.averaged)(module)
        facts = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch,
            "weights": "live" if live or average is None else "average",
            **({} if score is None else {"monitor": self.monitor, "score": score}),
        }
        try:
            with weights:
                write_export(module, final, facts)
        except (OSError, SafetensorError) as error:
            root = final.parent
            free = f" ({shutil.disk_usage(root).free / 1e6:.0f} MB free)" if root.exists() else ""
            kept = "The export that was there before is unharmed. " if final.exists() else ""
            failure = (
                f"step {trainer.global_step} could not be exported to {final}: {error}{free}. {kept}"
                f"Make room in {root}"
            )
            logger.error("%s: the training goes on and the next export tries again", failure)
            return failure
        logger.info("step %d exported to %s", trainer.global_step, final)
        return None

    def _better(self, score: float) -> bool:
        if self.best is None:
            return math.isfinite(score)
        return score < self.best if self.mode == "min" else score > self.best

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from where a resumed run stands; at the start of the fit it is not known yet."""
        self._last = trainer.global_step
        if self._resumed and self.monitor and trainer.is_global_zero:
            facts = _read_facts(Path(trainer.default_root_dir) / f"{self.name}-best" / FACTS)
            if facts.get("monitor") == self.monitor and self._better(float(facts["score"])):
                self.best = float(facts["score"])  # exported after the checkpoint was saved

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Export when enough steps went by."""
        if self.every_n_steps and trainer.global_step - self._last >= self.every_n_steps:
            self._last = trainer.global_step
            self._export(trainer, pl_module)  # type: ignore[arg-type]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export what is better than all before.

        Raises:
            ConfigurationError: Validation gave no such figure.
        """
        if self.monitor is None or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        if self.monitor not in trainer.callback_metrics:
            raise ConfigurationError(
                f"PipelineExport monitors {self.monitor}, which validation did not give; it gave "
                f"{', '.join(sorted(trainer.callback_metrics)) or 'nothing'}"
            )
        value = float(trainer.callback_metrics[self.monitor])
        better = trainer.strategy.broadcast(self._better(value))
        if better and self._export(trainer, pl_module, "-best", value):  # type: ignore[arg-type]
            self.best = value

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export what the run ends with."""
        self._ended = True
        self._export(trainer, pl_module)  # type: ignore[arg-type]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is missing, now that the last checkpoint is saved; a finished run is exported once more.

        Raises:
            TrainingError: An export is still missing.
        """
        if not self._ended:  # resumed with no step to do
            self._export(trainer, pl_module)  # type: ignore[arg-type]
        if self.failures:
            raise TrainingError(
                f"{'; '.join(self.failures.values())}. The training is done{_remedy(trainer)}"
            )

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing with it."""
        self._resumed = True
        self.best = state_dict["best"]


def _remedy(trainer: Trainer) -> str:
    """What is left of a training whose export is missing, and what to do with it."""
    kept = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    paths = [path for c in kept for path in (c.last_model_path, c.best_model_path)]
    path = next((path for path in [*paths, trainer.ckpt_path] if path and Path(path).exists()), None)
    if path is None:
        return (
            " and left no checkpoint, so that its weights are lost: run it again with a ModelCheckpoint in "
            "trainer.callbacks and without trainer.enable_checkpointing: false"
        )
    return (
        f" and its checkpoints are there: run the same command with --ckpt_path {path}, which exports the "
        "last weights again"
    )


def _read_facts(path: Path) -> dict[str, Any]:
    """What an export says about itself; nothing where it cannot be read."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
