"""Checkpoints as folders: of which weights, for whom, and what is refused."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoencoderKL, StableDiffusionPipeline
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file

from faceforward.__main__ import main
from faceforward.callbacks.ema import EMA
from faceforward.commands.export import export_checkpoint
from faceforward.errors import ConfigurationError
from faceforward.modules.checkpoints import read_checkpoint
from faceforward.modules.specialization import Specialization
from tiny_training import QUIET, ROOT, latents, specialization, tiny_arguments, tiny_trainer, train_py
from training_data import write_archive

pytestmark = [*QUIET, pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")]
UNET = "unet/diffusion_pytorch_model.safetensors"
LORA = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def data(tmp_path_factory, astronaut, tiny_vae):
    folder = tmp_path_factory.mktemp("data")
    return latents(write_archive(folder / "faces.zip", astronaut), tiny_vae, folder / "cache")


@pytest.fixture
def other_sd(tmp_path, tiny_sd):
    """Of the same shapes as `tiny_sd`, with another text encoder."""
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
    torch.nn.init.normal_(pipeline.text_encoder.get_input_embeddings().weight, std=0.01)
    pipeline.save_pretrained(tmp_path / "other")
    return tmp_path / "other"


def write_config(path, sd, **arguments):
    """As train.py writes it, as far as the model is concerned."""
    model = {"class_path": "faceforward.modules.specialization.Specialization"}
    given = {"init_from": str(sd), **arguments}
    path.write_text(yaml.safe_dump({"seed_everything": 1, "model": {**model, "init_args": given}}))
    return path


def trained(root, data, sd, callbacks=(), **arguments):
    """Config, checkpoint and module of a run of two steps."""
    module = specialization(sd, **arguments)
    keep = ModelCheckpoint(root / "checkpoints", save_last=True, every_n_train_steps=1, save_top_k=0)
    trainer = tiny_trainer(root, [*callbacks, keep], enable_checkpointing=True, limit_val_batches=0)
    trainer.fit(module, data)
    config = write_config(root / "config.yaml", sd, **arguments)
    return config, root / "checkpoints" / "last.ckpt", module


def export(config, checkpoint, output, *extra):
    return main(["export", "--config", str(config), "--checkpoint", str(checkpoint), "--output", str(output),
                 *extra])  # fmt: skip


@pytest.mark.slow
def test_export_is_the_pipeline_that_the_run_exported(tmp_path, data, tiny_sd, tiny_vae, capsys):
    """From train.py's own config.yaml, byte by byte."""
    data.prepare_data()
    extra = tmp_path / "extra.yaml"
    extra.write_text(
        "trainer: {callbacks: [{class_path: faceforward.callbacks.ema.EMA, init_args: {decay: 0.5}},"
        "{class_path: faceforward.callbacks.pipeline_export.PipelineExport, init_args: {live: true}},"
        "{class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {dirpath: "
        "'${trainer.default_root_dir}/checkpoints', every_n_train_steps: 1, save_last: true}}]}"
    )
    train_py(
        *tiny_arguments(data.root, tiny_sd, tiny_vae, data.cache_dir), "-c", str(extra),
        "--trainer.max_steps=2", f"--trainer.default_root_dir={tmp_path}/run", cwd=tmp_path,
    )  # fmt: skip
    (config,) = (tmp_path / "run").rglob("config.yaml")
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert export(config, checkpoint, tmp_path / "average") == 0
    assert export(config, checkpoint, tmp_path / "live", "--live") == 0
    assert f"{tmp_path / 'live'}: step 2, live weights" in capsys.readouterr().out
    for mine, theirs in (("average", "pipeline"), ("live", "pipeline-live")):
        pairs = tmp_path / mine, tmp_path / "run" / theirs
        files = [{p.relative_to(folder) for p in folder.rglob("*") if p.is_file()} for folder in pairs]
        assert files[0] == files[1]
        # the tokenizer's holds how it was called last, the other the epoch, which has ended since
        for name in files[0] - {Path("tokenizer/tokenizer.json"), Path("training.json")}:
            assert (pairs[0] / name).read_bytes() == (pairs[1] / name).read_bytes(), name
    average, live = (load_file(tmp_path / name / UNET) for name in ("average", "live"))
    assert not torch.equal(average["conv_in.weight"], live["conv_in.weight"])
    assert (tmp_path / "average" / "prompt_template.json").is_file()
    StableDiffusionPipeline.from_pretrained(tmp_path / "average")


