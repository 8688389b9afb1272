import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from faceforward.diffusion.lora import BASE_FILE, base_fingerprint, base_to_load
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.errors import ConfigurationError, WeightsUnavailableError

MODULE = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
TEXT = "text_model.encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def model(tiny_sd):
    return load_pipeline(tiny_sd)


def _weight(network, name):
    modules = dict(network.named_modules())
    return modules.get(name, modules.get(name.removeprefix("text_model."))).weight


def _pair(weight, rank=2):
    generator = torch.Generator().manual_seed(0)
    up = torch.randn(weight.shape[0], rank, generator=generator)
    return torch.randn(rank, weight.shape[1], generator=generator), up


def _diffusers(down, up, prefix, module):
    return {f"{prefix}.{module}.lora_A.weight": down, f"{prefix}.{module}.lora_B.weight": up}


def _kohya(down, up, prefix, module):
    name = ("lora_unet_" if prefix == "unet" else "lora_te_") + module.replace(".", "_")
    alpha = {f"{name}.alpha": torch.tensor(1.0)}
    return {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up} | alpha


def _old(down, up, prefix, module):
    if prefix == "unet":
        block, _, last = module.rpartition(".")
        name = f"unet.{block}.processor.{last}_lora"
    else:
        name = f"text_encoder.{module.replace('q_proj', 'to_q_lora')}"
    return {f"{name}.down.weight": down, f"{name}.up.weight": up}


def _bare(down, up, prefix, module):
    return {k.removeprefix("unet."): v for k, v in _old(down, up, prefix, module).items()}


@pytest.mark.parametrize(("form", "scale"), [(_diffusers, 1), (_kohya, 0.5), (_old, 1), (_bare, 1)])
@pytest.mark.parametrize("prefix", ["unet", "text_encoder"])
def test_every_form_is_applied_at_its_strength(form, scale, prefix, model, tiny_sd, tmp_path):
    if form is _bare and prefix != "unet":
        return  # such files are of UNets alone
    network, module = (model.unet, MODULE) if prefix == "unet" else (model.text_encoder, TEXT)
    before = _weight(network, module)
    down, up = _pair(before)
    save_file(form(down, up, prefix, module), tmp_path / "style.safetensors")
    after = load_pipeline(tiny_sd, lora=tmp_path)  # the only file of its folder
    found = _weight(getattr(after, prefix), module)
    torch.testing.assert_close(found, before + scale * up @ down, rtol=1e-5, atol=1e-5)


def test_peft_folders_are_read(model, tiny_sd, tmp_path):
    before = _weight(model.unet, MODULE)
    down, up = _pair(before)
    save_file(
        {f"base_model.model.{MODULE}.lora_{n}.weight": t for n, t in (("A", down), ("B", up))},
        tmp_path / "adapter_model.safetensors",
    )
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 6, "r": 2}))
    found = _weight(load_pipeline(tiny_sd, lora=tmp_path).unet, MODULE)
    torch.testing.assert_close(found, before + 3 * up @ down, rtol=1e-5, atol=1e-5)


def test_convolutions_are_applied(model, tiny_sd, tmp_path):
    name = "down_blocks.0.resnets.0.conv1"
    before = _weight(model.unet, name)
    down, up = torch.randn(2, *before.shape[1:]), torch.randn(before.shape[0], 2, 1, 1)
    save_file(_diffusers(down, up, "unet", name), tmp_path / "a.safetensors")
    found = _weight(load_pipeline(tiny_sd, lora=tmp_path / "a.safetensors").unet, name)
    expected = before + torch.einsum("or,rihw->oihw", up[..., 0, 0], down)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_bin_files_are_read_and_pickles_that_run_are_not(model, tiny_sd, tmp_path):
    before = _weight(model.unet, MODULE)
    down, up = _pair(before)
    torch.save(_diffusers(down, up, "unet", MODULE), tmp_path / "pytorch_lora_weights.bin")
    found = _weight(load_pipeline(tiny_sd, lora=tmp_path).unet, MODULE)
    torch.testing.assert_close(found, before + up @ down, rtol=1e-5, atol=1e-5)
    torch.save({"a": shutil.rmtree}, tmp_path / "pytorch_lora_weights.bin")
    with pytest.raises(WeightsUnavailableError, match="cannot be read"):
        load_pipeline(tiny_sd, lora=tmp_path)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"something.else.weight": torch.ones(1)}, "something.else.weight"),
        ({f"unet.{MODULE}.dora_scale": torch.ones(1)}, "dora_scale|of another model"),
        ({"unet.not.here.lora_A.weight": torch.ones(2, 4)}, "not.here"),
        ({f"unet.{MODULE}.lora_A.weight": torch.ones(2, 4)}, "no pair"),
        (_diffusers(torch.ones(2, 5), torch.ones(5, 2), "unet", MODULE), "is .* here, and its"),
    ],
)
def test_what_cannot_be_applied_is_named(state, words, tiny_sd, tmp_path):
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(ConfigurationError, match=words):
        load_pipeline(tiny_sd, lora=tmp_path)


def test_a_folder_without_a_lora(tiny_sd, tmp_path):
    with pytest.raises(WeightsUnavailableError, match="has none of"):
        load_pipeline(tiny_sd, lora=tmp_path)


def test_the_base_is_loaded_or_another_refused(model, tiny_sd, tmp_path):
    down, up = _pair(_weight(model.unet, MODULE))
    save_file(_diffusers(down, up, "unet", MODULE), tmp_path / "pytorch_lora_weights.safetensors")
    facts = {"name": "stable-diffusion-1.5", "folder": False, "fingerprint": base_fingerprint(model.unet)}
    (tmp_path / BASE_FILE).write_text(json.dumps(facts))
    assert base_to_load(None, tmp_path, "usual") == "stable-diffusion-1.5"
    assert base_to_load("mine", tmp_path, "usual") == "mine"
    assert base_to_load(None, None, "usual") == "usual"
    load_pipeline(tiny_sd, lora=tmp_path, dtype=torch.bfloat16)
    other = tmp_path / "other"
    shutil.copytree(tiny_sd, other)
    file = other / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({k: v + 0.01 for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    with pytest.raises(ConfigurationError, match=r"was trained on 'stable-diffusion-1\.5'"):
        load_pipeline(other, lora=tmp_path)
    (tmp_path / BASE_FILE).write_text(json.dumps(facts | {"name": "pipeline", "folder": True}))
    with pytest.raises(ConfigurationError, match="trained on the folder 'pipeline'"):
        base_to_load(None, tmp_path, "usual")
