"""LoRAs (arXiv 2106.09685) in the forms that people have: read, added to a model's weights, and written."""

from __future__ import annotations

import json
import pickle
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from faceforward.errors import ConfigurationError, WeightsUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers import UNet2DConditionModel
    from torch import nn

LORA_FILE = "pytorch_lora_weights.safetensors"
LORA_NAME = "faceforward"
PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
#: Files of a folder, the first that is there is taken.
FILES = (LORA_FILE, PEFT_FILE, "pytorch_lora_weights.bin", "adapter_model.bin")
BASE_FILE = "lora_base.json"  # beside a LoRA that was trained here: what it was trained on
TEXT_PROJECTIONS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
UNET_BLOCKS = ("down_blocks.", "mid_block.", "up_blocks.", "conv_in.", "conv_out.", "time_embedding.")
SAMPLED = 1024  # values of each tensor that tell one base from another


def add_lora(unet: UNet2DConditionModel, path: Path, text_encoder: nn.Module | None = None) -> None:
    """Add a LoRA to the weights of a model, at its own strength; all of it or nothing.

    diffusers' and kohya's files, their older names, and PEFT's folders are known, as safetensors, or as
    `.bin` that holds weights only.

    Args:
        unet: Of the model that the LoRA was trained on.
        path: The file, or the folder that holds it.
        text_encoder: For a LoRA that has learnt there, too.

    Raises:
        WeightsUnavailableError: The file is missing or cannot be read.
        ConfigurationError: The LoRA is of another model, or something in it cannot be applied.
    """
    file = _file(path)
    try:
        state, alphas, metadata = _converted(_tensors(file), unet.config, _metadata(file))
    except (RuntimeError, ValueError, KeyError) as error:
        raise ConfigurationError(f"the LoRA {str(file)!r} cannot be read: {error}") from error
    changes = []
    for prefix, network in (("unet", unet), ("text_encoder", text_encoder)):
        mine = {k.removeprefix(f"{prefix}."): state.pop(k) for k in list(state) if k.startswith(f"{prefix}.")}
        if mine and network is None:
            raise ConfigurationError(
                f"the LoRA {str(file)!r} has weights of a text encoder, and none is given"
            )
        own = {k.removeprefix(f"{prefix}."): v for k, v in alphas.items() if k.startswith(f"{prefix}.")}
        said = {k.removeprefix(f"{prefix}."): v for k, v in metadata.items() if k.startswith(f"{prefix}.")}
        if network is not None:
            changes += _changes(network, mine, own, said, str(file))
    if state:
        raise ConfigurationError(
            f"the LoRA {str(file)!r} holds {len(state)} weights that cannot be applied to a Stable Diffusion "
            f"1.x or 2.x, such as {next(iter(state))}: it is of another model or kind (LoHa, LoKr, DoRA)"
        )
    if not changes:
        raise ConfigurationError(f"the LoRA {str(file)!r} has no weights for a UNet or text encoder")
    with torch.no_grad():
        for weight, change in changes:
            weight += change.to(weight.device, weight.dtype)


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = next((path / name for name in FILES if (path / name).is_file()), None)
    others = sorted(path.glob("*.safetensors"))
    if found is None and len(others) == 1:
        return others[0]
    if found is None:
        raise WeightsUnavailableError(
            f"the LoRA {str(path)!r} cannot be read: the folder has none of {', '.join(FILES)}; give the "
            "file itself"
        )
    return found


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        if file.suffix in (".bin", ".pt", ".pth", ".ckpt"):
            state = torch.load(file, map_location="cpu", weights_only=True)
            if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
                raise ValueError("it holds something else than tensors by name")
            return state
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsUnavailableError(f"the LoRA {str(file)!r} cannot be read: {reason}") from error


def _metadata(file: Path) -> dict[str, Any]:
    """What says how strong it is: diffusers' header, or PEFT's file beside it."""
    config = file.parent / PEFT_CONFIG
    try:
        if file.stem.startswith("adapter_model") and config.is_file():
            return {f"unet.{k}": v for k, v in json.loads(config.read_text(encoding="utf-8")).items()}
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                header = opened.metadata() or {}
            return dict(json.loads(header.get("lora_adapter_metadata", "{}")))
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"the strength of the LoRA {str(file)!r} cannot be read: {error}") from error
    return {}


def _converted(
    tensors: dict[str, torch.Tensor], unet_config: Any, metadata: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, float], dict[str, Any]]:
    """All forms as `PREFIX.MODULE.lora_A.weight`, with the strengths that kohya's files hold."""
    from diffusers import StableDiffusionPipeline  # late: half a second that edits without LoRA do without

    if any("dora_scale" in name or ".hada_" in name or ".lokr_" in name for name in tensors):
        return tensors, {}, metadata  # refused by name
    if any(name.startswith("base_model.model.") for name in tensors):
        tensors = {f"unet.{name.removeprefix('base_model.model.')}": t for name, t in tensors.items()}
    elif any(name.startswith(UNET_BLOCKS) for name in tensors):
        tensors = {f"unet.{n}" if n.startswith(UNET_BLOCKS) else n: t for n, t in tensors.items()}
    state, alphas = StableDiffusionPipeline.lora_state_dict(dict(tensors), unet_config=unet_config)
    strengths = {
        _module(_peft_name(name.removesuffix(".alpha"))): float(alpha)
        for name, alpha in (alphas or {}).items()
    }
    for name in [name for name in state if name.endswith(".alpha")]:
        strengths[name.removesuffix(".alpha")] = float(state.pop(name))
    return {_peft_name(name): tensor for name, tensor in state.items()}, strengths, metadata


