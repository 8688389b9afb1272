"""`faceforward evaluate`: folders of aged pictures, by this or any program, measured and compared."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from faceforward.atomic import write_atomically
from faceforward.checks import at_least
from faceforward.commands.calibrate import hashes, write_calibration
from faceforward.datamodules.face_crops import Cut
from faceforward.errors import ConfigurationError
from faceforward.faces.age import DlibAgeEstimator
from faceforward.faces.detect import default_detector
from faceforward.faces.faceres import FaceResAgeEstimator
from faceforward.faces.identity import DlibEmbedder
from faceforward.faces.mesh import FaceMesh
from faceforward.metrics.calibration import read_calibration, shipped_calibration
from faceforward.metrics.columns import photograph_columns, picture_columns
from faceforward.metrics.finding import ADULT, RealPhotos, identity_bands, last_ages, retrieval_columns
from faceforward.metrics.kernel import kernel_figures
from faceforward.metrics.thresholds import DLIB_RECOGNITION
from faceforward.report.evaluation_files import FolderResult, document, write_rows
from faceforward.report.evaluation_folders import AgedCase, AgedFolder, Failure, names_of, read_folder
from faceforward.report.evaluation_gallery import GalleryPhoto, read_gallery
from faceforward.report.evaluation_page import write_page
from faceforward.report.evaluation_pictures import (
    Measured,
    Networks,
    describe,
    measure_aged,
    real_photos,
    with_later,
)
from faceforward.report.evaluation_sources import read_sources

if TYPE_CHECKING:
    from faceforward.metrics.calibration import Calibration
    from faceforward.metrics.columns import MeasuredCase
    from faceforward.metrics.intervals import Interval

logger = logging.getLogger(__name__)

METRICS = "metrics.json"


def default_networks() -> Networks:
    """Both readers of age, dlib's descriptor, the mesh, and the best detector on this machine."""
    return Networks((DlibAgeEstimator(), FaceResAgeEstimator()), DlibEmbedder(), FaceMesh(), default_detector)


@dataclasses.dataclass(frozen=True)
class GalleryResult:
    """A gallery, described.

    Attributes:
        path: Where it is.
        listed: Its photographs.
        photos: Those in which a face was found.
        failed: How many have none.
    """

    path: Path
    listed: list[GalleryPhoto]
    photos: RealPhotos
    failed: int


def describe_gallery(path: Path, networks: Networks, *, aligned: bool = False) -> GalleryResult:
    """Read and describe a gallery.

    Args:
        path: See `read_gallery`.
        networks: Find and describe.
        aligned: Its pictures are crops aligned like FFHQ.

    Raises:
        ConfigurationError: It is no gallery, or no face is found in it.
    """
    listed = read_gallery(path)
    described, failed = [], 0
    for photo, found in tqdm(describe(listed, networks, aligned=aligned), "gallery", len(listed)):
        if isinstance(found, str):
            failed += 1
            logger.warning("gallery: %s is left out: %s", photo.file.name, found)
        else:
            described.append((photo, found))
    if not described:
        raise ConfigurationError(f"in none of the {len(listed)} photographs of the gallery {path} is a face")
    return GalleryResult(path, listed, real_photos(described), failed)


def known_by(case: AgedCase, photos: Mapping[str, GalleryPhoto]) -> AgedCase:
    """The case with person and age of the gallery's photograph of that name, where its own are unknown."""
    photo = photos.get(case.original) or photos.get(case.source.name)
    if photo is None:
        return case
    unknown = photo.age is not None and (case.facts.age is None or case.estimated)
    facts = dataclasses.replace(
        case.facts,
        person=case.facts.person or photo.person,
        age=photo.age if unknown else case.facts.age,
    )
    return dataclasses.replace(case, facts=facts, estimated=case.estimated and not unknown)


_networks: list[Networks] = []  # of a process that measures


def _begin(networks: Networks) -> None:
    _networks[:] = [networks]


def _measure(case: AgedCase) -> Measured:
    return measure_aged(case, _networks[0])


@contextmanager
def measuring(networks: Networks, processes: int) -> Iterator[Any]:
    """A function that measures cases in order, one after another or in several processes."""
    if processes == 1:
        yield lambda cases: (measure_aged(case, networks) for case in cases)
        return
    context = multiprocessing.get_context("spawn")  # threads of ONNX Runtime do not survive a fork
    with ProcessPoolExecutor(processes, context, _begin, (networks,)) as pool:
        yield lambda cases: pool.map(_measure, cases)


