"""Reading a Stable Diffusion 1.x or 2.x model from a diffusers folder or the Hugging Face hub."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import CLIPTextModel, CLIPTokenizer

from faceforward.diffusion.model import LatentDiffusion
from faceforward.diffusion.schedule import NoiseSchedule
from faceforward.errors import ConfigurationError, WeightsUnavailableError

__all__ = ["LatentDiffusion", "load_pipeline"]

LORA_FILE = "pytorch_lora_weights.safetensors"
LORA_NAME = "faceforward"
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
    lora: str | Path | None = None,
) -> LatentDiffusion:
    """Load a model from safetensors only: no pickle is opened, no code of the folder runs, nothing fetched.

    Args:
        pretrained: diffusers folder of a Stable Diffusion 1.x or 2.x, or the hub id of one that
            `faceforward download` brought here.
        dtype: Precision of the UNet; the autoencoder and the text encoder stay float32.
        device: Where the model goes.
        variant: Infix of the weights' file names, as in diffusers ("fp16"); in a folder that holds only such
            files it is found.
        lora: Folder or file of a LoRA of the UNet (arXiv 2106.09685, diffusers' form) to add to its weights.

    Raises:
        WeightsUnavailableError: The folder, the hub's model or a part of it is not here.
        ConfigurationError: The model is no Stable Diffusion 1.x or 2.x for text to image.
    """
    try:
        folder = _folder(pretrained, variant)
        common: dict[str, Any] = {
            "use_safetensors": True,
            "variant": variant or _variant(folder),
            "output_loading_info": True,
        }
        config = DDIMScheduler.load_config(folder, subfolder="scheduler")
        unet = _complete(
            UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=dtype, **common)
        )
        vae = _complete(
            AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32, **common)
        )
        text_encoder = _complete(
            CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=torch.float32, **common)
        )
        tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsUnavailableError(
            f"the diffusion model {str(pretrained)!r} could not be loaded: {error}. Give a folder that "
            "StableDiffusionPipeline.save_pretrained wrote, with safetensors"
        ) from error
    _check(unet, vae, text_encoder, str(pretrained))
    if lora is not None:
        add_lora(unet, Path(lora))
    for part in (unet, vae, text_encoder):
        part.eval().requires_grad_(False).to(device)
    return LatentDiffusion(
        unet, vae, text_encoder, tokenizer, NoiseSchedule.from_config(config), str(pretrained), config
    )


def add_lora(unet: UNet2DConditionModel, path: Path) -> None:
    """Add a LoRA to the UNet's weights, at its own strength.

    Args:
        unet: Of the model that the LoRA was trained on.
        path: `pytorch_lora_weights.safetensors`, or the folder that holds it.

    Raises:
        WeightsUnavailableError: The file is missing or cannot be read, or the package peft is not installed.
        ConfigurationError: The LoRA is of another model.
    """
    if not find_spec("peft"):
        raise WeightsUnavailableError("a LoRA needs the package peft: pip install 'faceforward[lora]'")
    file = path / LORA_FILE if path.is_dir() else path
    try:
        with safe_open(file, framework="pt") as opened:
            names = list(opened.keys())
    except (OSError, SafetensorError) as error:
        raise WeightsUnavailableError(f"the LoRA {str(file)!r} cannot be read: {error}") from error
    if not any(name.startswith("unet.") for name in names):
        raise ConfigurationError(f"the LoRA {str(file)!r} has no weights for a UNet")
    try:
        # From the file, not from its tensors: its metadata hold the strength.
        unet.load_lora_adapter(
            str(file.parent),
            weight_name=file.name,
            prefix="unet",
            adapter_name=LORA_NAME,
            use_safetensors=True,
            local_files_only=True,
        )
        unet.fuse_lora(adapter_names=[LORA_NAME])
        unet.unload_lora()
    except (RuntimeError, ValueError, KeyError) as error:
        raise ConfigurationError(f"the LoRA {str(file)!r} is of another model: {error}") from error


def save_lora(unet: UNet2DConditionModel, folder: Path) -> None:
    """Write the LoRA of a UNet that is being trained as the file that diffusers and `add_lora` read.

    Args:
        unet: With an adapter `LORA_NAME`.
        folder: Where `pytorch_lora_weights.safetensors` goes.
    """
    # Late: peft is an extra, and the pipeline is half a second of start-up that edits do without.
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet, adapter_name=LORA_NAME))
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers=layers,
        unet_lora_adapter_metadata=unet.peft_config[LORA_NAME].to_dict(),
    )


def _folder(pretrained: str | Path, variant: str | None) -> Path:
    """The folder itself, or the hub's files in the local cache."""
    folder = Path(pretrained)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or len(folder.parts) != 2:
        raise WeightsUnavailableError(
            f"there is no folder {str(pretrained)!r}: give a diffusers folder (unet/, vae/, text_encoder/, "
            "tokenizer/, scheduler/) or a hub id such as stable-diffusion-v1-5/stable-diffusion-v1-5"
        )
    infix = f".{variant}" if variant else ""
    weights = [f"{part}/{stem}{infix}.safetensors" for part, stem in WEIGHTS.items()]
    configs = [f"{part}/*.json" for part in (*WEIGHTS, "tokenizer", "scheduler")]
    patterns = [*weights, *configs, "tokenizer/*.txt"]
    try:
        return Path(snapshot_download(str(pretrained), allow_patterns=patterns, local_files_only=True))
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
