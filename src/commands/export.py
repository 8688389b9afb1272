"""`faceforward export`: any checkpoint of a training as a diffusers folder."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentError, ArgumentParser
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from yaml import YAMLError

from faceforward.callbacks.ema import EMA
from faceforward.callbacks.fingerprint import Fingerprint, facts_of, refuse_other
from faceforward.callbacks.folders import write_export
from faceforward.cli import own_errors, resolve_configs
from faceforward.errors import ConfigurationError
from faceforward.modules.base import TrainedModule
from faceforward.modules.checkpoints import read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence


def module_of(config: Path) -> TrainedModule:
    """The module that a training's YAML describes, with the weights that it started from.

    Args:
        config: `config.yaml` of the run, or the YAML of its experiment.

    Raises:
        ConfigurationError: The file is none, or the module cannot be made as it says.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(TrainedModule, "model", required=True)
    try:
        model = OmegaConf.to_container(OmegaConf.load(config).model, resolve=True)
        parsed = parser.parse_object({"model": model})
    except (OSError, YAMLError, OmegaConfBaseException, TypeError, ArgumentError) as error:
        raise ConfigurationError(
            f"{config} does not describe the model of a training: {error}. Give the config.yaml that "
            "train.py wrote beside the run's figures"
        ) from error
    with own_errors():
        return parser.instantiate_classes(parsed).model


def averages(config: Path) -> bool:
    """Whether a training's YAML, which `module_of` has read, has an average (EMA) among its callbacks."""
    found = OmegaConf.select(OmegaConf.load(config), "trainer.callbacks")
    callbacks = found if isinstance(found, ListConfig) else [found]
    names = [c.get("class_path") if isinstance(c, DictConfig) else c for c in callbacks]
    return any(str(name).rpartition(".")[2] == EMA.__name__ for name in names)


def export_checkpoint(checkpoint: Path, config: Path, output: Path, *, live: bool = False) -> dict[str, Any]:
    """Write the weights of a checkpoint in the form that `PipelineExport` writes.

    A Stable Diffusion directory for plain diffusers, a file for `load_lora_weights` where a LoRA was trained,
    an `AutoencoderKL` directory for an autoencoder. The frozen parts are those that the configuration names.

    Args:
        checkpoint: See `read_checkpoint`, which runs nothing that is in it.
        config: See `module_of`.
        output: New folder; it is there when it is complete.
        live: The weights as they are instead of their average (EMA), which a run without one has anyway.

    Returns:
        What `training.json` in the folder says: `step`, `epoch`, `weights`.

    Raises:
        ConfigurationError: `output` exists, the checkpoint is missing, damaged, of another model or without
            the average that its run keeps, or the configuration is no training's.
        OSError: The folder cannot be written.
        SafetensorError: The same.
    """
    if output.exists():
        raise ConfigurationError(f"{output} exists: give a new folder as --output")
    saved = read_checkpoint(checkpoint)
    module = module_of(config)
    callbacks = saved.get("callbacks", {})
    average = callbacks.get(EMA().state_key)
    live = live or not (average or averages(config))
    if not live and not average:
        raise ConfigurationError(
            f"there is no average (EMA) in {checkpoint}, and {config} has one: --live exports its weights as "
            "they are"
        )
    module.on_load_checkpoint(saved)
    refuse_other(callbacks.get(Fingerprint().state_key, {}), facts_of(module))
    module.load_state_dict(saved["state_dict"], strict=False)  # complete, as far as it was trained
    if not live:
        EMA().put(module, average)
    facts = {
        "step": saved.get("global_step"),
        "epoch": saved.get("epoch"),
        "weights": "live" if live else "average",
    }
    write_export(module, output, facts)
    return facts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="faceforward export",
        description="Write a checkpoint of train.py as a folder that infer.py and plain diffusers load (a "
        "LoRA: load_lora_weights). Run it where the training ran: the configuration's paths begin there.",
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help=".ckpt file, or folder of a sharded one (FSDP)"
    )
    parser.add_argument("--config", type=Path, required=True, help="config.yaml of the run")
    parser.add_argument("--output", type=Path, required=True, help="new folder")
    parser.add_argument(
        "--live",
        action="store_true",
        help="the weights as they are, not their average (EMA); a run without EMA has no others",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `faceforward export --checkpoint CKPT --config RUN/config.yaml --output FOLDER [--live]`.

    Returns:
        0; 1 when the folder could not be written, 2 when the checkpoint cannot be exported as asked.
    """
    try:
        options = _parser().parse_args(resolve_configs(list(sys.argv[1:] if argv is None else argv)))
    except SystemExit as stop:  # argparse has said why; 0 after --help
        return int(stop.code or 0)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        facts = export_checkpoint(options.checkpoint, options.config, options.output, live=options.live)
    except ConfigurationError as error:
        sys.stderr.write(f"faceforward export: {error}\n")
        return 2
    except (OSError, SafetensorError) as error:
        sys.stderr.write(
            f"faceforward export: {options.output} cannot be written: {error}. Make room there, or give "
            "another --output\n"
        )
        return 1
    sys.stdout.write(f"{options.output}: step {facts['step']}, {facts['weights']} weights\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
