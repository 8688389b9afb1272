"""The manifest while it grows: a line for each photograph, and no rank waits for another in a collective."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from faceforward.atomic import write_atomically
from faceforward.callbacks.ranks import together
from faceforward.errors import ConfigurationError, FaceforwardError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from lightning import Trainer

SEEN_WITHIN = 30.0  # seconds after which a shared file system shows what another machine wrote
PATIENCE = 2 * 60 * 60.0  # seconds without a line of any rank until the first one stops waiting
POLL = 0.2


class OutputError(FaceforwardError):
    """Results cannot be written: the run stops, what is complete stays."""


def read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """Lines of a manifest by their case; the last of a case counts, and what a killed run cut off does not.

    Raises:
        OSError: It cannot be read.
    """
    lines = {}
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            lines[line["id"]] = line
        except (ValueError, KeyError, TypeError):
            continue
    return lines


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Replace a manifest as a whole."""
    write_atomically(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add one line: what a photograph costs does not grow with the number of those before it."""
    with path.open("a", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def refuse_unshared(trainer: Trainer, output: Path) -> None:
    """See that every rank writes into the same folder; the first one has made it.

    Raises:
        ConfigurationError: A rank does not see what the first one wrote there.
    """
    if trainer.world_size == 1:
        return
    name = trainer.strategy.broadcast(f".shared-{secrets.token_hex(8)}")
    token = output / name
    with together(trainer, "looking for the folder of results"):
        if trainer.is_global_zero:
            token.touch()
    with together(trainer, "looking for the folder of results"):
        until = time.monotonic() + SEEN_WITHIN
        while not token.exists():
            if time.monotonic() > until:
                raise ConfigurationError(
                    f"--output {output} is not the same folder on all machines: process "
                    f"{trainer.global_rank} does not see what the first one wrote there. Give a folder on a "
                    "file system that they share, or run each machine on its own list of photographs"
                )
            list(output.iterdir()) if output.is_dir() else None  # a fresh look, also at what is cached
            time.sleep(POLL)
    if trainer.is_global_zero:
        token.unlink(missing_ok=True)


def part_of(manifest: Path, rank: int, *, finished: bool) -> Path:
    """The manifest of one rank: growing, or finished."""
    return manifest.with_suffix(f".rank{rank}.jsonl" if finished else f".rank{rank}.part")


def parts(manifest: Path) -> list[Path]:
    """What ranks have left there."""
    stem = manifest.with_suffix("").name
    return sorted(manifest.parent.glob(f"{stem}.rank*"))


def wait_for_ranks(
    manifest: Path, ranks: int, *, patience: float = PATIENCE, sleep: Callable[[float], None] = time.sleep
) -> list[Path]:
    """Wait until every rank has finished its manifest; no collective that could time out is involved.

    A rank that fails ends the others through its launcher; one that is silent for too long is named.

    Args:
        manifest: Of all ranks together.
        ranks: How many.
        patience: Seconds in which something must have been written.
        sleep: Between two looks.

    Raises:
        OutputError: Nothing came for so long.
    """
    wanted = [part_of(manifest, rank, finished=True) for rank in range(ranks)]
    last, since = None, time.monotonic()
    while missing := [path for path in wanted if not path.exists()]:
        state = [(path.name, _size(path)) for path in parts(manifest)]
        if state != last:
            last, since = state, time.monotonic()
        if time.monotonic() - since > patience:
            raise OutputError(
                f"{len(missing)} of {ranks} processes did not finish: {missing[0].name} is missing in "
                f"{manifest.parent}, and nothing was written for {patience / 60:.0f} minutes. Their own "
                "messages say why; the same command goes on from what is complete"
            )
        sleep(POLL)
    return wanted


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # renamed meanwhile
        return -1
