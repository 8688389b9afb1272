"""A Stable Diffusion of the real classes whose weights follow from a salt (shared/golden/README.md)."""

import json
import math
import os
import zlib
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

CHECKOUT = Path(__file__).resolve().parents[1]
ROOT = Path(os.environ.get("FACEFORWARD_GOLDEN", CHECKOUT.parent / "shared" / "golden"))


def draw(salt, name, shape):
    """The tensor of this name, float32."""
    generator = np.random.default_rng(zlib.crc32(f"{salt}:{name}".encode()))
    return torch.from_numpy(generator.standard_normal(shape).astype(np.float32))


def weight(salt, part, name, shape):
    """One parameter of the diffusion model, by the formula."""
    value = draw(f"{salt}/{part}", name, shape)
    if len(shape) >= 2:
        value = value * (0.8 / math.sqrt(math.prod(shape[1:])))
    elif name.endswith("weight"):
        value = 1 + 0.1 * value
    else:
        value = 0.1 * value
    if part == "text_encoder" and "embedding" in name:
        value = value * (math.sqrt(shape[1]) / 0.8 * 0.5)
    if part == "unet" and ("attn2.to_q" in name or "attn2.to_k" in name):
        value = value * 3
    if part == "unet" and name == "conv_out.weight":
        value = value * 0.5
    if part == "vae" and name == "encoder.conv_out.weight":
        value = value * 4
    return value


def fill(module, salt, part, shapes):
    """Give a module its weights; names that newer transformers shorten are found under the shorter one."""
    own = dict(module.named_parameters())
    state = {}
    for name, shape in shapes.items():
        key = name if name in own else name.removeprefix("text_model.")
        state[key] = weight(salt, part, name, shape)
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected
    assert not set(missing) & set(own)
    return module


def save_golden_pipeline(root, case, folder, salt):
    """Write the diffusers folder of one golden case."""
    parts = json.loads((root / case / "pipeline.json").read_text())
    unet = UNet2DConditionModel.from_config(parts["unet"]["config"])
    vae = AutoencoderKL.from_config(parts["vae"]["config"])
    text_encoder = CLIPTextModel(CLIPTextConfig.from_dict(parts["text_encoder"]["config"]))
    for part, module in (("unet", unet), ("vae", vae), ("text_encoder", text_encoder)):
        fill(module, salt, part, parts[part]["parameters"]).save_pretrained(folder / part)
    DDIMScheduler.from_config(parts["scheduler"]["config"]).save_pretrained(folder / "scheduler")
    CLIPTokenizer.from_pretrained(root / "tokenizer").save_pretrained(folder / "tokenizer")
