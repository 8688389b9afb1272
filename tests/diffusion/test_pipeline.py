import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.portable import make_portable
from faceforward.errors import ConfigurationError, WeightsUnavailableError


@pytest.fixture(scope="module")
def model(tiny_sd):
    return load_pipeline(tiny_sd)


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture
def copy(tiny_sd, tmp_path):
    return shutil.copytree(tiny_sd, tmp_path / "model")


def test_everything_is_frozen(model):
    for part in (model.unet, model.vae, model.text_encoder):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())
    assert (model.factor, model.image_size) == (4, 32)


def test_the_mean_times_the_scaling_factor(model, picture):
    latents = model.encode_image(picture)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        expected = model.vae.encode(pixels).latent_dist.mean * model.vae.config.scaling_factor
        decoded = model.vae.decode(expected / model.vae.config.scaling_factor).sample
    torch.testing.assert_close(latents, expected)
    back = model.decode_latents(latents)
    assert back.shape == (1, 32, 32, 3)
    assert back.dtype == np.uint8
    np.testing.assert_allclose(
        back[0], ((decoded[0] + 1) * 127.5).clamp(0, 255).permute(1, 2, 0).numpy(), atol=0.51
    )


def test_batches_are_singles(model, picture):
    pictures = np.stack([picture, picture[::-1]])
    latents = model.encode_image(pictures)
    torch.testing.assert_close(latents[1:], model.encode_image(pictures[1]))
    np.testing.assert_array_equal(model.decode_latents(latents)[1:], model.decode_latents(latents[1:]))


def test_memory_is_bounded_by_parts(model, picture, monkeypatch):
    pictures = np.stack([picture] * 3)
    whole = model.encode_image(pictures)
    monkeypatch.setattr("faceforward.diffusion.model.DECODED_AT_ONCE", 32 * 32)
    torch.testing.assert_close(model.encode_image(pictures), whole)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((32, 32), np.uint8, "must be"),
        ((32, 32, 4), np.uint8, "must be"),
        ((32, 32, 3), np.float32, "must be"),
        ((32, 30, 3), np.uint8, "30 x 32 pixels; the sides must be divisible by 4.*32 x 32"),
    ],
)
def test_pictures_of_another_form(model, shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        model.encode_image(np.zeros(shape, dtype))


def test_embeddings_are_those_of_diffusers(model, tiny_sd):
    pipeline = StableDiffusionPipeline.from_pretrained(
        tiny_sd, safety_checker=None, requires_safety_checker=False
    )
    prompts = ["photo of 32 year old man", ""]
    expected, _ = pipeline.encode_prompt(prompts, "cpu", 1, False)
    torch.testing.assert_close(model.encode_prompts(prompts), expected)


def test_precision_is_the_unets_alone(tiny_sd):
    model = load_pipeline(str(tiny_sd), dtype=torch.bfloat16)
    assert model.unet.dtype == torch.bfloat16
    assert model.vae.dtype == model.text_encoder.dtype == torch.float32
    context = model.encode_prompts(["a man"])
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = model.predict(latents, 801, context)
        exact = load_pipeline(tiny_sd).predict(latents, 801, context)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, exact, rtol=0.1, atol=0.02)


def test_half_precision_files_are_found(copy, tiny_sd, picture):
    pipeline = StableDiffusionPipeline.from_pretrained(
        tiny_sd, safety_checker=None, requires_safety_checker=False
    )
    shutil.rmtree(copy)
    pipeline.to(dtype=torch.float16).save_pretrained(copy, variant="fp16")
    model = load_pipeline(copy)
    assert model.unet.dtype == torch.float32
    reference = load_pipeline(tiny_sd).encode_image(picture)
    torch.testing.assert_close(model.encode_image(picture), reference, rtol=0.1, atol=0.02)


def test_half_precision_in_some_parts_and_a_tokenizer_without_its_config(copy):
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    half = {name: tensor.half() for name, tensor in load_file(file).items()}
    save_file(half, file.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
    file.unlink()
    (copy / "tokenizer" / "tokenizer_config.json").unlink()
    model = load_pipeline(copy)
    assert model.unet.dtype == torch.float32
    assert model.tokenizer.model_max_length == model.text_encoder.config.max_position_embeddings


def test_a_single_file_says_how_it_becomes_a_folder(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "sd15.safetensors")
    for place in (tmp_path, tmp_path / "sd15.safetensors"):
        with pytest.raises(WeightsUnavailableError, match="from_single_file"):
            load_pipeline(place)


def test_portable_names_are_read_alike(copy, model):
    assert make_portable(copy)[0] == "text_encoder/model.safetensors"
    assert make_portable(copy) == []
    names = load_file(copy / "text_encoder" / "model.safetensors")
    assert all(name.startswith("text_model.") for name in names)
    assert (copy / "tokenizer" / "merges.txt").is_file()
    again, known = load_pipeline(copy).text_encoder.state_dict(), model.text_encoder.state_dict()
    assert all(torch.equal(again[name], known[name]) for name in known)


def test_the_schedule_is_the_files(copy):
    file = copy / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "prediction_type": "v_prediction"}))
    assert load_pipeline(copy).schedule.prediction_type == "v_prediction"


@pytest.mark.parametrize("name", ["/nowhere/at/all", "nowhere"])
def test_no_folder(name):
    with pytest.raises(WeightsUnavailableError, match=r"no folder .* hub id such as"):
        load_pipeline(name)


def test_a_hub_id_offline():
    with pytest.raises(WeightsUnavailableError, match="faceforward download stable-diffusion"):
        load_pipeline("stable-diffusion-v1-5/never-downloaded")


def test_a_part_is_missing(copy):
    shutil.rmtree(copy / "unet")
    with pytest.raises(WeightsUnavailableError, match="no folder unet/"):
        load_pipeline(copy)


def test_bin_files_are_read_and_pickles_that_run_are_not(copy, tiny_sd, picture):
    for part, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
        (file,) = (copy / part).glob("*.safetensors")
        torch.save(load_file(file), copy / part / f"{stem}.bin")
        file.unlink()
    ours, reference = load_pipeline(copy), load_pipeline(tiny_sd)
    for part in ("unet", "text_encoder"):
        found, known = getattr(ours, part).state_dict(), getattr(reference, part).state_dict()
        assert all(torch.equal(found[name], known[name]) for name in known)
    torch.save({"a": shutil.rmtree}, copy / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsUnavailableError, match="could not be loaded"):
        load_pipeline(copy)


def test_truncated_weights(copy):
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsUnavailableError, match="could not be loaded"):
        load_pipeline(copy)


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_missing_weights_are_not_made_up(copy, part):
    (file,) = (copy / part).glob("*.safetensors")
    weights = load_file(file)
    weights.pop(sorted(weights)[0])
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(WeightsUnavailableError, match="lacks 1 weights"):
        load_pipeline(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_channels": 9}, "takes 9 channels and the latents have 4"),
        ({"class_embed_type": "timestep"}, "inputs beside the prompt"),
        ({"cross_attention_dim": 32}, "width 32 and the text encoder's are 64"),
        ({"sample_size": [8, 12]}, "not trained on square"),
    ],
)
def test_other_kinds_of_models(copy, change, message):
    config = {**UNet2DConditionModel.load_config(copy / "unet"), **change}
    UNet2DConditionModel.from_config(config).save_pretrained(copy / "unet")
    with pytest.raises(ConfigurationError, match=message):
        load_pipeline(copy)
