"""`faceforward convert`: weights that others published, and camera labels, in another form."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from faceforward.datamodules.camera_labels import read_labels, write_labels
from faceforward.eg3d.checkpoint import load_generator, require_safetensors, save_generator
from faceforward.errors import ConfigurationError
from faceforward.goae.checkpoint import name_of, read_published, save_part


def convert_eg3d(source: Path, output: Path) -> None:
    """Write a generator of EG3D as safetensors with its configuration.

    Args:
        source: See `load_generator`, which runs nothing that is in it.
        output: New `.safetensors` file; it is there when it is complete. Its folder is made if need be.

    Raises:
        ConfigurationError: `output` exists or has another ending, or the source cannot be loaded.
        OSError: One of them cannot be read or written.
    """
    if output.exists():
        raise ConfigurationError(f"{output} exists: give the name of a new file")
    require_safetensors(output)
    generator = load_generator(source)
    _make_folder(output)
    save_generator(generator, output)


def convert_goae(source: Path, output: Path) -> None:
    """Write GOAE's encoder or AFA into a folder, beside what is there, as `load_goae` reads it.

    Args:
        source: `encoder_FFHQ.pt` or `afa_FFHQ.pt`; see `read_published`, which runs nothing that is in it.
        output: Folder, made if need be.

    Raises:
        ConfigurationError: The folder holds this part already or is a file, or the source is neither.
        OSError: One of them cannot be read or written.
    """
    if output.exists() and not output.is_dir():
        raise ConfigurationError(f"{output} is a file: give a folder, for encoder and AFA together")
    network = read_published(source)
    path = output / name_of(network)
    if path.exists():
        raise ConfigurationError(f"{path} exists: give another folder, or move it away")
    _make_folder(path)
    save_part(network, output)


def convert_labels(source: Path, output: Path) -> None:
    """Write camera labels in the form that the output's name asks for.

    Args:
        source: See `read_labels`.
        output: New file or folder, see `write_labels`.

    Raises:
        ConfigurationError: `output` exists or asks for no known form, or the source is no labels.
        OSError: It cannot be written.
    """
    if output.exists():
        raise ConfigurationError(f"{output} exists: give a new name")
    labels = read_labels(source)
    _make_folder(output)
    write_labels(labels, output)


def _make_folder(output: Path) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{output} cannot be written: {error}") from error


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "eg3d": convert_eg3d,
    "goae": convert_goae,
    "labels": convert_labels,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="faceforward convert",
        description="Read published weights without running any code in them, check every tensor, and write "
        "them as safetensors. Camera labels: read in any form that is passed around, and written in another.",
    )
    parser.add_argument(
        "kind",
        choices=KINDS,
        help="eg3d: NVIDIA's .pkl, or a state dict under its names; goae: "
        "encoder_FFHQ.pt or afa_FFHQ.pt of GOAE's authors; labels: dataset.json, label.json, "
        "cameras.json or .npy",
    )
    parser.add_argument("source", type=Path, help="the published file; of labels a folder as well")
    parser.add_argument(
        "output",
        type=Path,
        help="new .safetensors file; of goae a folder, one for both files; of labels a .json (named "
        "cameras.json in that form) or a folder of .npy",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `faceforward convert KIND SOURCE OUTPUT`.

    Returns:
        0 and the file is there, or 2 and nothing is.
    """
    try:
        options = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has said why; 0 after --help
        return int(stop.code or 0)
    try:
        KINDS[options.kind](options.source, options.output)
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"faceforward convert: {error}\n")
        return 2
    sys.stdout.write(f"{options.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
