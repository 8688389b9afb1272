"""The inference door: photographs in, a folder of results out."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from jsonargparse.util import import_object
from tqdm.contrib.logging import logging_redirect_tqdm

from faceforward.callbacks.photo_writer import PhotoWriter
from faceforward.cli import FaceforwardCLI, resolve_configs, shipped_config
from faceforward.datamodules.people import check_ages
from faceforward.errors import ConfigurationError, FaceforwardError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lightning.pytorch.cli import LightningArgumentParser

    from faceforward.cli import Parser

logger = logging.getLogger(__name__)

#: Short key, where its value goes. The parser ignores what is given for the long key: see `refuse_linked`.
LINKS = (
    ("photos", "data.init_args.photos"),
    ("face", "data.init_args.face"),
    ("age", "data.init_args.age"),
    ("gender", "data.init_args.gender"),
    ("recursive", "data.init_args.recursive"),
    ("target_ages", "model.init_args.target_ages"),
    ("output", "writer.init_args.output"),
    ("output", "data.init_args.output"),  # its folder is no photograph
    ("overwrite", "writer.init_args.overwrite"),
)
AGES = re.compile(r"\d+(,\s*\d+)*,?")
#: What the help begins with.
LEAD = """Options that people use:
  --photos PATH             a photograph, a folder of them, or a CSV that names them
  --recursive               with the photographs in the folders inside that folder
  --target_ages 20 40 60    the ages to show
  --age 7 --gender female   what is known of a single photograph; for several: photos.csv beside them
  --face 2                  which face of a photograph, 1 = the largest
  --output DIR              the folder for the results; what is in it stays, ages and photographs are added
  --overwrite               make anew the photographs and ages that are named
  --model.init_args.pretrained MODEL   a Stable Diffusion 1.x or 2.x, folder or name
  --model.init_args.lora FOLDER        what was trained over it
  --model.init_args.precision bfloat16 on a GPU: half the memory, several times as fast
  --trainer.accelerator cpu --trainer.devices 8    where to run