def measure_folder(
    folder: AgedFolder, networks: Networks, gallery: GalleryResult | None, processes: int
) -> tuple[list[MeasuredCase], list[Failure]]:
    """Measure a folder; of each case its numbers alone stay in memory.

    Args:
        folder: Its cases.
        networks: Look at them.
        gallery: For the distances to later photographs.
        processes: How many measure.
    """
    names = {} if gallery is None else {photo.file.name: photo for photo in gallery.listed}
    cases = [known_by(case, names) for case in folder.cases]
    measured: list[MeasuredCase] = []
    failures = list(folder.failures)
    with measuring(networks, processes) as measure:
        for found in tqdm(measure(cases), folder.name, len(cases)):
            failures += found.failures
            if found.case is not None:
                measured.append(found.case if gallery is None else with_later(found.case, gallery.photos))
    return measured, failures


def evaluate(
    paths: Sequence[Path],
    output: Path,
    *,
    networks: Networks | None = None,
    sources: Sequence[Path] = (),
    gallery: Path | None = None,
    gallery_aligned: bool = False,
    adult: float = ADULT,
    calibration: Calibration | None = None,
    aligned: bool = False,
    processes: int = 1,
) -> dict[str, Any]:
    """Measure and compare folders; write `metrics.json`, the rows of all pictures and `report.html`.

    Args:
        paths: Folders of aged pictures; the others are compared with the first.
        output: Where the results go.
        networks: Look at the pictures; None takes those of this package.
        sources: CSVs about the photographs; see `read_sources`.
        gallery: Real photographs of the people; see `read_gallery`.
        gallery_aligned: They are crops.
        adult: Age from which on they make a person's template.
        calibration: Of the readers; None takes the package's.
        aligned: Pictures of other programs are crops as well, that lie over their photograph's.
        processes: How many measure.

    Returns:
        The content of metrics.json.

    Raises:
        ConfigurationError: A folder, CSV or gallery cannot be used, or two folders have no photograph in
            common.
        OSError: The results cannot be written.
    """
    told = {case: facts for path in sources for case, facts in read_sources(path).items()}
    folders = [read_folder(path, name, told) for path, name in zip(paths, names_of(paths), strict=True)]
    if aligned:
        folders = [
            dataclasses.replace(f, cases=tuple(dataclasses.replace(c, aligned=True) for c in f.cases))
            for f in folders
        ]
    networks = networks or default_networks()
    calibration = calibration or shipped_calibration()
    shown = None if gallery is None else describe_gallery(gallery, networks, aligned=gallery_aligned)
    measured = [measure_folder(folder, networks, shown, processes) for folder in folders]
    empty = [folder.path for folder, (cases, _) in zip(folders, measured, strict=True) if not cases]
    if empty:
        reason = next(failure.reason for _, each in measured for failure in each)
        raise ConfigurationError(f"no photograph of {empty[0]} could be measured: {reason}")
    results = _results(folders, measured, shown, calibration, networks, adult)
    used = hashes([*(reader.name for reader in networks.readers), networks.embedder.name, networks.mesh.name])
    about = None
    if shown is not None:
        people = max(result.gallery_people for result in results)
        about = {
            "path": str(shown.path),
            "photographs": len(shown.listed),
            "failed": shown.failed,
            "people": people,
            "adult": adult,
            "wrong_pairs": max(len(r.retrieval or ()) for r in results) * max(people - 1, 0),
            "bands": identity_bands(shown.photos),
        }
    content = document(results, calibration=calibration, networks=used, gallery=about)
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(
        output / METRICS, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )
    rows = write_rows(output, results)
    if rows.suffix == ".csv":
        logger.info("%s: for Parquet, pip install 'faceforward[data]'", rows.name)
    bands = [] if about is None else about["bands"]
    write_page(output, results, content, calibration=calibration, bands=bands)
    return content


