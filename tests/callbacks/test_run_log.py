"""What a run's log holds beside the losses."""

import time

import pytest
import torch
from lightning import Callback
from lightning.pytorch.loggers import CSVLogger

from faceforward.callbacks.run_log import RunLog, batch_size
from tiny_training import QUIET, latents, specialization, tiny_trainer
from training_data import write_archive

pytestmark = QUIET


@pytest.fixture(scope="module")
def data(tmp_path_factory, astronaut, tiny_vae):
    folder = tmp_path_factory.mktemp("data")
    return latents(write_archive(folder / "faces.zip", astronaut), tiny_vae, folder / "cache", batch_size=2)


class Gradients(Callback):
    """Norms of the gradients as they reach the optimizer."""

    def __init__(self):
        self.before, self.logged, self.rates = [], [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        total = sum(p.grad.double().square().sum() for p in pl_module.parameters() if p.grad is not None)
        self.before.append(float(total.sqrt()))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.logged.append(float(trainer.callback_metrics.get("train/grad_norm", torch.nan)))
        self.rates.append(float(trainer.callback_metrics.get("train/images_per_second", torch.nan)))


class SlowValidation(Callback):
    def on_validation_epoch_end(self, trainer, pl_module):
        time.sleep(1)


def test_norm_before_clipping_and_speed_without_validation(tmp_path, data, tiny_sd):
    gradients = Gradients()
    trainer = tiny_trainer(
        tmp_path, [RunLog(), gradients, SlowValidation()], steps=4, logger=CSVLogger(tmp_path),
        log_every_n_steps=2, gradient_clip_val=1e-3, max_epochs=-1,
    )  # fmt: skip
    begun = time.perf_counter()
    trainer.fit(specialization(tiny_sd), data)
    seconds = time.perf_counter() - begun
    assert gradients.logged[1] == pytest.approx(gradients.before[1], rel=1e-4)
    assert gradients.logged[3] == pytest.approx(gradients.before[3], rel=1e-4)
    assert min(gradients.before) > 1e-3  # clipping would show
    rates = [rate for rate in gradients.rates if rate == rate]
    assert min(rates) > 8 / (seconds - 3)  # four seconds of validation are not in it
    columns = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text().splitlines()[0]
    assert "train/grad_norm" in columns
    assert "gpu_memory" not in columns


def test_accumulated_batches_count_and_no_logger_is_needed(tmp_path, data, tiny_sd):
    log = RunLog()
    trainer = tiny_trainer(
        tmp_path, [log], steps=2, accumulate_grad_batches=2, log_every_n_steps=10, max_epochs=-1
    )
    trainer.fit(specialization(tiny_sd), data)
    assert log.images == 8


def test_size_of_a_batch():
    assert batch_size({"gender": ["female"], "moments": torch.zeros(3, 2)}) == 3
    assert batch_size(torch.zeros(5)) == 5
    assert batch_size({"names": ["a"]}) == 0
