"""Reading a Stable Diffusion 1.x or 2.x model from a diffusers folder or the Hugging Face hub."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer

from faceforward.diffusion.lora import LORA_NAME, add_lora, refuse_other_base, save_lora
from faceforward.diffusion.model import LatentDiffusion
from faceforward.diffusion.schedule import NoiseSchedule
from faceforward.diffusion.weight_files import PARTS, form_of, how_to_convert
from faceforward.errors import ConfigurationError, WeightsUnavailableError

__all__ = ["LORA_NAME", "LatentDiffusion", "add_lora", "load_pipeline", "save_lora"]


def load_pipeline(
    pretrained: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    variant: str | None = None,
    lora: str | Path | None = None,
) -> LatentDiffusion:
    """Load a model: no code of the folder runs, `.bin` is opened as weights only, nothing is fetched.

    Args:
        pretrained: diffusers folder of a Stable Diffusion 1.x or 2.x, or the hub id of one that
            `faceforward download` brought here.
        dtype: Precision of the UNet; the autoencoder and the text encoder stay float32.
        device: Where the model goes.
        variant: Infix of the weights' file names, as in diffusers ("fp16"); a part that is there in
            another form alone is taken in that.
        lora: Folder or file of a LoRA to add to the weights, see `add_lora`.

    Raises:
        WeightsUnavailableError: The folder, the hub's model or a part of it is not here.
        ConfigurationError: The model is no Stable Diffusion 1.x or 2.x for text to image.
    """
    try:
        folder = _folder(pretrained)
        forms = _forms(folder, variant)
        common: dict[str, Any] = {"output_loading_info": True, "local_files_only": True}
        config = DDIMScheduler.load_config(folder, subfolder="scheduler")
        whole = torch.float32 if lora is not None else dtype  # a LoRA is added before anything is rounded
        unet = _complete(
            UNet2DConditionModel.from_pretrained(
                folder, subfolder="unet", torch_dtype=whole, **forms["unet"], **common
            )
        )
        vae = _complete(
            AutoencoderKL.from_pretrained(
                folder, subfolder="vae", torch_dtype=torch.float32, **forms["vae"], **common
            )
        )
        text_encoder = _complete(
            CLIPTextModel.from_pretrained(
                folder, subfolder="text_encoder", dtype=torch.float32, **forms["text_encoder"], **common
            )
        )
        tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    except (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise WeightsUnavailableError(
            f"the diffusion model {str(pretrained)!r} could not be loaded: {error}. Give a folder that "
            "StableDiffusionPipeline.save_pretrained wrote"
        ) from error
    _check(unet, vae, text_encoder, str(pretrained))
    # A folder without tokenizer_config.json says no length, and padding to 1e30 tokens fails.
    tokenizer.model_max_length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    if lora is not None:
        refuse_other_base(unet, lora, str(pretrained))
        add_lora(unet, Path(lora), text_encoder)
        unet.to(dtype)
    for part in (unet, vae, text_encoder):
        part.eval().requires_grad_(False).to(device)
    return LatentDiffusion(
        unet, vae, text_encoder, tokenizer, NoiseSchedule.from_config(config), str(pretrained), config
    )


def _folder(pretrained: str | Path) -> Path:
    """The folder itself, or the hub's files in the local cache."""
    folder = Path(pretrained)
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise WeightsUnavailableError(
            f"{str(pretrained)!r} is a single file: {how_to_convert(str(pretrained))}"
        )
    if folder.is_absolute() or len(folder.parts) != 2:
        raise WeightsUnavailableError(
            f"there is no folder {str(pretrained)!r}: give a diffusers folder (unet/, vae/, text_encoder/, "
            "tokenizer/, scheduler/) or a hub id such as stable-diffusion-v1-5/stable-diffusion-v1-5"
        )
    try:
        return Path(snapshot_download(str(pretrained), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise WeightsUnavailableError(
            f"there is no folder {str(pretrained)!r}, and no model of that name from the hub is on this "
            f"machine: `faceforward download {pretrained}` gets it where the network reaches the hub"
        ) from error


def _complete(loaded: tuple[Any, dict[str, Any]]) -> Any:
    """The network, unless some of its weights were in no file: the libraries would make them up."""
    network, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(f"{type(network).__name__} lacks {len(missing)} weights, such as {missing[0]}")
    return network


def _forms(folder: Path, variant: str | None) -> dict[str, dict[str, Any]]:
    """How the weights of each part are stored, in the words of the libraries' loaders.

    Raises:
        WeightsUnavailableError: A part has no folder or no weights.
    """
    names = {path.relative_to(folder).as_posix() for path in folder.glob("*/*")}
    singles = sorted(p.name for p in folder.glob("*") if p.suffix in (".safetensors", ".ckpt"))
    forms = {}
    for part in PARTS:
        form = form_of(part, names, variant)
        if form is None and singles and not (folder / part).is_dir():
            raise WeightsUnavailableError(
                f"{str(folder)!r} holds a single file, {singles[0]}: {how_to_convert(singles[0])}"
            )
        if form is None:
            what = "no weights in" if (folder / part).is_dir() else "no folder"
            raise WeightsUnavailableError(f"the diffusion model {str(folder)!r} has {what} {part}/")
        forms[part] = {"use_safetensors": form.safetensors, "variant": form.variant}
    return forms


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
