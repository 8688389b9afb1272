"""The trainers' YAMLs: each joins an experiment, and what it builds is what it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy

from faceforward.cli import Parser
from faceforward.train import main

ROOT = Path(__file__).parents[1]
TRAINERS = sorted((ROOT / "configs" / "trainer").glob("*.yaml"))
EXPERIMENT = str(ROOT / "configs" / "experiment" / "specialize_faces128.yaml")


@pytest.mark.parametrize("path", TRAINERS, ids=lambda p: p.stem)
def test_trainer_joins_an_experiment(path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "-c", EXPERIMENT, "-c", str(path), "--print_config"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "class_path: faceforward.modules.specialization.Specialization" in printed
    assert "ModelCheckpoint" in printed  # lists of the experiment are kept, or replaced by their like


@pytest.mark.slow
def test_fsdp_wraps_the_blocks_of_the_unet(tiny_sd):
    """FSDP itself, with the policy of the YAML, on one CPU rank; the strategy around it wants GPUs."""
    script = f"""
import torch, yaml
from jsonargparse import ArgumentParser
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
from lightning.pytorch.strategies import FSDPStrategy
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.modules.specialization import Specialization
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
parser = ArgumentParser()
parser.add_argument("--strategy", type=FSDPStrategy)
given = yaml.safe_load(open({str(ROOT / "configs/trainer/fsdp.yaml")!r}))["trainer"]["strategy"]
strategy = parser.instantiate_classes(parser.parse_object({{"strategy": given}})).strategy
unet = load_pipeline({str(tiny_sd)!r}).unet.requires_grad_(True)
wrapped = FSDP(unet, device_id=torch.device("cpu"), **strategy.kwargs)
names = {{type(m.module).__name__ for m in wrapped.modules() if isinstance(m, FSDP)}}
assert names == {{"UNet2DConditionModel", "BasicTransformerBlock", "ResnetBlock2D"}}, names
module = Specialization(init_from={str(tiny_sd)!r})
names = {{f"unet.{{name}}" for name, _ in module.unet.named_parameters()}}
module.unet = wrapped
checkpoint = {{"state_dict": dict.fromkeys([*names, "vae.x"])}}
module.on_save_checkpoint(checkpoint)
assert set(checkpoint["state_dict"]) == names, names - set(checkpoint["state_dict"])
out = wrapped(torch.randn(2, 4, 8, 8), torch.tensor([1, 2]), torch.randn(2, 24, 64)).sample
out.square().mean().backward()
assert all(p.grad is not None for p in wrapped.parameters() if p.numel())
print("wrapped")
"""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, env=os.environ
    )
    assert run.stdout.strip().endswith("wrapped"), run.stderr[-2000:]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["-c", "fsdp.yaml", "--trainer.accelerator=cpu"], "FSDP shares a model among GPUs, and trainer.acc"),
        (["-c", "fsdp.yaml", "--trainer.accelerator=auto"], "FSDP shares a model among GPUs"),
        (["-c", "deepspeed.yaml", "--trainer.accelerator=cpu"], "DeepSpeed shares a model among GPUs"),
        (["--trainer.strategy=fsdp", "--trainer.accelerator=cpu"], "--trainer.strategy ddp"),
        (["--trainer.strategy=deepspeed_stage_2", "--trainer.accelerator=cpu"], "DeepSpeed shares a model"),
    ],
)
def test_gpus_that_share_weights_are_not_cpus(given, words, capsys):
    if torch.accelerator.is_available() and "--trainer.accelerator=auto" in given:
        pytest.skip("this machine has a GPU")
    folder = ROOT / "configs" / "trainer"
    given = [str(folder / word) if word.endswith(".yaml") else word for word in given]
    assert main(["fit", "-c", EXPERIMENT, *given]) == 2
    assert words in capsys.readouterr().err


def test_deepspeed_that_is_not_here(capsys):
    with pytest.raises(SystemExit) as stopped:
        Parser().error("To use the `DeepSpeedStrategy`, you must have DeepSpeed installed. Given value: ...")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith("configs/trainer/ddp.yaml needs no such package")


def test_each_strategy_is_what_its_file_says():
    from jsonargparse import ArgumentParser
    from lightning import Trainer
    from yaml import safe_load

    parser = ArgumentParser()
    parser.add_class_arguments(Trainer, "trainer", instantiate=False)
    found = {}
    for path in TRAINERS:
        given = safe_load(path.read_text())["trainer"]
        given.pop("callbacks", None)
        found[path.stem] = parser.parse_object({"trainer": given}).trainer
    assert found["cpu"].accelerator == "cpu"
    assert found["gpu"].devices == 1
    assert found["ddp"].strategy.class_path.endswith(DDPStrategy.__name__)
    assert found["fsdp"].strategy.class_path.endswith(FSDPStrategy.__name__)
    assert found["slurm"].plugins[0].class_path.endswith(SLURMEnvironment.__name__)
    assert (found["slurm"].devices, found["slurm"].num_nodes) == (8, 4)
    assert all(trainer.precision == "bf16-mixed" for trainer in found.values())