def test_average_and_live_weights(tmp_path, data, tiny_sd):
    ema = EMA(0.5)
    config, checkpoint, module = trained(tmp_path, data, tiny_sd, [ema], train="unet+text_encoder")
    facts = export_checkpoint(checkpoint, config, tmp_path / "average")
    assert facts == json.loads((tmp_path / "average" / "training.json").read_text())
    assert facts == {"step": 2, "epoch": 0, "weights": "average"}
    export_checkpoint(checkpoint, config, tmp_path / "live", live=True)
    names = list(module.learnt())
    for folder, weights in (("average", ema.model.shadow_params), ("live", module.learnt().values())):
        pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / folder)
        for name, expected in zip(names, weights, strict=True):
            part, _, own = name.partition(".")
            assert torch.equal(getattr(pipeline, part).get_parameter(own), expected), name
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "config.yaml", "average", "live"}


@pytest.mark.parametrize("callbacks", ["", "null", "{class_path: x.Other}", "[x.Other]"])
def test_a_run_without_an_average_exports_its_weights(tmp_path, data, tiny_sd, callbacks, capsys):
    config, checkpoint, module = trained(tmp_path, data, tiny_sd)
    if callbacks:
        config.write_text(f"{config.read_text()}trainer: {{callbacks: {callbacks}}}")
    assert export(config, checkpoint, tmp_path / "out") == 0
    assert "step 2, live weights" in capsys.readouterr().out
    exported = load_file(tmp_path / "out" / UNET)
    assert all(torch.equal(exported[n.removeprefix("unet.")], p) for n, p in module.learnt().items())


def test_checkpoint_beside_other_frozen_weights_is_refused(tmp_path, data, tiny_sd, other_sd, capsys):
    _, checkpoint, _ = trained(tmp_path, data, tiny_sd, train="lora")
    for sd, extra, words in (
        (other_sd, {}, "the weights that do not learn"),
        (tiny_sd, {"lora_alpha": 3}, "alpha"),
    ):
        config = write_config(tmp_path / "config.yaml", sd, train="lora", **extra)
        assert export(config, checkpoint, tmp_path / "out") == 2
        assert words in capsys.readouterr().err
    assert export(write_config(config, tiny_sd, train="lora"), checkpoint, tmp_path / "out") == 0


def test_lora_is_what_load_lora_weights_reads(tmp_path, data, tiny_sd):
    config, checkpoint, module = trained(tmp_path, data, tiny_sd, [EMA(0.5)], train="lora", lora_rank=2)
    assert export(config, checkpoint, tmp_path / "live", "--live") == 0
    assert export(config, checkpoint, tmp_path / "average") == 0
    module.export(tmp_path / "expected")
    live, expected = (load_file(tmp_path / name / LORA) for name in ("live", "expected"))
    assert live.keys() == expected.keys()  # the file's header has no order of its own
    assert all(torch.equal(live[name], expected[name]) for name in live)
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
    pipeline.load_lora_weights(tmp_path / "average")
    assert pipeline.get_active_adapters()


def test_autoencoders_are_exported_too(tmp_path, tiny_vae):
    from faceforward.modules.autoencoder import Autoencoder

    torch.manual_seed(4)
    module = Autoencoder(str(tiny_vae), train_encoder=False)
    torch.nn.init.normal_(module.vae.decoder.conv_out.bias)
    torch.save({"state_dict": module.state_dict(), "global_step": 7, "epoch": 1}, tmp_path / "last.ckpt")
    model = {"class_path": "faceforward.modules.autoencoder.Autoencoder"}
    model["init_args"] = {"init_from": str(tiny_vae), "train_encoder": False}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": model}))
    assert export(tmp_path / "config.yaml", tmp_path / "last.ckpt", tmp_path / "vae", "--live") == 0
    loaded = AutoencoderKL.from_pretrained(tmp_path / "vae")
    assert torch.equal(loaded.decoder.conv_out.bias, module.vae.decoder.conv_out.bias)


def save_shards(folder, state, part="model"):
    """What Lightning's strategies that share weights out write, from one rank."""
    import torch.distributed.checkpoint as dcp

    optimizer = {"state": {"exp_avg": torch.zeros(3)}, "param_groups": [{"lr": 0.1}]}
    dcp.save({part: state, "optimizer_0": optimizer}, checkpoint_id=folder, no_dist=True)
    torch.save({"global_step": 5, "epoch": 2, "callbacks": {}}, folder / "meta.pt")
    return folder


