from types import SimpleNamespace

import pytest

from faceforward.errors import ConfigurationError
from faceforward.launch import Launch, agree_with_launcher, launched

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "32", "LOCAL_WORLD_SIZE": "8", "LOCAL_RANK": "0"}
SRUN = {"SLURM_NTASKS": "32", "SLURM_NNODES": "4", "SLURM_NTASKS_PER_NODE": "8", "SLURM_JOB_NAME": "age"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WORLD_SIZE": "8", "LOCAL_RANK": "1"}, None),  # a child of Lightning's own
        (TORCHRUN, Launch("torchrun", 8, 4)),
        ({**TORCHRUN, "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, None),
        (SRUN, Launch("srun", 8, 4)),
        ({**SRUN, "SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, None),
        ({**SRUN, "SLURM_JOB_NAME": "interactive"}, None),
        ({**SRUN, **TORCHRUN}, Launch("torchrun", 8, 4)),  # torchrun inside of an sbatch script
    ],
)
def test_launchers(environment, expected):
    assert launched(environment) == expected


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({**TORCHRUN, "WORLD_SIZE": "9"}, "same --nproc-per-node"),
        ({"TORCHELASTIC_RUN_ID": "x"}, "WORLD_SIZE"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE"),
        ({**SRUN, "SLURM_NTASKS": "33"}, "ntasks-per-node"),
        ({"SLURM_NTASKS": "8", "SLURM_NNODES": "1"}, "in place of --ntasks"),
    ],
)
def test_contradictory_launchers_are_refused(environment, words):
    with pytest.raises(ConfigurationError, match=words):
        launched(environment)


def test_mpirun_without_mpi4py_is_refused(monkeypatch):
    monkeypatch.setattr("faceforward.launch.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="each would do all of the work"):
        launched({"OMPI_COMM_WORLD_SIZE": "4"})


@pytest.mark.parametrize(
    ("devices", "nodes", "typed", "words"),
    [
        (1, 1, [], None),
        ("auto", 1, [], None),
        (8, 4, [], None),
        ([0, 1, 2, 3, 4, 5, 6, 7], 4, ["--trainer.num_nodes=4"], None),
        (4, 1, [], "devices is 4"),
        (1, 1, ["--trainer.devices", "1"], "devices is 1"),
        ("auto", 1, ["--trainer.devices", "auto"], None),
        (8, 2, [], "num_nodes is 2"),
    ],
)
def test_the_trainer_follows_or_the_contradiction_is_refused(devices, nodes, typed, words):
    trainer = SimpleNamespace(devices=devices, num_nodes=nodes)
    if words:
        with pytest.raises(ConfigurationError, match=words):
            agree_with_launcher(trainer, typed, Launch("torchrun", 8, 4))
        return
    agree_with_launcher(trainer, typed, Launch("torchrun", 8, 4))
    assert trainer.num_nodes == 4
    assert trainer.devices == (devices if isinstance(devices, list) else 8)
    agree_with_launcher(trainer, [], None)
