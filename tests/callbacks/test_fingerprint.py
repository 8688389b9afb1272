"""Checkpoints and the models they go with, by what is not in them."""

import pytest
import torch
from diffusers import StableDiffusionPipeline

from faceforward.callbacks.fingerprint import Fingerprint, facts_of, refuse_other
from faceforward.errors import ConfigurationError
from tiny_training import QUIET, latents, specialization, tiny_trainer
from training_data import write_archive

pytestmark = QUIET


@pytest.fixture(scope="module")
def data(tmp_path_factory, astronaut, tiny_vae):
    folder = tmp_path_factory.mktemp("data")
    return latents(write_archive(folder / "faces.zip", astronaut), tiny_vae, folder / "cache")


@pytest.fixture(scope="module")
def other(tmp_path_factory, tiny_sd):
    """All of the UNet is another, the autoencoder is not."""
    folder = tmp_path_factory.mktemp("other") / "sd"
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
    for parameter in pipeline.unet.parameters():
        torch.nn.init.normal_(parameter.data, std=0.02)
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def lora(tmp_path_factory, data, tiny_sd):
    """The checkpoint of a run."""
    root = tmp_path_factory.mktemp("lora")
    trainer = tiny_trainer(root, [], steps=1, limit_val_batches=0)
    trainer.fit(specialization(tiny_sd, train="lora", lora_rank=2), data)
    trainer.save_checkpoint(root / "lora.ckpt")
    return root / "lora.ckpt"


def resume(root, data, checkpoint, sd, **kwargs):
    module = specialization(sd, train="lora", lora_rank=2, **kwargs)
    trainer = tiny_trainer(root, [], steps=2, limit_val_batches=0)
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    return trainer.global_step


def test_a_lora_beside_another_model_is_refused(tmp_path, data, tiny_sd, other, lora):
    with pytest.raises(
        ConfigurationError, match=r"another model: the weights that do not learn were .*init_from"
    ):
        resume(tmp_path, data, lora, other)
    with pytest.raises(ConfigurationError, match="another model: rank and alpha of the LoRA were"):
        resume(tmp_path, data, lora, tiny_sd, lora_alpha=4)
    assert resume(tmp_path, data, lora, tiny_sd, lora_alpha=2) == 2  # as the rank, which is the default
    module = specialization(other, train="lora", lora_rank=2)
    with pytest.raises(ConfigurationError, match="another model"):
        tiny_trainer(tmp_path, []).validate(module, data, ckpt_path=lora, weights_only=True, verbose=False)


def test_checkpoints_from_before_are_loaded(tmp_path, data, other, lora):
    saved = torch.load(lora, weights_only=True)
    del saved["callbacks"][Fingerprint().state_key]
    torch.save(saved, tmp_path / "old.ckpt")
    assert resume(tmp_path, data, tmp_path / "old.ckpt", other) == 2


def test_what_learns_may_differ_and_what_does_not_learn_may_not(tiny_sd):
    first, second = (specialization(tiny_sd) for _ in range(2))
    assert facts_of(first) == facts_of(second)
    with torch.no_grad():
        first.unet.conv_in.weight += 1
        assert facts_of(first) == facts_of(second)
        first.vae.decoder.conv_in.weight[0, 0, 0, 0] += 1e-3
    with pytest.raises(ConfigurationError, match="the weights that do not learn were"):
        refuse_other(facts_of(second), facts_of(first))
    second.prediction_type = "v_prediction"
    with pytest.raises(ConfigurationError, match="what the model predicts were"):
        refuse_other(facts_of(second), facts_of(specialization(tiny_sd)))


def test_precision_of_the_run_does_not_count(tmp_path, data, tiny_sd, lora):
    module = specialization(tiny_sd, train="lora", lora_rank=2)
    trainer = tiny_trainer(tmp_path, [], steps=1, limit_val_batches=0, precision="bf16-true")
    trainer.fit(module, data, ckpt_path=lora, weights_only=True)
    assert module.vae.dtype == torch.bfloat16
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    states = [torch.load(path, weights_only=True)["callbacks"] for path in (lora, tmp_path / "half.ckpt")]
    assert states[0]["Fingerprint"] == states[1]["Fingerprint"]