RANK = """
import sys, pathlib, torch, yaml
import torch.distributed.checkpoint as dcp
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
from torch.distributed.fsdp import ShardedStateDictConfig, StateDictType
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from faceforward.modules.specialization import Specialization
rank, root, sd = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
torch.distributed.init_process_group("gloo", init_method=f"file://{root}/store", rank=rank, world_size=2)
torch.manual_seed(5)
module = Specialization(init_from=sd)
for parameter in module.learnt().values():
    torch.nn.init.normal_(parameter.data)
if not rank:
    torch.save(dict(module.learnt()), root / "whole.pt")
module.unet = FSDP(
    module.unet, device_id=torch.device("cpu"), use_orig_params=True,
    auto_wrap_policy=ModuleWrapPolicy({BasicTransformerBlock, ResnetBlock2D}),
)
config = ShardedStateDictConfig(offload_to_cpu=True)
with FSDP.state_dict_type(module, StateDictType.SHARDED_STATE_DICT, config):
    checkpoint = {"state_dict": module.state_dict()}
module.on_save_checkpoint(checkpoint)
dcp.save({"model": checkpoint["state_dict"]}, checkpoint_id=root / "sharded.ckpt")
if not rank:
    torch.save({"global_step": 9, "epoch": 0, "callbacks": {}}, root / "sharded.ckpt" / "meta.pt")
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_shards_of_two_ranks_become_one_pipeline(tmp_path, tiny_sd):
    """FSDP itself on two CPU ranks; Lightning's strategy around it wants GPUs."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", RANK, str(rank), str(tmp_path), str(tiny_sd)],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for rank in ranks:
        _, errors = rank.communicate()
        assert rank.returncode == 0, errors[-3000:]
    shards = tmp_path / "sharded.ckpt"
    assert len(list(shards.glob("*.distcp"))) == 2
    config = write_config(tmp_path / "config.yaml", tiny_sd)
    assert export(config, shards, tmp_path / "out", "--live") == 0
    whole = torch.load(tmp_path / "whole.pt", weights_only=True)
    unet = StableDiffusionPipeline.from_pretrained(tmp_path / "out").unet
    assert all(torch.equal(p, whole[f"unet.{name}"]) for name, p in unet.named_parameters())
    assert json.loads((tmp_path / "out" / "training.json").read_text())["step"] == 9


@pytest.mark.parametrize("part", ["model", "state_dict"])  # FSDP's name for the weights, and DTensor's
def test_sharded_folder_is_read_whole(tmp_path, part):
    state = {"a": torch.randn(3, 4), "deep.b": torch.randn(2).half(), "c": torch.tensor(3.0)}
    read = read_checkpoint(save_shards(tmp_path / "x.ckpt", state, part))
    assert read["state_dict"].keys() == state.keys()
    assert all(torch.equal(read["state_dict"][name], value) for name, value in state.items())
    assert (read["global_step"], read["callbacks"]) == (5, {})


