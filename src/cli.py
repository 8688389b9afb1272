"""The one command line behind train.py and infer.py: LightningCLI with the project's settings."""

from __future__ import annotations

import inspect
import logging
import re
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from jsonargparse import set_parsing_settings
from jsonargparse.util import import_object
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from faceforward.callbacks.fit_output import NoAdvertisements, own_output
from faceforward.errors import ConfigurationError, FaceforwardError
from faceforward.launch import agree_with_launcher, launched
from faceforward.precision import has_bfloat16

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lightning import Trainer

logger = logging.getLogger(__name__)

# References between YAML files are resolved after all of them are read: see shared facts on `omegaconf+`.
set_parsing_settings(omegaconf_absolute_to_relative_paths=True)


def shipped_config(name: str) -> Path | None:
    """A YAML that travels with the package.

    Args:
        name: Relative to `configs/`, with or without that folder in front: `experiment/autoencoder.yaml`.
    """
    root = Path(str(resources.files("faceforward.configs")))
    candidate = root / name.removeprefix("configs/")
    return candidate if candidate.is_file() else None


TAKES_YAML = ("-c", "--config", "--data", "--model", "--trainer")


def resolve_configs(arguments: list[str]) -> list[str]:
    """Point what takes a YAML file at a shipped one where the folder here has none of that name.

    Raises:
        ConfigurationError: A file is not UTF-8, which the parser would end on with a traceback.
    """

    def found(value: str) -> str:
        shipped = shipped_config(value) if value.endswith(".yaml") and not Path(value).exists() else None
        path = Path(shipped or value)
        if path.suffix in (".yaml", ".yml", ".json") and path.is_file():
            refuse_other_encodings(path)
        return str(shipped or value)

    resolved = list(arguments)
    for index, argument in enumerate(resolved):
        option, equals, value = argument.partition("=")
        if option in TAKES_YAML and equals:
            resolved[index] = f"{option}={found(value)}"
        elif index and resolved[index - 1] in TAKES_YAML:
            resolved[index] = found(argument)
    return resolved


def refuse_other_encodings(path: Path) -> None:
    """See that a configuration is UTF-8.

    Raises:
        ConfigurationError: It is another encoding, such as Korean Windows' cp949 or UTF-16.
    """
    data = path.read_bytes()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{path} is not UTF-8 (line {line}); Windows' cp949 and UTF-16 cannot be read: save it as UTF-8, "
            "in Notepad by File, Save as, Encoding: UTF-8"
        ) from error


NAMED_CHECKPOINTS = ("best", "last", "hpc")  # which Lightning finds itself


def refuse_checkpoint(path: str) -> None:
    """See that a checkpoint is a file or folder here, and that its file holds weights and plain values only.

    Raises:
        ConfigurationError: It is not.
    """
    if "://" in path:
        raise ConfigurationError(f"--ckpt_path {path} is an address: download the file and give its path")
    if Path(path).is_dir():
        return  # of a sharded run: its strategy reads it
    from faceforward.modules.checkpoints import read_checkpoint  # late: `--help` need not pay for it

    read_checkpoint(Path(path))


