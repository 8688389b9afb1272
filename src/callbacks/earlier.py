"""What a folder of results holds already: it stays and is listed, and is replaced only on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from faceforward.callbacks.manifest import read_lines
from faceforward.datamodules.people import OLDEST
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from faceforward.datamodules.listing import Entry

AGES = OLDEST + 1


@dataclass(frozen=True)
class There:
    """What an earlier run left of a photograph under the same settings.

    Attributes:
        record: As it was read.
        wanted: The target ages asked for; empty where results have none.
        lacking: Those that are not there yet.
    """

    record: dict[str, Any]
    wanted: tuple[int, ...] = ()
    lacking: tuple[int, ...] = ()

    def flags(self) -> torch.Tensor:
        """What other ranks need to know, `(1 + 2 * AGES,)` uint8: that it is there, wanted and lacking."""
        row = torch.zeros(1 + 2 * AGES, dtype=torch.uint8)
        row[[0, *(1 + age for age in self.wanted), *(1 + AGES + age for age in self.lacking)]] = 1
        return row


def from_flags(row: torch.Tensor) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Wanted and lacking ages of a row of `There.flags`; None where nothing is there."""
    if not row[0]:
        return None
    wanted, lacking = (part.nonzero().flatten().tolist() for part in (row[1 : 1 + AGES], row[1 + AGES :]))
    return tuple(wanted), tuple(lacking)


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Which settings differ, for a message: `age (5 then, 6 now), model`; short values alone are shown."""
    words = []
    for name in sorted({*old, *new} - {"targets"}):
        then, now = old.get(name), new.get(name)
        if then == now:
            continue
        short = all(value is None or isinstance(value, str | int | float) for value in (then, now))
        words.append(f"{name} ({_shown(then)} then, {_shown(now)} now)" if short else name)
    return ", ".join(words) or "those of another version of this program"


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)


def refuse_loss(losses: Iterable[tuple[Path, str]], output: Path) -> None:
    """Refuse a run that would replace results which it does not name.

    Args:
        losses: Where a result is, and what would happen to it.
        output: The folder of results.

    Raises:
        ConfigurationError: There is one.
    """
    every = list(losses)
    if not every:
        return
    (place, why), more = every[0], len(every) - 1
    others = f", and {more} more like it" if more else ""
    raise ConfigurationError(f"{place} {why}{others}. Nothing was changed in {output}")


def earlier_lines(
    manifest: Path,
    entries: Collection[Entry],
    *,
    fields: Collection[str],
    found: Callable[[], dict[str, dict[str, Any]]],
) -> dict[str, dict[str, Any]]:
    """Lines of the manifest for what the folder holds beside the photographs of this run.

    Args:
        manifest: Of earlier runs; it may not be there.
        entries: The photographs of this run.
        fields: What a line of this kind of result says beside what all lines say.
        found: The lines of results in the folder that are of no photograph of this run, by their case.

    Raises:
        ConfigurationError: The manifest is of another kind of result.
    """
    try:
        lines = read_lines(manifest)
    except OSError:  # there is none
        lines = {}
    if lines and not any(set(fields) <= set(line) for line in lines.values()):
        raise ConfigurationError(
            f"{manifest} lists results of another kind of run: give another --output, so that both keep "
            "their lists"
        )
    mine, files = {entry.id for entry in entries}, {entry.file for entry in entries}
    there = found()
    kept = {}
    for case, line in lines.items():
        if case in mine:
            continue
        if line.get("status") == "done":
            if case in there:
                kept[case] = there[case]
        elif line.get("file") not in files and set(fields) <= set(line):
            kept[case] = line
    return kept | {case: line for case, line in there.items() if case not in kept and case not in mine}