def _peft_name(name: str) -> str:
    """PEFT's name of a matrix that has one of diffusers' older names."""
    for direction, letter in (("down", "A"), ("up", "B")):
        for old in (f".lora.{direction}.", f".lora_linear_layer.{direction}.", f"_lora.{direction}."):
            if old not in name:
                continue
            module, _, rest = name.partition(old)
            module = module.replace(".processor.", ".")
            block, _, last = module.rpartition(".")
            if name.startswith("text_encoder."):
                last = TEXT_PROJECTIONS.get(last, last)
            elif last == "to_out":
                last = "to_out.0"
            return f"{block}.{last}.lora_{letter}.{rest}"
    return name


def _module(name: str) -> str:
    return name.partition(".lora_")[0]


def _changes(
    network: nn.Module,
    state: dict[str, torch.Tensor],
    alphas: Mapping[str, float],
    said: Mapping[str, Any],
    file: str,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weights of a network and what is to be added to each: alpha / rank * B A."""
    modules = {_plain(name): module for name, module in network.named_modules()}
    strengths = {_plain(name): alpha for name, alpha in alphas.items()}
    halves: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        module, _, kind = name.replace("._orig_mod", "").partition(".lora_")
        halves.setdefault(_plain(module), {})[kind.partition(".")[0]] = tensor
    changes = []
    for name, pair in halves.items():
        weight = getattr(modules.get(name), "weight", None)
        if weight is None or set(pair) != {"A", "B"}:
            what = f"nothing called {name} here" if weight is None else f"no pair of matrices for {name}"
            raise ConfigurationError(f"the LoRA {file!r} is of another model: there is {what}")
        down, up = pair["A"].float(), pair["B"].float()
        rank = down.shape[0]
        alpha = strengths.get(name)
        if alpha is None:
            patterns = said.get("alpha_pattern") or {}
            alpha = next((v for k, v in patterns.items() if name.endswith(_plain(k))), said.get("lora_alpha"))
        scale = 1.0 if alpha is None else float(alpha) / (rank**0.5 if said.get("use_rslora") else rank)
        if up.flatten(1).shape[1] != rank or up.shape[0] * down[0].numel() != weight.numel():
            raise ConfigurationError(
                f"the LoRA {file!r} is of another model: {name} is {tuple(weight.shape)} here, and its "
                f"matrices are {tuple(up.shape)} and {tuple(down.shape)}"
            )
        changes.append((weight, (scale * (up.flatten(1) @ down.flatten(1))).reshape(weight.shape)))
    return changes


def _plain(name: str) -> str:
    """Names of CLIP with and without `text_model.`, as versions of transformers differ."""
    return name.removeprefix("text_model.")


def save_lora(unet: UNet2DConditionModel, folder: Path, *, base: str | None = None) -> None:
    """Write the LoRA of a UNet that is being trained as the file that diffusers and `add_lora` read.

    Args:
        unet: With an adapter `LORA_NAME`.
        folder: Where `pytorch_lora_weights.safetensors` goes, and what it was trained on.
        base: Folder, hub id or registry name of the model under it; None writes nothing about it.
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
    if base is not None:
        facts = {"name": Path(base).name if Path(base).is_dir() else base, "folder": Path(base).is_dir()}
        facts |= {"fingerprint": base_fingerprint(unet)}
        (folder / BASE_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def base_fingerprint(unet: nn.Module) -> str | None:
    """One hash of some values of each weight under a LoRA, as float16; None where they are coarser."""
    digest = sha256()
    for name, tensor in sorted(unet.state_dict().items()):
        if ".lora_" in name:
            continue
        if tensor.dtype not in (torch.float32, torch.float16):
            return None
        values = tensor.detach().reshape(-1)[:SAMPLED].half().cpu()
        digest.update(f"{name.replace('.base_layer', '')} {tuple(tensor.shape)}".encode())
        digest.update(values.view(torch.uint8).numpy())
    return digest.hexdigest()


def base_of(lora: str | Path | None) -> dict[str, Any]:
    """What is said beside a LoRA about the model that it was trained on; nothing where nothing is."""
    if lora is None:
        return {}
    path = Path(lora)
    try:
        facts = json.loads(((path if path.is_dir() else path.parent) / BASE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and isinstance(facts.get("name"), str) else {}


def base_to_load(pretrained: str | None, lora: str | Path | None, usual: str) -> str:
    """The model under a LoRA: the one that was asked for, else the one that it was trained on.

    Args:
        pretrained: What the user gave.
        lora: Folder or file of the LoRA, or None.
        usual: What is taken without a LoRA, and for one that does not say what it was trained on.

    Raises:
        ConfigurationError: It was trained on a folder, whose place is not written down.
    """
    facts = base_of(lora)
    if pretrained is not None or not facts:
        return pretrained or usual
    if facts.get("folder"):
        raise ConfigurationError(
            f"the LoRA {str(lora)!r} was trained on the folder {facts['name']!r}: give its path as "
            "--model.init_args.pretrained"
        )
    return str(facts["name"])


def refuse_other_base(unet: nn.Module, lora: str | Path, source: str) -> None:
    """Compare a model with the one that a LoRA was trained on, if that is known.

    Raises:
        ConfigurationError: It is another one.
    """
    facts = base_of(lora)
    known, here = facts.get("fingerprint"), base_fingerprint(unet)
    if known and here and known != here:
        raise ConfigurationError(
            f"the LoRA {str(lora)!r} was trained on {facts['name']!r}, and {source!r} has other weights: the "
            "pictures would be of neither. Give that model as --model.init_args.pretrained"
        )
