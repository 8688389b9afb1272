"""Training in whole bfloat16, as `--trainer.precision bf16-true` has it."""

import math

import pytest
import torch

from tiny_training import QUIET, latents, specialization, tiny_trainer
from training_data import write_archive

pytestmark = QUIET


@pytest.mark.parametrize("train", ["unet", "unet+text_encoder"])
def test_weights_of_half_the_size_learn(tmp_path, tiny_sd, tiny_vae, astronaut, train):
    module = specialization(tiny_sd, lr=1.0, train=train)
    before = module.unet.conv_in.weight.detach().clone()
    trainer = tiny_trainer(tmp_path, [], steps=2, precision="bf16-true")
    data = latents(write_archive(tmp_path / "faces.zip", astronaut), tiny_vae, tmp_path / "cache")
    trainer.fit(module, data)
    after = module.unet.conv_in.weight
    assert after.dtype == torch.bfloat16
    assert not torch.equal(after.float(), before.bfloat16().float())
    assert math.isfinite(trainer.callback_metrics["val/loss_aged"])