class Evil:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("place", ["file", ".metadata", "meta.pt", "shard"])
def test_nothing_in_a_checkpoint_runs(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    path = save_shards(tmp_path / "x.ckpt", {"a": torch.randn(3)})
    if place == "file":
        path = tmp_path / "evil.ckpt"
        torch.save({"state_dict": {}, "x": Evil()}, path)
    elif place == ".metadata":
        (path / place).write_bytes(pickle.dumps(Evil()))
    elif place == "meta.pt":
        torch.save({"x": Evil()}, path / place)
    else:
        (shard,) = path.glob("*.distcp")
        shard.write_bytes(pickle.dumps(Evil()).ljust(shard.stat().st_size, b"\0"))
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*(not opened|no index of weights needs)"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_damaged_shards_are_named(tmp_path):
    def damaged(change):
        folder = save_shards(tmp_path / f"{change.__name__}.ckpt", {"a": torch.randn(3, 2)})
        with (folder / ".metadata").open("rb") as stream:
            index = pickle.load(stream)
        change(index, folder)
        (folder / ".metadata").write_bytes(pickle.dumps(index))
        with pytest.raises(ConfigurationError) as caught:
            read_checkpoint(folder)
        return str(caught.value)

    def outside(index, folder):
        for place in index.storage_data.values():
            place.relative_path = f"../{place.relative_path}"

    def misfit(index, folder):
        index.state_dict_metadata["model.a"].chunks[0].sizes = torch.Size([1, 2])

    def lacking(index, folder):
        index.state_dict_metadata["model.a"].size = torch.Size([5, 2])

    def lost(index, folder):
        index.storage_data.clear()

    def removed(index, folder):
        for shard in folder.glob("*.distcp"):
            shard.unlink()

    def packed(index, folder):
        for place in index.storage_data.values():
            place.transform_descriptors = ["zstd"]

    assert "outside the folder" in damaged(outside)
    assert "is (3, 2) and not (1, 2)" in damaged(misfit)
    assert "pieces of model.a are missing" in damaged(lacking)
    assert "is missing in it" in damaged(lost)
    assert "No such file" in damaged(removed)
    assert "is compressed" in damaged(packed)


def test_what_cannot_be_exported_is_said(tmp_path, data, tiny_sd, capsys):
    config, checkpoint, module = trained(tmp_path, data, tiny_sd)
    other = {"state_dict": {name.replace("conv_in", "x"): p for name, p in module.learnt().items()}}
    torch.save(other, tmp_path / "other.ckpt")
    torch.save([1], tmp_path / "list.ckpt")
    (tmp_path / "half.ckpt").write_bytes(checkpoint.read_bytes()[:9999])
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.yaml").write_text("trainer: {}")
    (tmp_path / "list.yaml").write_text("[")
    (tmp_path / "class.yaml").write_text("model: {class_path: torch.nn.Linear}")
    np.save(tmp_path / "there.npy", [1])
    for name in ("lora.yaml", "gone.yaml"):
        lora = name == "lora.yaml"
        write_config(
            tmp_path / name, tiny_sd if lora else tmp_path / "gone", train="lora" if lora else "unet"
        )
    cases = {
        ("config.yaml", "gone.ckpt"): "there is no checkpoint",
        ("config.yaml", "half.ckpt"): "cannot be read",
        ("config.yaml", "list.ckpt"): "it has no state_dict",
        ("config.yaml", "empty"): ".metadata is missing in it. Of a DeepSpeed folder",
        ("config.yaml", "other.ckpt"): "2 weights are missing in it, first unet.conv_in.bias, unet.conv_in.w",
        ("lora.yaml", "checkpoints/last.ckpt"): "of another model",
        ("gone.yaml", "checkpoints/last.ckpt"): "there is no folder",
        ("no.yaml", "checkpoints/last.ckpt"): "does not describe the model",
        ("list.yaml", "checkpoints/last.ckpt"): "does not describe the model",
        ("class.yaml", "checkpoints/last.ckpt"): "does not describe the model",
        ("none.yaml", "checkpoints/last.ckpt"): "does not describe the model",
    }
    for (settings, name), message in cases.items():
        assert export(tmp_path / settings, tmp_path / name, tmp_path / "out", "--live") == 2, settings
        said = capsys.readouterr().err
        assert "faceforward export: " in said
        assert message in said
    with config.open("a") as stream:
        stream.write("trainer: {callbacks: [{class_path: faceforward.callbacks.ema.EMA}]}")
    assert export(config, checkpoint, tmp_path / "out") == 2
    assert "no average (EMA) in" in capsys.readouterr().err
    assert export(config, checkpoint, tmp_path / "there.npy", "--live") == 2
    assert "exists: give a new folder" in capsys.readouterr().err
    assert main(["export"]) == 2
    assert not (tmp_path / "out").exists()
    assert export(config, checkpoint, tmp_path / "list.yaml" / "out", "--live") == 1
    assert "cannot be written" in capsys.readouterr().err


def test_average_of_another_model_is_refused(tmp_path, data, tiny_sd):
    config, checkpoint, _ = trained(tmp_path, data, tiny_sd, [EMA()])
    saved = torch.load(checkpoint, weights_only=True)
    saved["callbacks"]["EMA"]["shadow_params"].pop()
    torch.save(saved, checkpoint)
    with pytest.raises(ConfigurationError, match=r"average .* that are not the"):
        export_checkpoint(checkpoint, config, tmp_path / "out")


def test_fresh_weights_have_to_be_trained(tiny_vae):
    with pytest.raises(ConfigurationError, match=r"train: unet would leave .* unet\+text_encoder"):
        Specialization(new_over=str(tiny_vae))


def test_shipped_yaml_describes_a_model(tmp_path, tiny_sd, capsys):
    name = "configs/experiment/specialize_faces128.yaml"
    assert (ROOT / name).is_file()
    torch.save({"state_dict": {}}, tmp_path / "x.ckpt")
    assert export("experiment/specialize_faces128.yaml", tmp_path / "x.ckpt", tmp_path / "out", "--live") == 2
    assert "runs/base_diffusion/pipeline" in capsys.readouterr().err
