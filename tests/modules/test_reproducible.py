"""A run that is interrupted, shared among ranks or accumulated gives the weights of one that is not."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from faceforward.cli import FaceforwardCLI
from faceforward.modules.specialization import Specialization
from tiny_training import QUIET, collections, latents
from training_data import write_archive

ROOT = Path(__file__).parents[2]
KEEP = (
    "--trainer.callbacks+={class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: "
    "{every_n_train_steps: 1, save_top_k: -1, monitor: step, mode: max, filename: '{step}'}}"
)
pytestmark = QUIET


@pytest.fixture(scope="module")
def archive(tmp_path_factory, astronaut):
    return write_archive(tmp_path_factory.mktemp("archive") / "faces.zip", astronaut, train=14)


@pytest.fixture(scope="module")
def arguments(archive, tiny_sd, tiny_vae, tmp_path_factory):
    """The shipped experiment at tiny size and in full precision; the rate is high enough to matter."""
    return [
        "fit", "-c", str(ROOT / "configs" / "experiment" / "specialize_faces128.yaml"),
        collections(archive),
        "--data.init_args.batch_size=4",
        f"--data.init_args.vae={tiny_vae}", f"--data.init_args.cache_dir={tmp_path_factory.mktemp('cache')}",
        f"--model.init_args.init_from={tiny_sd}", "--model.init_args.optimizer.init_args.lr=1e-3",
        "--model.init_args.lr_scheduler.init_args.warmup_steps=2",
        "--model.init_args.lr_scheduler.init_args.total_steps=8",  # whenever the run is to stop
        "--trainer.accelerator=cpu",
        "--trainer.precision=32-true", "--trainer.limit_val_batches=0", "--trainer.max_steps=8",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    ]  # fmt: skip


def fit(arguments, root, *extra):
    cli = FaceforwardCLI(args=[*arguments, f"--trainer.default_root_dir={root}", *extra])
    return {k: v.detach().clone() for k, v in cli.model.named_parameters()}, cli


def average(root):
    return load_file(root / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    """An unbroken run of eight steps, three to an epoch, with a checkpoint of each."""
    root = tmp_path_factory.mktemp("whole")
    weights, _ = fit(arguments, root, KEEP)
    return root, weights


@pytest.mark.parametrize("step", range(1, 8))
def test_a_killed_run_goes_on_as_if_it_had_not_been(arguments, whole, tmp_path, step):
    root, weights = whole
    (checkpoint,) = root.rglob(f"step={step}.ckpt")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The dirpath has changed")
        resumed, cli = fit(arguments, tmp_path, KEEP, f"--ckpt_path={checkpoint}")
    assert cli.trainer.global_step == 8
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
    mine, theirs = average(tmp_path), average(root)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_run_that_was_to_stop_goes_on_too(arguments, whole, tmp_path, stop):
    fit(arguments, tmp_path, f"--trainer.max_steps={stop}")
    resumed, _ = fit(arguments, tmp_path, f"--ckpt_path={tmp_path}/checkpoints/last.ckpt")
    assert all(torch.equal(whole[1][name], resumed[name]) for name in resumed)


@pytest.mark.slow
def test_two_ranks_learn_what_one_learns(arguments, tmp_path):
    """By gradient descent: Adam divides by gradients that are rounding errors here."""
    descent = "{class_path: torch.optim.SGD, init_args: {lr: 0.05}}"
    arguments = [*arguments, f"--model.init_args.optimizer={descent}"]
    alone, _ = fit(arguments, tmp_path / "alone")
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    command += ["--data.init_args.batch_size=2", "--trainer.devices=2", "--trainer.strategy=ddp"]
    command += [f"--trainer.default_root_dir={tmp_path}/ranks"]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert run.returncode == 0, run.stderr[-3000:]
    state = torch.load(tmp_path / "ranks" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert set(state) == {name for name in alone if not name.startswith("vae.")}
    begun = UNet2DConditionModel.from_pretrained(arguments_value(arguments, "init_from"), subfolder="unet")
    assert (begun.conv_out.weight - alone["unet.conv_out.weight"]).abs().max() > 1e-3
    for name, value in state.items():
        torch.testing.assert_close(value, alone[name], rtol=0, atol=1e-6)


def arguments_value(arguments, key):
    (value,) = [a.partition("=")[2] for a in arguments if a.partition("=")[0].endswith(f".{key}")]
    return value


def module_and_batch(tiny_sd, tiny_vae, archive, tmp_path, **kwargs):
    data = latents(archive, tiny_vae, tmp_path / "cache")
    data.prepare_data()
    data.setup("fit")
    module = Specialization(init_from=str(tiny_sd), **kwargs)
    module.log_dict = lambda *args, **kwargs: None
    return module, next(iter(data.train_dataloader()))


def gradients(module):
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kwargs", [{}, {"gradient_checkpointing": True}, {"attention": "plain"}])
def test_accumulated_gradient_is_the_batchs(tiny_sd, tiny_vae, archive, tmp_path, kwargs):
    module, batch = module_and_batch(tiny_sd, tiny_vae, archive, tmp_path, **kwargs)
    module.training_step(batch, 0).backward()
    whole = gradients(module)
    module.zero_grad()
    for index in range(4):
        part = {name: value[index : index + 1] for name, value in batch.items()}
        (module.training_step(part, index) / 4).backward()
    single = gradients(module)
    assert whole.keys() == single.keys()
    for name, value in whole.items():
        torch.testing.assert_close(single[name], value, rtol=1e-4, atol=1e-6)


def test_both_terms_can_share_noise_and_timestep(tiny_sd, tiny_vae, archive, tmp_path):
    """With one prompt for both, everything shared makes the terms equal."""
    prompts = [("photo of {age}", "photo of {age}")]
    for shared in (True, False):
        module, batch = module_and_batch(
            tiny_sd, tiny_vae, archive, tmp_path, prompts=prompts, same_noise=shared, same_timesteps=shared
        )
        general, aged = module._double_loss(batch)
        assert bool(torch.isclose(general, aged, rtol=1e-5)) == shared