All options:
"""
#: What the parser's own words would not say of a key that is missing or cannot be read.
REMEDIES = {
    "photos": "give a photograph, a folder of them, or a CSV that names them",
    "target_ages": "give whole years, --target_ages '[20,40,60]'",
    "output": "give a folder for the results, --output out/",
    "face": "give a whole number, 1 = the largest face",
    "age": "give the age in the photograph in years, --age 7",
}
#: What writes the results where the YAML says nothing of it.
WRITER = "faceforward.callbacks.result_writer.ResultWriter"
SECTIONS = ("data", "model", "writer")  # whose value may be a YAML file


class InferCLI(FaceforwardCLI):
    """The command line with `predict` alone and short keys for what changes from run to run."""

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__(
            args=list(arguments), run=False, save_config_callback=None, seed_everything_default=False
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The short keys."""
        super().add_arguments_to_parser(parser)
        parser.prog = "infer.py" if Path(sys.argv[0]).name == "infer.py" else "faceforward infer"
        parser.usage = (
            f"{parser.prog} -c CONFIG --photos PATH [--target_ages 20 40 60] --output DIR "
            "[--age N] [--gender female|male] [--face N] [--recursive] [--overwrite] ..."
        )
        parser.description = (
            "Ages every photograph, or estimates its camera, as the configuration says. "
            "Exit status: 0 all have their result, 1 not all, 2 wrong usage."
        )
        cast("Parser", parser).remedies = REMEDIES
        cast("Parser", parser).lead = LEAD
        parser.add_lightning_class_args(PhotoWriter, "writer", subclass_mode=True)
        parser.set_defaults({"writer": {"class_path": WRITER}})
        parser.add_argument(
            "--photos",
            type=str,
            required=True,
            help="A photograph, a folder of them, or a CSV that names them.",
        )
        parser.add_argument(
            "--target_ages",
            type=list[int] | None,
            default=None,
            help="Ages to show, for example 20 40 60; needed where faces are aged.",
        )
        parser.add_argument("--output", type=str, required=True, help="Folder for the results.")
        parser.add_argument(
            "--face", type=int | None, default=None, help="Which face to take, 1 = the largest, the default."
        )
        parser.add_argument(
            "--age", type=float | None, default=None, help="Age in the one photograph, in years, if known."
        )
        parser.add_argument(
            "--gender", type=str | None, default=None, help="Gender of the person in it: female or male."
        )
        parser.add_argument(
            "--recursive", action="store_true", help="Also the photographs in folders inside --photos."
        )
        parser.add_argument(
            "--overwrite",
            action="store_true",
            help="Make anew the photographs and ages that are asked for; all else in the folder stays.",
        )
        for short, long in LINKS:
            parser.link_arguments(short, long)

    def before_instantiate_classes(self) -> None:
        """Refuse what cannot work before a model of gigabytes is loaded.

        Raises:
            ConfigurationError: A target age is out of range, missing or of no use, or there is nothing to
                read.
        """
        super().before_instantiate_classes()
        from transformers.utils.logging import disable_progress_bar  # late: `--help` need not pay for it

        disable_progress_bar()  # of loading weights: a second at most
        ages, wanted = self.config.target_ages, "target_ages" in self.config.model.init_args
        if wanted and ages is None:
            raise ConfigurationError("target ages are needed: --target_ages '[20,40,60]'")
        if ages is not None and not wanted:
            raise ConfigurationError(f"{self.config.model.class_path} has no use for --target_ages")
        if ages is not None:
            self.config.target_ages = list(check_ages(ages))
        if not self.config.output:
            raise ConfigurationError("--output is empty: give a folder for the results")
        listed = import_object(self.config.data.class_path).listed
        listed(self.config.photos, output=self.config.output, recursive=self.config.recursive)

    def predict(self) -> int:
        """Run over all photographs.

        Returns:
            0 when every photograph has its result, 1 when one has not; 0 on ranks other than the first, whose
            status counts for all.

        Raises:
            ConfigurationError: There are fewer photographs than processes.
        """
        photos, processes = len(self.datamodule.entries), self.trainer.num_devices * self.trainer.num_nodes
        size = self.datamodule.group or 1
        if -(-photos // size) < processes:
            groups = "" if size == 1 else f" in groups of {size}"
            raise ConfigurationError(
                f"{photos} photograph(s){groups} cannot be shared among {processes} processes; "
                f"set --trainer.devices {-(-photos // size)} --trainer.num_nodes 1 or fewer"
            )
        writer = self._get(self.config_init, "writer")
        try:
            with logging_redirect_tqdm():  # a message goes above the progress bar, not into it
                self.trainer.predict(self.model, self.datamodule, return_predictions=False)
        except SystemExit:  # so Lightning ends on Ctrl-C, and the writer on SIGTERM
            writer.stopped(self.trainer)
            logger.warning("stopped; what is complete is kept, and the same command goes on from there")
            raise
        if not self.trainer.is_global_zero:
            return 0
        done = sum(line["status"] == "done" for line in writer.lines.values())
        place = writer.output / writer.page
        logger.info("%d of %d photographs have %s: %s", done, photos, writer.contents, place)
        return int(done < photos)


def named_config(arguments: Sequence[str]) -> list[str]:
    """Replace a leading NAME by the shipped `infer/NAME.yaml`.

    Raises:
        ConfigurationError: There is no such YAML.
    """
    if not arguments or arguments[0].startswith("-"):
        return list(arguments)
    path = shipped_config(f"infer/{arguments[0]}.yaml")
    if path is None:
        folder = Path(str(resources.files("faceforward.configs"))) / "infer"
        names = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        raise ConfigurationError(f"there is no configuration {arguments[0]!r}; there are: {names}")
    return ["-c", str(path), *arguments[1:]]


def bracketed(arguments: Sequence[str]) -> list[str]:
    """Short keys and target ages as people type them, as the parser takes them.

    `--target-ages` is `--target_ages`; `20,40,60` and `20 40 60` are the list `[20,40,60]`.
    """
    short = {key for key, _ in LINKS}
    result: list[str] = []
    given = list(arguments)
    while given:
        option, equals, value = given.pop(0).partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if option.startswith("--") and name in short:
            option = f"--{name}"
        if option != "--target_ages":
            result.append(f"{option}{equals}{value}")
            continue
        ages = [value] if equals else []
        while given and AGES.fullmatch(given[0]) and all(AGES.fullmatch(each) for each in ages):
            ages.append(given.pop(0))
        if ages and all(AGES.fullmatch(each) for each in ages):
            listed = f"[{','.join(each.rstrip(',') for each in ages)}]"
            result += [f"{option}={listed}"] if equals else [option, listed]
        else:
            result += [f"{option}{equals}{value}"]
    return result


def refuse_linked(arguments: Sequence[str]) -> None:
    """Refuse the long form of a short key, on the command line and in YAML: the parser would ignore it.

    Raises:
        ConfigurationError: One is set.
    """
    long = {tuple(_short(key.split("."))): short for short, key in LINKS}
    for key, where in _given(arguments):
        short = long.get(tuple(_short(key)))
        if short is not None:
            raise ConfigurationError(
                f"{'.'.join(key)} ({where}) would be ignored; give it as --{short}, or as {short} at the top "
                "level of the YAML"
            )


def _short(key: Sequence[str]) -> list[str]:
    return [part for part in key if part != "init_args"]


def _given(arguments: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every key that is set, as its parts, and where: the command line or the YAML file."""
    for index, argument in enumerate(arguments):
        if not argument.startswith("-"):
            continue
        option, equals, text = argument.partition("=")
        if not option.startswith("--") and len(argument) > len("-c"):  # as in -cFILE
            option, text = argument[:2], argument[2:].removeprefix("=")
        elif not equals:
            text = arguments[index + 1] if index + 1 < len(arguments) else ""
        name = option.lstrip("-").rstrip("+")
        key = () if name in ("c", "config") else tuple(name.split("."))
        where = "on the command line"
        if key:
            yield key, where
        yield from _nested(key, _yaml(text), where)


def _nested(key: tuple[str, ...], value: Any, where: str) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str) and (not key or key[0] in SECTIONS):
        # A configuration or a section may be a file of any name; deeper down one is told by its suffix.
        if len(key) <= 1 or value.endswith((".yaml", ".yml", ".json")):
            content = _content(value)
            if not isinstance(content, str):
                yield from _nested(key, content, f"in {value}")
    elif isinstance(value, dict):
        for name, inner in value.items():
            longer = (*key, *str(name).split("."))
            yield longer, where
            yield from _nested(longer, inner, where)


def _content(file: str) -> Any:
    """What a YAML file holds; None where there is none."""
    try:
        return _yaml(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no such file, or no text: the parser says so
        return None


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None  # the parser says what is wrong with it


def main(argv: Sequence[str] | None = None) -> int:
    """Run `infer.py [NAME] [-c CONFIG] --photos PATH [--target_ages 20 40] --output DIR ...`.

    Returns:
        0 all photographs have their result, 1 at least one has not, 2 wrong usage.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Reading a photograph takes a hundredth of editing it: workers that read ahead would win nothing.
    warnings.filterwarnings("ignore", message="The 'predict_dataloader' does not have many workers")
    # Lightning 2.6 over torch 2.13; nothing that a user could change.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    try:
        given = sys.argv[1:] if argv is None else argv
        arguments = resolve_configs(named_config(bracketed(given)))
        refuse_linked(arguments)
        return InferCLI(arguments).predict()
    except FaceforwardError as error:
        sys.stderr.write(f"infer: {error}\n")
        return 2 if isinstance(error, ConfigurationError) else 1
