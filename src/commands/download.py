"""`faceforward download NAME`: get weights, because the user asked for it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from faceforward.downloads import destination, download
from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.pretrained import locate
from faceforward.registry import REGISTRY, entry, hub_model


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch the named weights.

    Args:
        argv: The words after `faceforward download`; None means the process's own.

    Returns:
        0 when all named weights are there, 1 when some could not be fetched, 2 for wrong usage.
    """
    parser = argparse.ArgumentParser(
        prog="faceforward download",
        description="Get weights. Those that come inside packages or are trained here are only looked for.",
        epilog=_known(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help="one of the names below, or a hub id (ORGANISATION/MODEL)"
    )
    try:
        names = parser.parse_args(argv).names
    except SystemExit as stop:  # argparse has said why; 0 after --help
        return int(stop.code or 0)
    try:
        items = [hub_model(name) if name.count("/") == 1 else entry(name) for name in names]
    except ConfigurationError as error:
        sys.stderr.write(f"faceforward download: {error}\n")
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    status = 0
    for item in items:
        there = locate(item)
        if there is not None:
            sys.stdout.write(f"{item.name} is here already: {there}\n")
            continue
        if item.kind in ("hub", "url"):
            size = f"{item.size}, " if item.size else ""
            place = f"from {item.source[0]} into {destination(item)}"
            sys.stdout.write(f"{item.name}: {place}, {size}licence: {item.licence}\n")
        sys.stdout.flush()
        try:
            sys.stdout.write(f"{item.name} is here now: {download(item)}\n")
        except (WeightsUnavailableError, ConfigurationError) as error:
            sys.stderr.write(f"faceforward download: {error}\n")
            status = 1
    return status


def _known() -> str:
    lines = ["known names:"]
    for item in REGISTRY.values():
        lines.append(f"  {item.name:22} {item.kind:8} {item.licence}")
    return "\n".join(lines)
