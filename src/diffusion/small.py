"""A small latent diffusion model of the real diffusers classes, with fresh weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from faceforward.diffusion.vocabulary import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def stable_diffusion_scheduler() -> DDIMScheduler:
    """DDIM over Stable Diffusion's noise schedule, with the settings that FADING edits with."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def assemble(
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
    scheduler_config: Mapping[str, Any] | None = None,
) -> StableDiffusionPipeline:
    """A pipeline that plain diffusers loads; no safety checker, since none was trained for it.

    Args:
        vae: Autoencoder.
        text_encoder: CLIP's.
        tokenizer: CLIP's.
        unet: What denoises.
        scheduler_config: Of the model that these parts come from; None is `stable_diffusion_scheduler`.
    """
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler.from_config(dict(scheduler_config))
        if scheduler_config
        else stable_diffusion_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def new_pipeline(
    vae: AutoencoderKL,
    *,
    block_out_channels: Sequence[int] = (128, 160, 192),
    layers_per_block: int = 1,
    head_channels: int = 32,
    text_width: int = 256,
    text_layers: int = 3,
    max_tokens: int = 24,
) -> StableDiffusionPipeline:
    """Text encoder and UNet with fresh weights over an autoencoder.

    Every level has self- and cross-attention: the latents are small, and prompt-to-prompt needs maps.

    Args:
        vae: Its latent channels and factor decide the UNet's input.
        block_out_channels: Width of each level.
        layers_per_block: ResNet and attention pairs per level.
        head_channels: Channels of an attention head.
        text_width: Width of the text encoder and of cross-attention's context.
        text_layers: Layers of the text encoder.
        max_tokens: Tokens of a padded prompt.
    """
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    unet = UNet2DConditionModel(
        sample_size=vae.config.sample_size // factor,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        block_out_channels=tuple(block_out_channels),
        layers_per_block=layers_per_block,
        down_block_types=("CrossAttnDownBlock2D",) * len(block_out_channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(block_out_channels),
        cross_attention_dim=text_width,
        # diffusers calls the number of heads `attention_head_dim`, as Stable Diffusion 1.x's config does
        attention_head_dim=tuple(channels // head_channels for channels in block_out_channels),
        norm_num_groups=32,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder), model_max_length=max_tokens)
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=text_width,
            intermediate_size=4 * text_width,
            num_hidden_layers=text_layers,
            num_attention_heads=text_width // 64,
            max_position_embeddings=max_tokens,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=text_width,
        )
    )
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
    return assemble(vae, text_encoder, tokenizer, unet)
