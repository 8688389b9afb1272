"""The W&B logger with its reports about machine and code switched off."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from faceforward.errors import WeightsUnavailableError

#: Beside figures, config and what else is logged on purpose, W&B gets nothing: neither console, code, git
#: state and package list, nor the names of host and user and the command line.
SETTINGS: dict[str, Any] = {
    "host": "-",
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "save_code": False,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


class FrugalWandbLogger(WandbLogger):
    """Lightning's `WandbLogger`, that sends figures and the config, and nothing that nobody asked for.

    `WANDB_MODE=offline` writes to `save_dir` only; `wandb sync` sends such a run later.

    Args:
        project: Of W&B.
        save_dir: Folder that gets the folder `wandb`.
        name: Of the run; None lets W&B make one up.
        group: Of runs.
        tags: Of the run.
        entity: User or team; None is the user's default.
        id: Of a run that is to go on.
        notes: A longer description.
        offline: As `WANDB_MODE=offline`.
        system_stats: Let W&B watch CPU, disk, network and GPU too.

    Raises:
        WeightsUnavailableError: The package wandb is not installed.

    Example:
        >>> FrugalWandbLogger("ages", tags=["aihub"]).name
        'ages'
    """

    def __init__(
        self,
        project: str = "faceforward",
        *,
        save_dir: str = ".",
        name: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        entity: str | None = None,
        id: str | None = None,
        notes: str | None = None,
        offline: bool = False,
        system_stats: bool = False,
    ) -> None:
        if not find_spec("wandb"):
            raise WeightsUnavailableError(
                "the W&B logger needs the package wandb: pip install 'faceforward[wandb]', or take "
                "-c configs/logger/csv.yaml"
            )
        super().__init__(
            project=project,
            save_dir=save_dir,
            name=name,
            id=id,
            offline=offline,
            log_model=False,
            group=group,
            tags=list(tags),
            entity=entity,
            notes=notes,
            settings={**SETTINGS, "x_disable_stats": not system_stats},
        )
