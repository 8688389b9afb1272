import os
import signal

import pytest
import torch
from lightning import Callback
from lightning.pytorch.plugins.environments import SLURMEnvironment

from faceforward.callbacks.between_steps import SignalsBetweenSteps
from faceforward.errors import ConfigurationError
from tiny_training import QUIET, latents, specialization, tiny_trainer
from training_data import write_archive

pytestmark = QUIET

JOB = {
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "here",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory, astronaut, tiny_vae):
    folder = tmp_path_factory.mktemp("data")
    return latents(write_archive(folder / "faces.zip", astronaut), tiny_vae, folder / "cache")


class Signalled(Callback):
    """The scheduler's signal, right after the optimizer's step: the worst place."""

    def on_train_start(self, trainer, pl_module):
        def send(*_):
            if trainer.global_step == 2:  # counted up after the step
                os.kill(os.getpid(), signal.SIGUSR1)

        trainer.optimizers[0].register_step_post_hook(send)


@pytest.mark.filterwarnings("ignore")  # Lightning's advice on SLURM's variables
def test_a_run_that_slurm_ends_goes_on_exactly(tmp_path, monkeypatch, data, tiny_sd):
    def run(name, steps, *callbacks):
        module = specialization(tiny_sd)
        plugins = [SLURMEnvironment(auto_requeue=True)]
        folder = tmp_path / name
        trainer = tiny_trainer(folder, list(callbacks), steps=steps, plugins=plugins)
        trainer.fit(module, data)
        return module, trainer

    whole, _ = run("whole", 4)
    (tmp_path / "bin").mkdir()
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGUSR1)
    _, ended = run("job", 4, Signalled())
    assert ended.global_step == 3
    assert (tmp_path / "asked").read_text().split() == ["requeue", "17"]
    assert signal.getsignal(signal.SIGUSR1) == before
    assert [path.name for path in (tmp_path / "job").glob("*.ckpt")] == ["hpc_ckpt_1.ckpt"]
    again, _ = run("job", 4)
    assert again.trainer.global_step == 4
    for name, expected in whole.unet.state_dict().items():
        assert torch.equal(again.unet.state_dict()[name], expected), name


def test_without_a_scheduler_nothing_changes(tmp_path, data, tiny_sd):
    before = signal.getsignal(signal.SIGUSR1)
    trainer = tiny_trainer(tmp_path, [], steps=1)
    trainer.fit(specialization(tiny_sd), data)
    assert trainer.global_step == 1
    assert signal.getsignal(signal.SIGUSR1) == before


def test_refused():
    with pytest.raises(ConfigurationError, match="every_n_steps is 0"):
        SignalsBetweenSteps(0)
