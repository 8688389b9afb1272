"""Which files of a diffusers folder or repository a Stable Diffusion is read from: one rule for all doors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceforward.errors import ConfigurationError, WeightsUnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection

#: Folder of a network -> stem of its safetensors, stem of its older `.bin`.
PARTS = {
    "unet": ("diffusion_pytorch_model", "diffusion_pytorch_model"),
    "vae": ("diffusion_pytorch_model", "diffusion_pytorch_model"),
    "text_encoder": ("model", "pytorch_model"),
}
CONFIGS = (
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
)
TOKENIZERS = (("tokenizer/vocab.json", "tokenizer/merges.txt"), ("tokenizer/tokenizer.json",))
VARIANTS = (None, "fp16")


@dataclass(frozen=True)
class Form:
    """How the weights of one network are stored.

    Attributes:
        safetensors: Or else `.bin`, pickles that are opened as weights only.
        variant: Infix of the names, such as "fp16"; None for none.
        files: In the folder; several where the weights are in shards.
    """

    safetensors: bool
    variant: str | None
    files: tuple[str, ...]


def form_of(part: str, names: Collection[str], variant: str | None = None) -> Form | None:
    """The best form in which a network is there.

    Safetensors come before `.bin`, whole precision before half; what was asked for comes first.

    Args:
        part: Of `PARTS`.
        names: All files, relative to the model's folder, with `/`.
        variant: That is wanted; a network that has it not is taken as it is.
    """
    for safetensors in (True, False):
        stem, ending = PARTS[part][not safetensors], "safetensors" if safetensors else "bin"
        for infix in dict.fromkeys((variant, *VARIANTS)):
            dot = f".{infix}" if infix else ""
            single = f"{part}/{stem}{dot}.{ending}"
            if single in names:
                return Form(safetensors, infix, (single,))
            index = f"{part}/{stem}.{ending}.index{dot}.json"
            if index in names:
                shards = [n for n in names if n.startswith(f"{part}/{stem}{dot}-") and n.endswith(ending)]
                shards += [
                    n for n in names if n.startswith(f"{part}/{stem}-") and n.endswith(f"{dot}.{ending}")
                ]
                return Form(safetensors, infix, (index, *sorted(set(shards))))
    return None


def missing_in(names: Collection[str]) -> tuple[str, ...]:
    """What a loader would miss among these files, in words; empty when the model is complete."""
    missing = [name for name in CONFIGS if name not in names]
    missing += [f"weights of {part}/" for part in PARTS if form_of(part, names) is None]
    if not any(all(name in names for name in files) for files in TOKENIZERS):
        missing.append("tokenizer/vocab.json with merges.txt, or tokenizer.json")
    return tuple(missing)


def files_of(names: Collection[str], source: str) -> list[str]:
    """The files of a repository that a loader reads, and none of its other forms.

    Args:
        names: All files of the repository.
        source: Its name, for the message.

    Raises:
        WeightsUnavailableError: It has not all that is needed.
        ConfigurationError: It is another kind of model, or a single file.
    """
    missing = missing_in(names)
    singles = [name for name in names if "/" not in name and name.endswith((".safetensors", ".ckpt"))]
    if "unet/config.json" not in names and singles:
        raise ConfigurationError(
            f"{source} holds a single file, {singles[0]}, and no folders: {how_to_convert(singles[0])}"
        )
    if missing:
        raise WeightsUnavailableError(f"{source} is not complete: it has no {', no '.join(missing)}")
    forms = [form for part in PARTS if (form := form_of(part, names)) is not None]
    small = [n for n in names if n.startswith("tokenizer/") and n.endswith((".json", ".txt"))]
    known = ("model_index.json", "edit_settings.json", "prompt_template.json")
    return sorted(
        {*CONFIGS, *small, *(n for n in known if n in names), *(f for form in forms for f in form.files)}
    )


def how_to_convert(file: str) -> str:
    """One sentence on making a folder of a model in one file."""
    command = f"P.from_single_file('{file}').save_pretrained('model')"
    return (
        "make a diffusers folder of it once, where the hub can be reached: python -c "
        f'"from diffusers import StableDiffusionPipeline as P; {command}", and give that folder'
    )
