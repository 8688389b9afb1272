"""How many processes a launcher started, so that they share the work and none repeats another's."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)

OPEN = (1, -1, "1", "-1", "auto", None)  # values of a YAML that leave the number to who starts the run
MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE", "MV2_COMM_WORLD_SIZE")


@dataclass(frozen=True)
class Launch:
    """What a launcher started.

    Attributes:
        launcher: Its name.
        devices: Processes on each machine, one for each device.
        nodes: Machines.
    """

    launcher: str
    devices: int
    nodes: int


def launched(environment: Mapping[str, str] | None = None) -> Launch | None:
    """Read from the environment which launcher started this process and how many beside it.

    Args:
        environment: Of the process; None takes its own.

    Returns:
        None where no launcher did, and where one started a single process.

    Raises:
        ConfigurationError: Its variables contradict each other, or the launcher is one that is not read.
    """
    env = os.environ if environment is None else environment
    if "TORCHELASTIC_RUN_ID" in env:
        world, local = _number(env, "WORLD_SIZE"), _number(env, "LOCAL_WORLD_SIZE")
        if world % local:
            raise ConfigurationError(
                f"torchrun started {world} processes, {local} of them on this machine: each machine needs as "
                "many; give every one the same --nproc-per-node"
            )
        return Launch("torchrun", local, world // local) if world > 1 else None
    if "SLURM_NTASKS" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        tasks, nodes = _number(env, "SLURM_NTASKS"), _number(env, "SLURM_NNODES", "1")
        per_node = _number(env, "SLURM_NTASKS_PER_NODE") if tasks > 1 else 1
        if per_node * nodes != tasks and tasks > 1:
            raise ConfigurationError(
                f"srun started {tasks} tasks on {nodes} nodes: each node needs as many; give "
                "--ntasks-per-node, one task for each GPU"
            )
        return Launch("srun", per_node, nodes) if tasks > 1 else None
    for name in MPI:
        if int(env.get(name) or 1) > 1 and "LOCAL_RANK" not in env and not find_spec("mpi4py"):
            raise ConfigurationError(
                f"{name} says that mpirun started {env[name]} processes, and without the package mpi4py each "
                "would do all of the work: start it with torchrun --nproc-per-node N, or pip install mpi4py"
            )
    return None


def _number(env: Mapping[str, str], name: str, usual: str | None = None) -> int:
    value = env.get(name) or usual
    if value is None and name == "SLURM_NTASKS_PER_NODE":
        raise ConfigurationError(
            "srun started several tasks without saying how many on each node: give --ntasks-per-node, one "
            "task for each GPU, in place of --ntasks"
        )
    if value is None or not value.isdigit() or int(value) < 1:
        raise ConfigurationError(
            f"the launcher's variable {name} is {value!r}, which is not a number of processes: start the run "
            "with torchrun or srun, which set it"
        )
    return int(value)


def agree_with_launcher(trainer: Any, arguments: Sequence[str], launch: Launch | None) -> None:
    """Put a launcher's devices and nodes into the trainer's section where they were left open.

    Args:
        trainer: `devices` and `num_nodes` of a trainer, as they were parsed; changed here.
        arguments: The command line: what is typed there is meant, also a 1.
        launch: See `launched`.

    Raises:
        ConfigurationError: The configuration asks for other numbers.
    """
    if launch is None:
        return
    for key, count in (("devices", launch.devices), ("num_nodes", launch.nodes)):
        given = getattr(trainer, key)
        typed = any(a.partition("=")[0] == f"--trainer.{key}" for a in arguments)
        asked = len(given) if isinstance(given, list) else given
        same = str(asked) == str(count) or (typed and asked in ("auto", "-1", -1))
        if not same and (typed or asked not in OPEN):
            raise ConfigurationError(
                f"trainer.{key} is {given} and {launch.launcher} started {launch.devices} process(es) on "
                f"each of {launch.nodes} machine(s): leave --trainer.{key} out, or give {count}"
            )
        if not isinstance(given, list):
            setattr(trainer, key, count)
    logger.info("%s: %d process(es) on each of %d machine(s)", launch.launcher, launch.devices, launch.nodes)