def _results(
    folders: Sequence[AgedFolder],
    measured: Sequence[tuple[list[MeasuredCase], list[Failure]]],
    gallery: GalleryResult | None,
    calibration: Calibration,
    networks: Networks,
    adult: float,
) -> list[FolderResult]:
    latest = last_ages(case for cases, _ in measured for case in cases)
    thresholds = DLIB_RECOGNITION if isinstance(networks.embedder, DlibEmbedder) else None
    results = []
    for folder, (cases, failures) in zip(folders, measured, strict=True):
        found, people, without = None, 0, 0
        apart: dict[str, Interval] = {}
        if gallery is not None:
            apart = kernel_figures(cases, gallery.photos, networks.embedder.name)
            found, people, without = retrieval_columns(cases, gallery.photos, latest, adult)
        results.append(
            FolderResult(
                folder,
                cases,
                failures,
                picture_columns(cases, calibration, thresholds=thresholds),
                photograph_columns(cases, calibration),
                found,
                people,
                without,
                apart,
            )
        )
    return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="faceforward evaluate",
        description="Measure folders of aged pictures that exist already, made by this or any program, and "
        "compare them; or measure the readers of age on real photographs (--calibrate). No model is run.",
    )
    parser.add_argument(
        "folders", nargs="*", type=Path, metavar="OUT", help="cases/<id>/ of infer age, or <id>/<age>.png"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the results; file of the table")
    parser.add_argument(
        "--source-csv", type=Path, nargs="+", default=[], help="id, file, person, age, gender"
    )
    parser.add_argument("--gallery", type=Path, help="real photographs: CSV file,person,age, or a folder")
    parser.add_argument("--gallery-aligned", action="store_true", help="they are FFHQ-aligned crops already")
    parser.add_argument("--gallery-from", type=float, default=ADULT, help="years (default: %(default)s)")
    parser.add_argument("--calibration", type=Path, help="table of --calibrate; default the package's")
    parser.add_argument("--aligned", action="store_true", help="all pictures are FFHQ-aligned crops already")
    parser.add_argument("--processes", type=int, default=1)
    table = parser.add_argument_group("a table of the readers' own errors")
    table.add_argument("--calibrate", type=Path, metavar="FOLDER", help="real photographs with ages")
    table.add_argument("--photos", type=int, default=250, help="most of each age (default: %(default)s)")
    table.add_argument("--split", choices=("train", "val", "test"), help="of the folder; default all")
    table.add_argument("--alignment", choices=get_args(Cut), default="none", help="none: aligned already")
    table.add_argument("--describe", help="what the photographs are, in words, for the table")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `faceforward evaluate OUT ... --output DIR`.

    Returns:
        0 when everything was written, failures of pictures counted in it; 2 when it could not be.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        options = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has said why; 0 after --help
        return int(stop.code or 0)
    try:
        at_least(1, **{"--processes": options.processes, "--photos": options.photos})
        with logging_redirect_tqdm():
            if options.calibrate is not None:
                _calibrate(options)
            else:
                _evaluate(options)
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"faceforward evaluate: {error}\n")
        return 2
    return 0


def _calibrate(options: argparse.Namespace) -> None:
    if options.folders:
        raise ConfigurationError("give folders of aged pictures, or --calibrate with real ones, not both")
    write_calibration(
        options.calibrate,
        options.output,
        default_networks().readers,
        photos=options.photos,
        split=options.split,
        alignment=options.alignment,
        source=options.describe,
    )
    logger.info("%s is written: give it as --calibration", options.output)


def _evaluate(options: argparse.Namespace) -> None:
    if not options.folders:
        raise ConfigurationError("give a folder of aged pictures: faceforward evaluate OUT --output DIR")
    content = evaluate(
        options.folders,
        options.output,
        sources=options.source_csv,
        gallery=options.gallery,
        gallery_aligned=options.gallery_aligned,
        adult=options.gallery_from,
        calibration=None if options.calibration is None else read_calibration(options.calibration),
        aligned=options.aligned,
        processes=options.processes,
    )
    for name, folder in content["folders"].items():
        failed = folder["failed"]
        logger.info(
            "%s: %d pictures of %d photographs measured; %d pictures and %d photographs could not be",
            *(name, folder["pictures"], folder["photographs"], failed["pictures"], failed["photographs"]),
        )
    logger.info("%s and report.html are in %s", METRICS, options.output)


if __name__ == "__main__":
    sys.exit(main())
