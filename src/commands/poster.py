"""`faceforward poster`: one estimate of a case as a page to print."""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

from faceforward.errors import FaceforwardError
from faceforward.report.poster import CONTACT, PosterFacts, write_poster


def main(argv: list[str] | None = None) -> int:
    """Write a poster.

    Returns:
        0 when it is written, 1 when it could not be, 2 for wrong usage.
    """
    parser = argparse.ArgumentParser(
        prog="faceforward poster",
        description="A page to print (A4, PDF, Korean and English): the photograph, an estimate of it, and "
        "whom to call. What is not given is left as a line to write on.",
    )
    parser.add_argument("case", type=Path, help="folder of a case, OUT/cases/NAME of `faceforward infer age`")
    parser.add_argument("--age", type=int, required=True, help="which of its estimates")
    parser.add_argument("--output", type=Path, help="the PDF; default CASE/poster.pdf")
    parser.add_argument("--name", default="", help="of the person")
    parser.add_argument("--born", default="", help="date or year of birth")
    parser.add_argument("--missing_since", "--missing-since", default="", help="date")
    parser.add_argument("--place", default="", help="where the person was last seen")
    parser.add_argument("--features", default="", help="what to know the person by")
    parser.add_argument("--taken", default="", help="year or date of the photograph")
    parser.add_argument(
        "--year",
        type=int,
        default=datetime.datetime.now().astimezone().year,
        help="year that the estimate is for (default: this one)",
    )
    parser.add_argument("--contact", default=CONTACT, help="whom to call (default: %(default)s)")
    parser.add_argument("--link", default="", help="address for a QR code; none without it")
    parser.add_argument(
        "--anyway", action="store_true", help="print an estimate that is marked not to be used"
    )
    options = parser.parse_args(argv)
    facts = PosterFacts(
        **{name: getattr(options, name).strip() for name in ("name", "born", "missing_since", "place")},
        **{name: getattr(options, name).strip() for name in ("features", "taken", "contact", "link")},
        year=options.year,
    )
    path = options.output or options.case / "poster.pdf"
    try:
        write_poster(path, options.case, options.age, facts, anyway=options.anyway)
    except FaceforwardError as error:
        sys.stderr.write(f"poster: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"poster: {path} cannot be written: {error}\n")
        return 1
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