@contextmanager
def own_errors() -> Iterator[None]:
    """Let what a class refuses come out as itself, not wrapped in the parser's error.

    Raises:
        FaceforwardError: A class cannot work with what it was given.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, FaceforwardError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise cause from None


class Parser(LightningArgumentParser):
    """Lightning's; where a `class_path` is of a package that is missing, its last words are the remedy."""

    #: Key -> what to say of it when it is missing or cannot be read, instead of the parser's own words.
    remedies: Mapping[str, str] = {}
    #: What people call an option -> its name, where the spelling does not tell.
    meant: Mapping[str, str] = {}
    #: What the help begins with: the options that people use, before all that there are.
    lead = ""

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """The help, with `lead` before the list of all options."""
        text: str = super().format_help(*args, **kwargs)
        start = text.find("\noptions:")
        return text if start < 0 or not self.lead else f"{text[:start]}\n{self.lead}{text[start:]}"

    def nearest(self, option: str) -> str | None:
        """The option that somebody may have meant."""
        name = option.removeprefix("--").replace("-", "_")
        if name in self.meant:
            return f"--{self.meant[name]}"
        known = [name for name in self._option_string_actions if name.startswith("--") and name[-1] != "+"]
        found = get_close_matches(f"--{name}", known, n=1, cutoff=0.7)
        section, dot, rest = name.partition(".")
        if dot and not (found and "." in found[0]):  # such as --modle.init_args.growth
            found = [f"{each}.{rest}" for each in get_close_matches(f"--{section}", known, n=1, cutoff=0.7)]
        return found[0] if found else None

    def setting(self, message: str) -> str | None:
        """What to say where a class has been given a setting that it does not take."""
        refused = re.search(r"class_path '([\w.]+)':\s+Option '(\w+)' is not accepted", message)
        if refused is None:
            return None
        takes = list(inspect.signature(import_object(refused[1])).parameters)
        near = get_close_matches(refused[2], takes, n=1, cutoff=0.6)
        end = f"Did you mean {near[0]}?" if near else f"It takes {', '.join(takes)}."
        return f"{refused[1].rpartition('.')[2]} has no setting {refused[2]!r}. {end}"

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Leave with status 2."""
        key = re.match(r'Parser key "([\w.]+)"', message)
        if key and key[1] in self.remedies and self.exit_on_error:
            given = re.findall(r"(?:Given value|Got value): (.*)", message)  # the outermost comes last
            what = f"cannot be {given[-1]}" if given and given[-1] != "None" else "is missing"
            message = f"--{key[1]} {what}: {self.remedies[key[1]]}"
        unknown = re.match(r"[Uu]nrecognized arguments: (--[\w.-]+)", message)
        if unknown and self.exit_on_error and (near := self.nearest(unknown[1])):
            message += f"\nDid you mean {near}?"
        if self.exit_on_error and (setting := self.setting(message)):
            message += f"\n{setting}"
        short = re.search(r"Expected a dot import path string: ([A-Z][a-z]\w+)$", message, re.MULTILINE)
        if short and short[1] != "None" and self.exit_on_error:
            message += (
                f"\nA class is named with its module, not {short[1]} alone, as in "
                "faceforward.diffusion.inversion.NullTextInversion"
            )
        if "must have DeepSpeed installed" in message and self.exit_on_error:
            message += (
                "\nThere is no package deepspeed here: pip install deepspeed on a machine with GPUs, or "
                "leave out -c configs/trainer/deepspeed.yaml; configs/trainer/ddp.yaml needs no such package"
            )
        missing = re.search(r"No module named '(\w+)", message)
        if missing and self.exit_on_error:  # nested parsers raise what the outermost says
            message += (
                f"\nThere is no package {missing[1]} here: if the class_path is spelt as you mean it, "
                f"pip install {missing[1]}"
            )
        super().error(message, ex)


class FaceforwardCLI(LightningCLI):
    """LightningCLI in subclass mode: a YAML names the module and the data it is about."""

    def __init__(self, **kwargs: Any) -> None:
        logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(NoAdvertisements())
        super().__init__(
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
            parser_class=Parser,
            parser_kwargs={"parser_mode": "omegaconf+"},
            **kwargs,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse `args` alone; Lightning would warn when the shell's own arguments are others.

        Raises:
            ConfigurationError: The checkpoint to go on from cannot be read; Lightning opens it next.
        """
        self.typed = [str(argument) for argument in args or ()]
        self.config = parser.parse_args(args)
        subcommand = self.config.get("subcommand")
        checkpoint = self.config[subcommand].get("ckpt_path") if subcommand else None
        if checkpoint is not None and checkpoint not in NAMED_CHECKPOINTS:
            refuse_checkpoint(str(checkpoint))

    def before_instantiate_classes(self) -> None:
        """Follow the launcher; take float32 instead of bfloat16 where the CPU would emulate it, and say so.

        Raises:
            ConfigurationError: torchrun or srun started other processes than the configuration asks for.
        """
        trainer = self.config[self.subcommand].trainer if self.subcommand else self.config.trainer
        agree_with_launcher(trainer, self.typed, launched())
        on_cpu = trainer.accelerator == "cpu" or (
            trainer.accelerator == "auto" and not torch.accelerator.is_available()
        )
        if on_cpu and str(trainer.precision).startswith("bf16") and not has_bfloat16():
            logger.warning(
                "this CPU has no bfloat16 instructions and would emulate them, ten times slower: "
                "trainer.precision is 32-true instead of %s",
                trainer.precision,
            )
            trainer.precision = "32-true"

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer; its bar and summary are the same whatever packages for terminals there are."""
        trainer = {**self._get(self.config_init, "trainer", default={}), **kwargs}
        named = trainer.get("callbacks") or []
        callbacks = [*(named if isinstance(named, list) else [named])]
        return super().instantiate_trainer(**kwargs, callbacks=[*callbacks, *own_output(trainer, callbacks)])

    def instantiate_classes(self) -> None:
        """Build module and data; what they refuse comes out as itself, not wrapped in the parser's error.

        Raises:
            FaceforwardError: A class cannot work with what it was given.
        """
        with own_errors():
            super().instantiate_classes()

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Nothing beyond Lightning's own; doors that have short flags add them."""
