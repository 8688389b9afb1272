"""Weights by their names in the registry: where they lie on this machine, and whether they are whole."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from safetensors import SafetensorError, safe_open

from faceforward.diffusion.weight_files import files_of, missing_in
from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.registry import GENERATORS, REGISTRY, Weights, entry

UNET = "unet/config.json"  # which every diffusers folder has
EMBEDDED = Path(__file__).parent / "weights"  # of what travels with the package


def embedded_model() -> Path:
    """Return the folder of the diffusion model that travels with the package; it may not exist yet."""
    return EMBEDDED / "face-ldm-128"


def locate(weights: str | Weights) -> Path | None:
    """Say where weights lie on this machine, without fetching or importing anything.

    Args:
        weights: Registry name or entry.

    Returns:
        The file of a `url` entry, the folder that holds `files` for the others; None when it is not complete.
    """
    item = weights if isinstance(weights, Weights) else entry(weights)
    folder = folder_of(item)
    if folder is None:
        return None
    if item.kind == "hub":  # a model is complete when its loader can read it, in whatever form it is stored
        return folder if not missing_in(_names(folder)) else None
    if not all((folder / name).is_file() for name in item.files):
        return None
    return folder / item.files[0] if item.kind == "url" else folder


def require(weights: str | Weights) -> Path:
    """Return what `locate` finds.

    Raises:
        WeightsUnavailableError: It is not on this machine; the message says how to get it.
    """
    item = weights if isinstance(weights, Weights) else entry(weights)
    path = locate(item)
    if path is None:
        raise WeightsUnavailableError(f"the weights {item.name} are not on this machine: {item.how}")
    return path


def resolve(source: str) -> str:
    """Return the folder of a registered model whose weights are here; folders and hub ids stay what they are.

    Raises:
        WeightsUnavailableError: The registry knows the name, but its weights are not on this machine.
    """
    known = source in REGISTRY and not Path(source).exists()
    return str(require(source)) if known else source


def generator_file(source: str) -> Path:
    """Return the file of a 3D generator that the registry knows, or the path that was given instead.

    Raises:
        ConfigurationError: The registry's weights of this name are no 3D generator.
        WeightsUnavailableError: It knows the generator, which is not on this machine.
    """
    if source not in REGISTRY or Path(source).is_file():
        return Path(source)
    if source not in GENERATORS:
        raise ConfigurationError(f"{source} is no 3D generator: give a file, or {' or '.join(GENERATORS)}")
    return require(source) / entry(source).files[0]


def damaged_files(weights: str | Weights) -> tuple[str, ...]:
    """Compare the files of present weights with their known digests, and look at the others' headers.

    Returns:
        The names of the files that differ, and of `.safetensors` files that are none or are cut off; empty
        when all agree, as far as can be known.
    """
    item = weights if isinstance(weights, Weights) else entry(weights)
    folder = folder_of(item)
    if folder is None or locate(item) is None:
        return ()
    differing = [name for name, digest in item.sha256.items() if sha256_of(folder / name) != digest]
    files = files_of(_names(folder), item.name) if item.kind == "hub" else item.files
    tensors = [name for name in files if name.endswith(".safetensors") and name not in item.sha256]
    return (*differing, *(name for name in tensors if not _is_safetensors(folder / name)))


def _names(folder: Path) -> set[str]:
    """Files of a model's folder and of its parts, as a repository names them."""
    return {p.relative_to(folder).as_posix() for p in (*folder.glob("*"), *folder.glob("*/*")) if p.is_file()}


def _is_safetensors(path: Path) -> bool:
    """Whether the header can be read and the file is as long as it says."""
    try:
        with safe_open(path, framework="pt"):
            return True
    except (SafetensorError, OSError):
        return False


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_of(item: Weights) -> Path | None:
    """The folder in which the files of an entry lie, or would lie; None where no such folder is known."""
    if item.kind == "shipped":
        return EMBEDDED / item.name
    if item.kind == "package":
        package, _, inside = item.source[0].partition("/")
        spec = importlib.util.find_spec(package)  # finds a top-level package without running it
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0]) / inside
    if item.kind == "hub":
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(item.source[0], UNET)
        return Path(cached).parents[1] if isinstance(cached, str) else None
    return item.folder() if item.folder is not None else None
