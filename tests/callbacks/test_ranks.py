"""Two real ranks: what they share out they get back whole, and none waits for one that failed."""

import os
import subprocess
import sys

import pytest
import torch

from faceforward.callbacks.ranks import gather, share, together
from tiny_training import tiny_trainer

PROGRAM = """
import sys, torch, warnings
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader
from faceforward.callbacks.ranks import gather, prepare_together, share, together
from faceforward.errors import ConfigurationError

class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def training_step(self, batch, index):
        return self.layer(batch).sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

class Check(Callback):
    def on_train_start(self, trainer, module):
        for count in (1, 5):
            places = share(count, trainer)
            mine = torch.tensor([[10.0 * place] for place in places]).reshape(-1, 1)
            assert gather(trainer, mine, count)[:, 0].tolist() == [10.0 * i for i in range(count)]
        with together(trainer, "what works"):
            pass
        for fault in (KeyError("here"), ConfigurationError("give another")):
            try:
                with together(trainer, "the work"):
                    if trainer.global_rank == 1:
                        raise fault
            except Exception as error:
                say(trainer, error)

class Data(LightningDataModule):
    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong
    def prepare_data(self):
        if self.wrong == "prepare_data":
            raise ConfigurationError("no folder")
    def setup(self, stage):
        if self.wrong == "setup" and self.trainer.global_rank == 1:
            raise OSError("no file")
    def train_dataloader(self):
        return DataLoader(torch.zeros(4, 1))

def say(trainer, error):
    notes = getattr(error, "__notes__", "")
    sys.stderr.write(f"rank {trainer.global_rank}: {type(error).__name__} {error} {notes}\\n")

for wrong in ("prepare_data", "setup", None):
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", max_steps=1, logger=False,
                      enable_checkpointing=False, enable_progress_bar=False, callbacks=[Check()])
    data = Data(wrong)
    prepare_together(trainer, data)
    try:
        trainer.fit(Module(), datamodule=data)
    except Exception as error:
        say(trainer, error)
"""


@pytest.mark.slow
def test_two_ranks(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(program)], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr[-3000:]
    said = "['The first rank says why.']"
    for words in (
        "rank 0: ConfigurationError no folder",
        f"rank 1: ConfigurationError no folder {said}",
        "rank 0: TrainingError preparing the data failed on rank 1: OSError: no file",
        "rank 1: OSError no file",
        "rank 0: TrainingError the work failed on rank 1: KeyError: 'here'",
        "rank 1: KeyError 'here'",
        "rank 0: ConfigurationError give another",
        f"rank 1: ConfigurationError give another {said}",
    ):
        assert words in run.stderr


def test_one_rank_keeps_everything(tmp_path):
    trainer = tiny_trainer(tmp_path, [])
    assert list(share(3, trainer)) == [0, 1, 2]
    things = torch.arange(6).reshape(3, 2)
    assert torch.equal(gather(trainer, things, 3), things)
    with pytest.raises(ZeroDivisionError), together(trainer, "a division"):
        raise ZeroDivisionError
