"""Where an autoencoder is, and its moments."""

import shutil

import pytest
import torch
from diffusers import AutoencoderKL

from faceforward.datamodules.moments import encode_batch, image_size, load_vae, vae_weights
from faceforward.errors import ConfigurationError, WeightsUnavailableError


def test_moments_are_of_the_picture_and_its_mirror_image(tiny_vae):
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    vae = load_vae(vae_weights(tiny_vae)).cpu()
    moments = encode_batch(vae, images)
    assert (moments.shape, moments.dtype) == ((3, 2, 8, 8, 8), torch.float16)
    with torch.inference_mode():
        expected = vae.encode(images[1:2].flip(-1)).latent_dist.parameters[0]
    assert (moments[1, 1] - expected).pow(2).mean().sqrt() < 0.02 * expected.std()  # bfloat16


def test_autoencoder_is_found_in_its_folder_and_in_a_pipeline(tiny_vae, tiny_sd, tmp_path):
    assert vae_weights(tiny_vae).parent == tiny_vae
    assert vae_weights(str(tiny_sd)).parent == tiny_sd / "vae"
    assert image_size(vae_weights(tiny_vae)) == 32
    half = tmp_path / "half"
    AutoencoderKL.from_pretrained(tiny_vae).half().save_pretrained(half, variant="fp16")
    assert load_vae(vae_weights(half)).dtype == torch.float32


def test_what_is_no_autoencoder_is_refused(tiny_vae, tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere is no AutoencoderKL folder.*face-ldm-128"):
        vae_weights(tmp_path / "nowhere")
    shutil.copy(tiny_vae / "diffusion_pytorch_model.safetensors", tmp_path)
    with pytest.raises(ConfigurationError, match="is no AutoencoderKL folder"):
        vae_weights(tmp_path)  # without config.json


def test_registry_name_without_weights_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsUnavailableError, match=r"stable-diffusion-1\.5 are not on this machine"):
        vae_weights("stable-diffusion-1.5")
