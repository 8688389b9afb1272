"""Pictures to the moments of an autoencoder: where its weights are, and the one formula."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL

from faceforward.diffusion.encoders import encoder_differences
from faceforward.errors import ConfigurationError
from faceforward.precision import has_bfloat16
from faceforward.pretrained import resolve
from faceforward.registry import REGISTRY

if TYPE_CHECKING:
    from lightning import LightningModule

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")


@torch.inference_mode()
def encode_batch(vae: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    """Moments of pictures and of their mirror images.

    Args:
        vae: In evaluation mode.
        images: `(B, 3, S, S)` in [-1, 1].

    Returns:
        `(B, 2, 2C, h, w)` float16 on the CPU: picture, then mirrored; means, then log-variances.
    """
    both = torch.cat([images, images.flip(-1)]).to(vae.device).contiguous(memory_format=torch.channels_last)
    # bfloat16 halves the time; its error is far below the noise that training adds to every latent
    with torch.autocast(vae.device.type, torch.bfloat16, enabled=has_bfloat16(vae.device)):
        moments = vae.encode(both).latent_dist.parameters.half().cpu()
    return torch.stack(moments.chunk(2), dim=1)


def vae_weights(vae: str | Path) -> Path:
    """The weights of an autoencoder.

    Args:
        vae: diffusers `AutoencoderKL` folder, Stable Diffusion folder (its `vae` is taken), or the registry's
            name of one (`face-ldm-128`, `stable-diffusion-1.5`).

    Raises:
        WeightsUnavailableError: The registry's weights are not on this machine.
        ConfigurationError: There is no autoencoder in safetensors there.
    """
    folder = Path(resolve(str(vae)))
    for weights in (place / name for place in (folder, folder / "vae") for name in WEIGHTS):
        if weights.is_file() and (weights.parent / "config.json").is_file():
            return weights
    raise ConfigurationError(
        f"{vae} is no AutoencoderKL folder: {WEIGHTS[0]} is missing there; give such a folder, a Stable "
        f"Diffusion folder, or one of the names {', '.join(name for name in REGISTRY if _has_vae(name))}"
    )


def _has_vae(name: str) -> bool:
    return any(file.startswith("vae/") or file == "model_index.json" for file in REGISTRY[name].files)


def read_vae(weights: Path) -> AutoencoderKL:
    """The autoencoder, float32, in evaluation mode, on the CPU."""
    variant = "fp16" if ".fp16." in weights.name else None
    return AutoencoderKL.from_pretrained(weights.parent, variant=variant, dtype=torch.float32).eval()


def load_vae(weights: Path) -> AutoencoderKL:
    """The autoencoder as `read_vae` gives it, on the GPU where there is one."""
    return read_vae(weights).to(
        "cuda" if torch.cuda.is_available() else "cpu", memory_format=torch.channels_last
    )


def refuse_other_latents(module: LightningModule | None, weights: Path) -> None:
    """Compare the encoder of the data's autoencoder with that of the model that is trained, tensor by tensor.

    Args:
        module: A `DenoisingModule`; others take what they are given.
        weights: Of the data's autoencoder; see `vae_weights`.

    Raises:
        ConfigurationError: They differ by more than half precision does.
    """
    origin = getattr(module, "origin", None)
    if origin is None:
        return
    differing = encoder_differences(module.vae, read_vae(weights))  # type: ignore[union-attr,arg-type]
    if differing:
        raise ConfigurationError(
            f"the latents are of the autoencoder {weights.parent}, and {origin}, which is trained, has "
            f"another: {len(differing)} tensors of the encoder differ, first {', '.join(differing[:3])}. "
            f"Set data.init_args.vae to {origin}"
        )


def image_size(weights: Path) -> int:
    """Side of the pictures that the autoencoder was trained on."""
    return int(json.loads((weights.parent / "config.json").read_text(encoding="utf-8"))["sample_size"])
