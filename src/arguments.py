"""What is typed behind `infer.py`: short keys, ages as people write them, words for what is wrong."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from faceforward.cli import shipped_config
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
#: What other programs call an option of this one.
MEANT = {
    **dict.fromkeys(("ages", "targets", "age_to", "target"), "target_ages"),
    **dict.fromkeys(("input", "images", "image", "img", "folder", "source", "photo_dir"), "photos"),
    **dict.fromkeys(("out_dir", "results", "save", "save_dir"), "output"),
    **dict.fromkeys(("sex", "male", "female"), "gender"),
    **dict.fromkeys(("force", "redo", "replace"), "overwrite"),
}
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
SECTIONS = ("data", "model", "writer")  # whose value may be a YAML file


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

    `--target-ages` and `--target_age` are `--target_ages`; `20,40,60` and `20 40 60` are `[20,40,60]`.
    """
    short = {key for key, _ in LINKS}
    result: list[str] = []
    given = list(arguments)
    while given:
        option, equals, value = given.pop(0).partition("=")
        name = option.removeprefix("--").replace("-", "_")
        name = "target_ages" if name == "target_age" else name
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
