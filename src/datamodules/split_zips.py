"""Zips that come in parts, as AI Hub and 7-Zip split them: read where they lie, never joined on disk."""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from faceforward.errors import UnusablePhotoError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: `X.zip.part0` and `X.zip.part1073741824`, numbered by the byte they begin with, or `.part1`, `.part2`, as
#: AI Hub names them; `X.zip.001` is 7-Zip's.
PART = re.compile(r"(?P<zip>.+\.zip)\.(?:part(?P<part>\d+)|(?P<volume>\d{3,}))$", re.IGNORECASE)
#: `X.z01` beside `X.zip`, which zip itself makes; such zips hold places in parts and cannot be read joined.
SPANNED = re.compile(r".+\.z\d{2}$", re.IGNORECASE)


@dataclass(frozen=True)
class SplitZip:
    """The parts of one zip, in order.

    Attributes:
        parts: Their files.
        sizes: Bytes of each.
    """

    parts: tuple[Path, ...]
    sizes: tuple[int, ...]

    @property
    def stamp(self) -> tuple[int, int]:
        """Size and last change of all: another content has another stamp."""
        return sum(self.sizes), max(part.stat().st_mtime_ns for part in self.parts)

    def open(self) -> JoinedFile:
        """All parts as one file.

        Raises:
            OSError: One cannot be read.
        """
        return JoinedFile(self)


def part_of_zip(name: str) -> str | None:
    """The name of the zip that a file is a part of by its name, or None."""
    found = PART.match(name)
    return found["zip"] if found else None


def joined(parts: Iterable[Path]) -> SplitZip:
    """Put the parts of one zip in order.

    Args:
        parts: All that are there.

    Raises:
        UnusablePhotoError: One is missing, by the numbers in the names.
    """
    numbered = sorted((_number(path), path) for path in parts)
    paths = tuple(path for _, path in numbered)
    numbers = [number for number, _ in numbered]
    sizes = tuple(path.stat().st_size for path in paths)
    if numbers[0] not in (0, 1):
        raise UnusablePhotoError(f"its first part is missing: what is there begins with {paths[0].name}")
    # By the byte a part begins with, or counted; two parts of a byte would be both.
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    counted = list(range(numbers[0], numbers[0] + len(numbers)))
    if numbers in (starts, counted):
        return SplitZip(paths, sizes)
    by_bytes = len(numbers) > 1 and numbers[1] >= sizes[0] > 1
    expected = starts if by_bytes else counted
    place = next(place for place, number in enumerate(numbers) if number != expected[place])
    name = re.sub(r"\d+$", str(expected[place]).zfill(len(_digits(paths[place]))), paths[place].name)
    if by_bytes and expected[place] > numbers[place]:
        raise UnusablePhotoError(f"{paths[place - 1].name} is larger than its place: download it again")
    raise UnusablePhotoError(
        f"a part is missing or cut off before {paths[place].name}: {name} was expected there. Download what "
        "is missing into the same folder"
    )


def split_zip(first: Path) -> SplitZip | None:
    """The zip whose first part a file is, from the parts beside it; None for a file that is no part.

    Raises:
        UnusablePhotoError: A part is missing.
        OSError: The folder cannot be listed.
    """
    name = part_of_zip(first.name)
    if name is None:
        return None
    beside = [path for path in first.parent.iterdir() if part_of_zip(path.name) == name and path.is_file()]
    return joined(beside)


class JoinedFile(io.RawIOBase):
    """Several files as one, for reading; one part is open at a time.

    Args:
        split: The parts.
    """

    def __init__(self, split: SplitZip) -> None:
        self._split = split
        self._starts = [sum(split.sizes[:place]) for place in range(len(split.sizes))]
        self._size = sum(split.sizes)
        self._at = 0
        self._open: tuple[int, io.BufferedReader] | None = None
        self._part(0)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The place in the whole."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the whole.

        Raises:
            ValueError: It is before the beginning.
        """
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if at < 0:
            raise ValueError(f"place {at} is before the beginning")
        self._at = at
        return at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read on, to the end of a part at most."""
        if self._at >= self._size:
            return 0
        place = bisect_right(self._starts, self._at) - 1
        while self._split.sizes[place] == 0:
            place += 1
        within = self._at - self._starts[place]
        stream = self._part(place)
        stream.seek(within)
        data = stream.read(min(len(buffer), self._split.sizes[place] - within))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the part that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None
        super().close()

    def _part(self, place: int) -> io.BufferedReader:
        if self._open is None or self._open[0] != place:
            if self._open is not None:
                self._open[1].close()
            self._open = (place, self._split.parts[place].open("rb"))
        return self._open[1]


def _digits(path: Path) -> str:
    found = PART.match(path.name)
    if found is None:
        raise ValueError(f"{path} is not a part of a zip")
    return found["part"] or found["volume"]


def _number(path: Path) -> int:
    return int(_digits(path))
