"""Reading a Stable Diffusion 1.x or 2.x model from a diffusers folder or the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from faceforward.diffusion.model import LatentDiffusion
from faceforward.diffusion.schedule import NoiseSchedule
from faceforward.errors import ConfigurationError, WeightsUnavailableError

__all__ = ["LatentDiffusion", "load_pipeline"]

WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


def load_pipeline(
    pretrained: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    variant: str | None = None,
) -> LatentDiffusion:
    """Load a model from safetensors only: no pickle is opened and no code from the folder is run.

    Args:
        pretrained: diffusers folder of a Stable Diffusion 1.x or 2.x, or the id of one on the hub.
        dtype: Precision of the UNet; the autoencoder and the text encoder stay float32.
        device: Where the model goes.
        variant: Infix of the weights' file names, as in diffusers ("fp16"); in a folder that holds only such
            files it is found.

    Raises:
        WeightsUnavailableError: The folder or a part of it is missing, or the hub cannot be reached.
        ConfigurationError: The model is no Stable Diffusion 1.x or 2.x for text to image.
    """
    folder = Path(pretrained)
    if folder.is_dir():
        source, variant = str(folder), variant or _variant(folder)
    elif folder.is_absolute() or len(folder.parts) != 2:
        raise WeightsUnavailableError(
            f"there is no folder {str(pretrained)!r}: give a diffusers folder (unet/, vae/, text_encoder/, "
            "tokenizer/, scheduler/) or a hub id such as stable-diffusion-v1-5/stable-diffusion-v1-5"
        )
    else:
        source = str(pretrained)
    common: dict[str, Any] = {"use_safetensors": True, "variant": variant}
    try:
        config = DDIMScheduler.load_config(source, subfolder="scheduler")
        unet = UNet2DConditionModel.from_pretrained(source, subfolder="unet", torch_dtype=dtype, **common)
        vae = AutoencoderKL.from_pretrained(source, subfolder="vae", torch_dtype=torch.float32, **common)
        text_encoder = CLIPTextModel.from_pretrained(
            source, subfolder="text_encoder", dtype=torch.float32, **common
        )
        tokenizer = CLIPTokenizer.from_pretrained(source, subfolder="tokenizer")
    except (OSError, ValueError) as error:
        raise WeightsUnavailableError(
            f"the diffusion model {str(pretrained)!r} could not be loaded: {error}. Where the network "
            "reaches the hub run `faceforward download stable-diffusion`, or give a folder with safetensors"
        ) from error
    _check(unet, vae, text_encoder, source)
    for part in (unet, vae, text_encoder):
        part.eval().requires_grad_(False).to(device)
    return LatentDiffusion(unet, vae, text_encoder, tokenizer, NoiseSchedule.from_config(config), source)


def _variant(folder: Path) -> str | None:
    """`fp16` for a folder that holds only such weights."""
    for part, stem in WEIGHTS.items():
        if not (folder / part).is_dir():
            raise WeightsUnavailableError(f"the diffusion model {str(folder)!r} has no folder {part}/")
        if (folder / part / f"{stem}.fp16.safetensors").exists() and not any(
            (folder / part / name).exists()
            for name in (f"{stem}.safetensors", f"{stem}.safetensors.index.json")
        ):
            return "fp16"
    return None


def _check(unet: UNet2DConditionModel, vae: AutoencoderKL, text_encoder: CLIPTextModel, source: str) -> None:
    """Refuse what is no Stable Diffusion 1.x or 2.x for text to image."""
    config = unet.config
    faults = []
    if config.in_channels != vae.config.latent_channels:
        faults.append(
            f"its UNet takes {config.in_channels} channels and the latents have {vae.config.latent_channels}"
        )
    if config.addition_embed_type or config.class_embed_type or config.encoder_hid_dim_type:
        faults.append("its UNet needs inputs beside the prompt (SDXL, unCLIP)")
    if config.cross_attention_dim != text_encoder.config.hidden_size:
        faults.append(
            f"its UNet attends to texts of width {config.cross_attention_dim} and the text encoder's are "
            f"{text_encoder.config.hidden_size} wide"
        )
    if not isinstance(config.sample_size, int):
        faults.append("its UNet was not trained on square pictures")
    if faults:
        raise ConfigurationError(
            f"{source!r} is no Stable Diffusion 1.x or 2.x for text to image: {'; '.join(faults)}"
        )
