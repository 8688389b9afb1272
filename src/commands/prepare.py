"""`faceforward prepare`: a labelled collection as aligned crops, FADING's array of ages and an index."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from faceforward.atomic import atomic_file, remove_leftovers
from faceforward.datamodules.crop_writer import CropWriter, Journal
from faceforward.datamodules.face_crops import CropMaker, Cut
from faceforward.datamodules.index import INDEX, require_arrow, write_index
from faceforward.datamodules.packed import pack
from faceforward.datamodules.sources import PADDING, REJECTED, collect, write_rejected
from faceforward.datamodules.splits import SPLITS, Filters, split_by_identity
from faceforward.datamodules.stored_files import Rejection
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceforward.datamodules.sources import LabelledPhoto, Source
    from faceforward.datamodules.splits import Split

logger = logging.getLogger(__name__)

IMAGES, AGES, JOURNAL = "training_images", "training_ages.npy", ".prepare.jsonl"
#: Collection -> how its faces are cut out unless the user says otherwise.
COLLECTIONS: dict[str, Cut] = {"aihub": "ffhq", "folder": "none", "utkface": "detector", "ffhq-aging": "none"}


def source_of(collection: str, root: Path) -> Source:
    """The reader of a collection."""
    # Imported late: these modules know Lightning, which the processes that cut out need not load.
    from faceforward.datamodules.aihub import AIHubSource
    from faceforward.datamodules.filename_labels import FFHQAgingSource, UTKFaceSource
    from faceforward.datamodules.labelled_folder import FolderSource

    sources: tuple[type[Source], ...] = (AIHubSource, FolderSource, UTKFaceSource, FFHQAgingSource)
    return {kind.name: kind for kind in sources}[collection](root)  # type: ignore[call-arg]


def prepare(
    source: Source,
    root: Path,
    output: Path,
    *,
    size: int = 512,
    alignment: Cut = "ffhq",
    min_face: int | None = None,
    suffix: str = ".jpg",
    filters: Filters | None = None,
    splits: Sequence[Split] = SPLITS,
    val_share: float = 0.05,
    test_share: float = 0.05,
    processes: int = 1,
    archive: Path | None = None,
) -> tuple[int, int]:
    """Write crops, ages, index and rejections of a collection; crops that are there are not made again.

    Crops are made in an order that has nothing to do with their names, so that what a stopped run leaves is a
    fair part of the collection.

    Args:
        source: Reads the collection.
        root: Where the collection is; nothing is ever written there.
        output: Folder for the result: new, or of an earlier run.
        size: Side of the crops.
        alignment: See `CropMaker`.
        min_face: See `CropMaker`.
        suffix: `.jpg` (quality 95) or `.png`.
        filters: Which photographs are used; None uses all.
        splits: Which of train, val and test are written.
        val_share: See `split_by_identity`.
        test_share: See `split_by_identity`.
        processes: That decode and cut out.
        archive: Zip that everything is packed into at the end; see `pack`.

    Returns:
        Crops and rejections.

    Raises:
        ConfigurationError: The collection cannot be used as asked, or `output` is something else.
        OSError: The result cannot be written.
    """
    require_arrow()
    images, journal_file = output / IMAGES, output / JOURNAL
    inside, outside = output.resolve(), root.resolve()
    if inside == outside or outside in inside.parents:
        raise ConfigurationError(f"--output {output} lies in --root {root}: give a folder elsewhere")
    if output.exists() and not journal_file.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigurationError(
            f"--output {output} is there and was not made by faceforward prepare: give a new or empty folder"
        )
    photos, rejected = collect(source.read(), str(root))
    divided = split_by_identity(
        photos, val_share=val_share, test_share=test_share, filters=filters or Filters()
    )
    chosen = [(photo, split) for split in splits for photo in divided[split]]
    if not chosen:
        raise ConfigurationError(f"no photograph of {root} is in {', '.join(splits)}: ask for other --splits")

    padding = output / PADDING
    for folder in (images, padding):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    journal_file.touch()
    journal = Journal(journal_file)
    writer = CropWriter(images, CropMaker(size, alignment, min_face), suffix, padding)
    missing = [photo for photo, _ in chosen if not journal.done(writer, photo)]
    missing.sort(key=lambda photo: photo.key)
    if len(missing) < len(chosen):
        logger.info("%d of %d crops are there already", len(chosen) - len(missing), len(chosen))
    bad: dict[str, Rejection] = {}
    with closing(writer.write_all(missing, processes)) as results:
        bar = tqdm(zip(missing, results, strict=True), total=len(missing), desc="crops", unit="photo")
        for photo, made in bar:
            if isinstance(made, Rejection):
                bad[photo.name] = made
            else:
                journal.add(writer, photo, made)
    chosen = [(photo, split) for photo, split in chosen if photo.name not in bad]
    chosen.sort(key=lambda pair: pair[0].name)
    files = [writer.file_of(photo) for photo, _ in chosen]
    rows = [
        _row(photo, split, source.name, file, journal.lines[file]["made"])
        for (photo, split), file in zip(chosen, files, strict=True)
    ]
    journal.keep(set(files), images, padding)
    _write_ages(output / AGES, [(row["name"], str(row["age"])) for row in rows])
    write_index(output / INDEX, rows)
    write_rejected(output / REJECTED, [*rejected, *bad.values()], len(rows))
    if archive is not None:
        pack(archive, rows, images, padding)
    others = len({path.name for path in images.iterdir()} - set(files))
    if others:
        logger.warning("%s holds %d files that this command did not make; they have no label", images, others)
    return len(rows), len(rejected) + len(bad)


def _row(photo: LabelledPhoto, split: Split, source: str, file: str, made: dict[str, Any]) -> dict[str, Any]:
    return {
        **made,
        "name": file,
        "age": photo.age,
        "gender": photo.gender,
        "identity": photo.identity,
        "split": split,
        "source": source,
        "device": photo.device,
        "original": photo.file.shown,
    }


def _write_ages(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    """FADING's array, as wide as the longest name: a fixed `<U21` would cut AI Hub's names."""
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, np.array(rows, dtype=str).reshape(-1, 2), allow_pickle=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="faceforward prepare",
        description="Cut out every face of a labelled collection: training_images/, training_ages.npy, "
        "index.parquet and rejected.csv. The same command goes on after an interruption. Exit status: 0 all "
        "photographs have their crop, 1 some were rejected, 2 wrong usage.",
    )
    parser.add_argument("collection", choices=COLLECTIONS)
    parser.add_argument("--root", type=Path, required=True, help="the collection; never written to")
    parser.add_argument("--output", type=Path, required=True, help="folder for the result")
    parser.add_argument("--size", type=int, default=512, help="side of the crops (default: %(default)s)")
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg", help="default: %(default)s")
    parser.add_argument("--processes", type=int, default=_processors(), help="default: %(default)s")
    parser.add_argument(
        "--alignment",
        choices=get_args(Cut),
        help="ffhq: FFHQ's crop by the labels' landmarks; detector: by a detector's; none: square pictures "
        f"as they are (default: {', '.join(f'{name} {cut}' for name, cut in COLLECTIONS.items())})",
    )
    parser.add_argument(
        "--detector", dest="alignment", action="store_const", const="detector", help="as --alignment detector"
    )
    parser.add_argument(
        "--min-face",
        type=int,
        help="of close-ups enlarged to 256 pixels (60 for UTKFace): MTCNN looks for no smaller one, which "
        "takes half the time",
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        choices=SPLITS,
        default=SPLITS,
        help="default: all three; give train alone for a program that trains on all of training_ages.npy",
    )
    parser.add_argument("--val-share", type=float, default=0.05, help="of the people (default: %(default)s)")
    parser.add_argument("--test-share", type=float, default=0.05, help="of the people (default: %(default)s)")
    parser.add_argument("--min-age", type=int, default=Filters.min_age)
    parser.add_argument("--max-age", type=int, default=Filters.max_age)
    parser.add_argument("--genders", nargs="+", choices=("female", "male"))
    parser.add_argument("--devices", nargs="+", help="AI Hub: digital, film ...")
    parser.add_argument("--photos-per-person", type=int)
    parser.add_argument("--archive", type=Path, help="zip that crops, padding and labels.csv are packed into")
    parser.add_argument("--seed", type=int, default=0, help="of the choice among a person's photographs")
    return parser


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _stopped(why: str) -> int:
    text = "what is complete is kept, and the same command goes on from there"
    sys.stderr.write(f"faceforward prepare: {why}; {text}\n")
    return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run `faceforward prepare COLLECTION --root PATH --output DIR ...`.

    Returns:
        0 all photographs have their crop, 1 some were rejected or the disk is full, 2 wrong usage.
    """
    try:
        options = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has said why; 0 after --help
        return int(stop.code or 0)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    try:
        if options.size < 16 or options.processes < 1:
            raise ConfigurationError("--size must be 16 or more, --processes 1 or more")
        o = options
        filters = Filters(o.min_age, o.max_age, o.genders, o.devices, o.photos_per_person, o.seed)
        with logging_redirect_tqdm():
            done, rejected = prepare(
                source_of(options.collection, options.root),
                options.root,
                options.output,
                size=options.size,
                alignment=options.alignment or COLLECTIONS[options.collection],
                min_face=options.min_face,
                suffix=f".{options.format}",
                filters=filters,
                splits=options.splits,
                val_share=options.val_share,
                test_share=options.test_share,
                processes=options.processes,
                archive=options.archive,
            )
    except ConfigurationError as error:
        sys.stderr.write(f"faceforward prepare: {error}\n")
        return 2
    except OSError as error:
        room = ". Make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return _stopped(f"{options.output} cannot be written: {error}{room}")
    except BrokenProcessPool:
        return _stopped("a process was killed, most likely for lack of memory: take fewer --processes")
    except KeyboardInterrupt:
        return _stopped("stopped")
    sys.stdout.write(f"{done} crops are in {options.output / IMAGES}, {rejected} files were rejected\n")
    return int(rejected > 0)


if __name__ == "__main__":
    sys.exit(main())
