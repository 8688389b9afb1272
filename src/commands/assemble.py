"""Put trained parts together as one half-precision diffusers directory."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from faceforward.atomic import atomic_folder
from faceforward.diffusion.encoders import encoder_differences
from faceforward.diffusion.portable import make_portable
from faceforward.diffusion.prompts import TEMPLATE_FILE
from faceforward.diffusion.settings import SETTINGS_FILE
from faceforward.errors import ConfigurationError

logger = logging.getLogger(__name__)


def assemble_half(pipeline: Path, output: Path, *, vae: Path | None = None) -> int:
    """Write `pipeline` in float16 safetensors, with another autoencoder if one is given.

    Args:
        pipeline: diffusers Stable Diffusion directory.
        output: Replaced when it is complete.
        vae: diffusers `AutoencoderKL` directory that must share the encoder: the UNet knows its latents only.

    Returns:
        Bytes of the weights.

    Raises:
        ConfigurationError: The encoder of `vae` is another one.
    """
    model = StableDiffusionPipeline.from_pretrained(
        pipeline, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )
    if vae is not None:
        other = AutoencoderKL.from_pretrained(vae, dtype=torch.float32)
        if encoder_differences(model.vae, other):
            raise ConfigurationError(
                f"the encoder in {vae} is not the one of {pipeline}: its latents mean another thing"
            )
        model.register_modules(vae=other)
    for name, part in (("UNet", model.unet), ("VAE", model.vae), ("text encoder", model.text_encoder)):
        if not all(torch.isfinite(p.half()).all() for p in part.parameters()):
            raise ConfigurationError(f"the {name} of {pipeline} has weights that float16 cannot hold")
        part.half()
    with atomic_folder(output) as temporary:
        model.save_pretrained(temporary)
        make_portable(temporary)
        for config in temporary.rglob("*.json"):  # where the parts lay on this machine is nobody's business
            content = json.loads(config.read_text(encoding="utf-8"))
            if content.pop("_name_or_path", None) is not None:
                config.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        for folder, names in (
            (output, ("README.md", "MODEL_CARD.md", SETTINGS_FILE)),
            (pipeline, (TEMPLATE_FILE,)),
        ):
            for name in names:
                if (folder / name).exists():
                    shutil.copy(folder / name, temporary / name)
    return sum(f.stat().st_size for f in output.rglob("*.safetensors"))


def main(argv: list[str] | None = None) -> int:
    """Assemble from the command line; exit status 2 when the parts do not fit."""
    parser = argparse.ArgumentParser(prog="python -m faceforward.commands.assemble", description=__doc__)
    parser.add_argument("--pipeline", type=Path, required=True, help="what train.py exported")
    parser.add_argument("--vae", type=Path, help="autoencoder to put in, with the same encoder")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)
    try:
        size = assemble_half(arguments.pipeline, arguments.output, vae=arguments.vae)
    except ConfigurationError as error:
        sys.stderr.write(f"assemble: {error}\n")
        return 2
    sys.stdout.write(f"{arguments.output}: {size / 2**20:.1f} MiB of weights\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
