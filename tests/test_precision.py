"""bfloat16 where the machine has it, float32 where a CPU would emulate it."""

import logging

import pytest
import torch

from faceforward import cli, precision
from faceforward.datamodules import moments


def test_only_cpus_are_asked():
    assert precision.has_bfloat16("cuda:0")
    assert isinstance(precision.has_bfloat16(), bool)


@pytest.mark.parametrize(("here", "taken"), [(False, "32-true"), (True, "bf16-mixed")])
@pytest.mark.parametrize("asked", ["bf16-mixed", "16-mixed"])
def test_training_on_a_cpu_takes_what_it_computes(monkeypatch, caplog, here, taken, asked, tmp_path):
    monkeypatch.setattr(cli, "has_bfloat16", lambda: here)
    built = {}
    monkeypatch.setattr(
        cli.FaceforwardCLI, "instantiate_classes", lambda self: built.update(self.config.fit.trainer)
    )
    monkeypatch.setattr(cli.FaceforwardCLI, "_run_subcommand", lambda self, name: None)
    caplog.set_level(logging.WARNING)
    arguments = ["fit", "-c", "configs/experiment/specialize_faces128.yaml", "--trainer.accelerator", "cpu"]
    cli.FaceforwardCLI(args=cli.resolve_configs([*arguments, "--trainer.precision", asked]))
    assert built["precision"] == (taken if asked == "bf16-mixed" else asked)
    assert ("no bfloat16 instructions" in caplog.text) == (built["precision"] == "32-true")


@pytest.mark.parametrize("here", [False, True])
def test_latents_differ_by_no_more_than_bfloat16(monkeypatch, tiny_vae, here):
    vae = moments.load_vae(moments.vae_weights(tiny_vae))
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    monkeypatch.setattr(moments, "has_bfloat16", lambda device: here)
    expected = vae.encode(images).latent_dist.parameters
    found = moments.encode_batch(vae, images)[:, 0].float()
    assert (found - expected).abs().max() < (0.2 if here else 2e-3)
