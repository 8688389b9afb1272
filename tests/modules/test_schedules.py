"""Learning rates: their course is in test_training.py; here is what cannot be one, and one that watches."""

import pytest
import torch
from lightning.pytorch.cli import ReduceLROnPlateau
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader

from faceforward.errors import ConfigurationError
from faceforward.modules.base import TrainedModule
from faceforward.modules.schedules import WarmupCosine
from tiny_training import QUIET, tiny_trainer

pytestmark = QUIET


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"total_steps": -1}, r"total_steps of the schedule is -1.*--trainer\.max_steps"),
        ({"total_steps": 0}, "total_steps"),
        ({"warmup_steps": -1}, "warmup_steps of the schedule is -1: give 0 or more"),
        ({"decay_steps": 0}, "decay_steps of the schedule is 0: give 1 or more"),
        ({"final": 1.5}, "final of the schedule is 1.5: give a share"),
    ],
)
def test_numbers_that_cannot_be_are_refused(wrong, words):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ConfigurationError, match=words):
        WarmupCosine(optimizer, **{"total_steps": 10, **wrong})


class Plain(TrainedModule):
    """Its losses never fall; notes the rate of each step."""

    def __init__(self, monitor):
        def watching(optimizer):
            return ReduceLROnPlateau(optimizer, monitor, factor=0.5, patience=0, threshold=0)

        super().__init__(
            optimizer=lambda params: torch.optim.SGD(params, lr=1.0, maximize=True), lr_scheduler=watching
        )
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.rates = []

    def training_step(self, batch, batch_idx):
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        loss = (self.weight * batch).sum()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", (self.weight * batch).sum())

    def export(self, folder):
        """Nothing is asked for here."""


def rates(root, monitor, **kwargs):
    """The rate of each of four steps; an epoch has two."""
    module, data = Plain(monitor), DataLoader(torch.ones(2, 1))
    tiny_trainer(root, [], steps=4, **kwargs).fit(module, data, data)
    return module.rates


@pytest.mark.parametrize("monitor", ["train/loss", "val/loss"])
def test_a_schedule_may_watch_a_figure(tmp_path, monitor):
    """At each validation, counted in batches or epochs; the first look is the best so far."""
    assert rates(tmp_path, monitor) == [1, 1, 0.5, 0.25]
    assert rates(tmp_path, monitor, val_check_interval=2) == [1, 1, 1, 1]
    assert rates(tmp_path, monitor, val_check_interval=2, limit_train_batches=1) == [1, 1, 1, 1]
    epochs = {"check_val_every_n_epoch": 1, "val_check_interval": 1.0}
    assert rates(tmp_path, monitor, limit_train_batches=1, **epochs) == [1, 1, 0.5, 0.25]


def test_steps_of_the_optimizer_are_not_cut_in_two(tmp_path):
    found = rates(tmp_path, "train/loss", accumulate_grad_batches=2)
    assert found[::2] == found[1::2] == [1, 1, 0.5, 0.25]


def test_a_figure_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MisconfigurationException, match="no/figure"):
        rates(tmp_path, "no/figure")
