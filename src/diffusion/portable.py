"""A diffusers folder that all versions of transformers read alike: CLIP's names, its tokenizer's files."""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from faceforward.atomic import atomic_file
from faceforward.diffusion.vocabulary import unpack_tokenizer
from faceforward.diffusion.weight_files import form_of

PREFIX = "text_model."
OTHERS = ("text_projection.",)  # of CLIP models that stand outside of the text model


def make_portable(folder: Path) -> list[str]:
    """Give a model's text encoder the names, and its tokenizer the files, that all versions know.

    transformers 5.6 and later write a CLIP text model without `text_model.` in its names, and its tokenizer
    as `tokenizer.json` alone. Versions before find none of their names in it and make the weights up without
    an error, and versions 4 want `vocab.json` and `merges.txt`. The names here are those of Stable
    Diffusion's own files, which all versions read.

    Args:
        folder: diffusers folder of a Stable Diffusion.

    Returns:
        The files that were changed, relative to it.

    Raises:
        OSError: It cannot be written.
    """
    changed = []
    names = {path.relative_to(folder).as_posix() for path in folder.glob("text_encoder/*")}
    form = form_of("text_encoder", names)
    for name in form.files if form is not None and form.safetensors else ():
        path = folder / name
        if path.suffix != ".safetensors":
            continue
        with safe_open(path, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no mapping
        if all(key.startswith((PREFIX, *OTHERS)) for key in tensors):
            continue
        longer = {
            key if key.startswith((PREFIX, *OTHERS)) else f"{PREFIX}{key}": tensor.contiguous()
            for key, tensor in tensors.items()
        }
        with atomic_file(path) as partial:
            save_file(longer, partial, metadata={"format": "pt"})
        changed.append(name)
    tokenizer = folder / "tokenizer"
    if (tokenizer / "tokenizer.json").is_file() and not (tokenizer / "vocab.json").is_file():
        unpack_tokenizer(tokenizer)
        changed += ["tokenizer/vocab.json", "tokenizer/merges.txt"]
    return changed


def main() -> int:
    """Run `python -m faceforward.diffusion.portable FOLDER ...` over models that are there already."""
    for name in sys.argv[1:]:
        changed = make_portable(Path(name))
        sys.stdout.write(f"{name}: {', '.join(changed) or 'nothing to change'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
