"""The inference door: photographs in, a folder of results out."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jsonargparse.util import import_object
from tqdm.contrib.logging import logging_redirect_tqdm

from faceforward.arguments import LEAD, LINKS, MEANT, REMEDIES, bracketed, named_config, refuse_linked
from faceforward.callbacks.photo_writer import PhotoWriter
from faceforward.cli import FaceforwardCLI, resolve_configs
from faceforward.datamodules.people import check_ages
from faceforward.errors import ConfigurationError, FaceforwardError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning.pytorch.cli import LightningArgumentParser

    from faceforward.cli import Parser

logger = logging.getLogger(__name__)

#: What writes the results where the YAML says nothing of it.
WRITER = "faceforward.callbacks.result_writer.ResultWriter"


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
        cast("Parser", parser).remedies, cast("Parser", parser).meant = REMEDIES, MEANT
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
