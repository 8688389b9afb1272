"""GOAE's encoder on two real ranks: train.py as typed gives what one rank with twice the batch gives."""

import pytest
import torch
from safetensors.torch import load_file

from faceforward.eg3d.checkpoint import save_generator
from faceforward.goae.checkpoint import save_part
from tiny_goae import tiny_goae
from tiny_training import QUIET, ROOT, train_py

pytestmark = [*QUIET, pytest.mark.slow]


def test_two_ranks_learn_what_one_does(tmp_path):
    network = tiny_goae()
    save_generator(network.generator, tmp_path / "generator.safetensors")
    save_part(network.encoder, tmp_path)
    found = []
    for ranks in (1, 2):
        train_py(
            "fit", "-c", str(ROOT / "configs" / "experiment" / "goae_encoder_small.yaml"),
            f"--model.init_args.generator={tmp_path}/generator.safetensors",
            f"--data.init_args.generator={tmp_path}/generator.safetensors",
            f"--model.init_args.init_from={tmp_path}", "--model.init_args.stages=[0,1,2]",
            "--model.init_args.jitter=false", "--data.init_args.size=16",
            "--model.init_args.optimizer.class_path=torch.optim.SGD",
            "--model.init_args.optimizer.init_args={lr: 0.01}", "--model.init_args.lr_scheduler=null",
            f"--data.init_args.batch_size={4 // ranks}", f"--trainer.devices={ranks}",
            "--trainer.accelerator=cpu", "--trainer.max_steps=6", "--trainer.limit_val_batches=1",
            "--trainer.val_check_interval=1", "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false", f"--trainer.default_root_dir={tmp_path}/{ranks}",
            cwd=tmp_path,
        )  # fmt: skip
        found.append(load_file(tmp_path / str(ranks) / "goae" / "goae_encoder.safetensors"))
    start = load_file(tmp_path / "goae_encoder.safetensors")
    one, two = found
    assert any((one[name] - start[name]).abs().max() > 1e-4 for name in one)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-6)
