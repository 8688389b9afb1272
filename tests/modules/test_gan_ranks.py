"""Both GANs on two real ranks: train.py as typed, and the same weights on each."""

import json

import pytest
import torch
from safetensors.torch import load_file

from faceforward.modules.triplane_autoencoder import TriPlaneAutoencoder
from tiny_crops import TINY, options_of, write_crops
from tiny_training import QUIET, ROOT, train_py

pytestmark = [*QUIET, pytest.mark.slow]


@pytest.mark.parametrize("name", ["eg3d", "triplane_adversarial"])
def test_two_ranks_learn_together(tmp_path, astronaut, name):
    crops = write_crops(tmp_path / "crops", astronaut)
    (tmp_path / "start").mkdir()
    TriPlaneAutoencoder(TINY).export(tmp_path / "start")
    start = tmp_path / "start" / ("generator.safetensors" if name == "eg3d" else "")
    train_py(
        "fit", "-c", str(ROOT / "configs" / "experiment" / f"{name}.yaml"), *options_of(TINY),
        f"--data.init_args.root={crops}", f"--data.init_args.val_root={crops}", "--data.init_args.size=32",
        "--data.init_args.batch_size=2", "--data.init_args.num_workers=0",
        f"--model.init_args.init_from={start}", "--model.init_args.discriminator_base=64",
        "--trainer.devices=2", "--trainer.accelerator=cpu", "--trainer.precision=32-true",
        "--trainer.max_steps=4", "--trainer.limit_val_batches=1", "--trainer.val_check_interval=1",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
        f"--trainer.default_root_dir={tmp_path}/run", cwd=tmp_path,
    )  # fmt: skip
    folder = tmp_path / "run" / ("generator" if name == "eg3d" else "pair")
    assert json.loads((folder / "training.json").read_text())["step"] == 4
    before, after = (
        load_file(tmp_path / "start" / "generator.safetensors"),
        load_file(folder / "generator.safetensors"),
    )
    assert any(not torch.equal(before[key], after[key]) for key in before)
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert int(state["seen"]) == 8  # two batches of two on each rank
