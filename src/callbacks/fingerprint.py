"""Which model a checkpoint goes with: what it leaves out has to be the same when it is loaded."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from lightning import Callback, LightningModule, Trainer

from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from faceforward.modules.base import TrainedModule

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
WHAT = {
    "frozen": "the weights that do not learn",
    "learns": "what learns",
    "lora": "rank and alpha of the LoRA",
    "prediction_type": "what the model predicts",
}


class Fingerprint(Callback):
    """Saves with each checkpoint what tells its model from another, and refuses to load one of another.

    Weights that do not learn are in no checkpoint, and neither is the strength of a LoRA: without this, what
    was learnt beside one model could be put beside another of the same shapes without a word. Every
    `TrainedModule` brings this callback; checkpoints from before there was one are loaded.

    Example:
        >>> Fingerprint().facts
        {}
    """

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take it once, while the weights are whole and as they were read."""
        self.facts = self.facts or facts_of(pl_module)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return self.facts

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare.

        Raises:
            ConfigurationError: The checkpoint is of another model.
        """
        refuse_other(state_dict, self.facts)


def facts_of(module: TrainedModule) -> dict[str, Any]:
    """What tells a model from another, beside the weights that its checkpoints hold; values are plain.

    Args:
        module: Its weights are whole, and in the precision in which they were read.
    """
    saved = module.learnt()
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        if name not in saved:
            # A sum of the bits, read once and exact in any order: some tenths of a second for 4 GB.
            total = value.view(BITS[value.element_size()]).sum(dtype=torch.int64).item()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)} {total}\n".encode())
    adapters = {
        f"{part}.{name}": f"{config.r} {config.lora_alpha}"
        for part, child in module.named_children()
        for name, config in getattr(child, "peft_config", {}).items()
    }
    own = {name: getattr(module, name) for name in ("learns", "prediction_type") if hasattr(module, name)}
    return {"frozen": digest.hexdigest(), "lora": adapters, **own}


def refuse_other(saved: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Compare two fingerprints, as far as both have the same facts.

    Raises:
        ConfigurationError: They are of different models.
    """
    differing = [
        what for name, what in WHAT.items() if name in saved.keys() & mine and saved[name] != mine[name]
    ]
    if differing:
        raise ConfigurationError(
            f"the checkpoint is of another model: {', '.join(differing)} were others when it was saved. Take "
            "init_from, `train`, lora_rank and lora_alpha of the run that wrote it, or start a new run "
            "without --ckpt_path"
        )
