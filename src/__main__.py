"""The `faceforward` command: from photographs to faces at other ages and heads from other sides."""

from __future__ import annotations

import importlib
import sys

from faceforward.version import __version__

USAGE = """usage: faceforward COMMAND ...

  infer age --photos PATH --target_ages '[20,40,60]' --output DIR
                      age every photograph; the same as infer.py -c configs/infer/age.yaml
  infer cameras --photos PATH --output DIR
                      EG3D's crop and camera of every photograph
  sample --generator NAME|FILE --seeds 0-3 --output DIR
                      heads from a 3D generator: views, turntables, depth, meshes
  train fit|validate|test -c CONFIG ...
                      the same as train.py
  export --checkpoint CKPT --config RUN/config.yaml --output DIR
                      a checkpoint of a training as a diffusers folder
  convert eg3d SOURCE.pkl OUTPUT.safetensors
                      weights that others published, read without running their code
  fit-mapping --pair DIR --crops PATH --output FILE.safetensors
                      make a tri-plane autoencoder's generator one that `sample` can use
  prepare aihub|folder|utkface|ffhq-aging --root PATH --output DIR
                      cut out the faces of a labelled collection, for training
  evaluate OUT ... --output DIR
                      measure and compare folders of aged pictures, by any program
  poster CASE --age N
                      a page to print: the photograph, an estimate, whom to call
  demo                age one public-domain photograph to several ages
  doctor              what is here, what is missing and how to get it
  download NAME       get weights (RetinaFace, Stable Diffusion)

Each command explains itself with --help.
"""
COMMANDS = {
    "infer": "faceforward.infer",
    "sample": "faceforward.commands.sample",
    "train": "faceforward.train",
    "export": "faceforward.commands.export",
    "convert": "faceforward.commands.convert",
    "fit-mapping": "faceforward.commands.fit_mapping",
    "prepare": "faceforward.commands.prepare",
    "evaluate": "faceforward.commands.evaluate",
    "poster": "faceforward.commands.poster",
    "demo": "faceforward.commands.demo",
    "doctor": "faceforward.commands.doctor",
    "download": "faceforward.commands.download",
}


def main(argv: list[str] | None = None) -> int:
    """Hand the rest of the command line to the command; exit status 2 for a wrong one."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        sys.stdout.write(f"faceforward {__version__}\n")
        return 0
    if arguments[0] not in COMMANDS:
        sys.stderr.write(f"faceforward: there is no command {arguments[0]!r}\n\n{USAGE}")
        return 2
    # Imported late: torch and Lightning take seconds that `--help` need not pay.
    return importlib.import_module(COMMANDS[arguments[0]]).main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
