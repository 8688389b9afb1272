"""Photographs that are damaged or cut off: read as far as they go."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFile

from faceforward.errors import UnusablePhotoError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
#: Formats of which a decoder gives the rows that it has; of the others it gives nothing.
BY_ROWS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "TIFF", "PPM")
BLOCK = 16  # rows that a JPEG stores together, at most
LEAST = 0.05  # of the rows: with less there is no face to find
SECTOR = 512  # bytes that a disk reads or loses together
CHANCE = 8  # zeros beside a lost sector that may be the picture's own

_lenient = threading.Lock()  # Pillow's switch is one for all threads


@contextmanager
def lenient() -> Iterator[None]:
    """Have Pillow pass over wrong checksums of what is not the picture, and give the rows that it has."""
    with _lenient:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def is_png(source: Path | io.BytesIO) -> bool:
    """Whether the content begins as a PNG does.

    Raises:
        OSError: It cannot be read.
    """
    return _begins(source, PNG_START)


def lost_from(source: Path | io.BytesIO) -> int | None:
    """Where the content of a JPEG was lost, as far as that shows: decoders read on as if it were a picture.

    Broken disks, and downloads that were given their size before their content, leave zeros: whole sectors
    within the picture, or all the rest of the file.

    Returns:
        Bytes before the loss; None where nothing shows, also of other formats.

    Raises:
        OSError: It cannot be read.
    """
    return _lost_from(_content(source)) if _begins(source, JPEG_START) else None


def refuse_lost(source: Path | io.BytesIO) -> None:
    """See that no part of the picture is lost that a decoder would not miss.

    Raises:
        UnusablePhotoError: One is, see `lost_from`; or the file cannot be read.
    """
    try:
        lost = lost_from(source)
    except OSError as error:
        raise UnusablePhotoError(f"The file cannot be read: {error}.") from error
    if lost is not None:
        raise UnusablePhotoError(
            "The picture is damaged: a part of the file holds nothing but zeros. Copy or send it again."
        ) from OSError(f"zeros from byte {lost} on")


def mended(source: Path | io.BytesIO) -> io.BytesIO:
    """The file's content, so that decoders give all that they have of it.

    A JPEG ends where its content was lost, with the mark of the end; a PNG gets the checksums that fit.

    Raises:
        OSError: It cannot be read.
    """
    data = _content(source)
    if data.startswith(JPEG_START):
        return io.BytesIO(data[: _lost_from(data)] + JPEG_END)
    return io.BytesIO(_with_checksums(data) if data.startswith(PNG_START) else data)


def readable_rows(image: Image.Image) -> tuple[int, int]:
    """The rows from and to which a picture holds anything: what decoders do not reach has one colour.

    A margin of one colour counts as unread, too; no face is in it.

    Args:
        image: As it was decoded.

    Returns:
        First row, and the one after the last; equal where there is nothing.
    """
    pixels = np.asarray(image.convert("RGB"))
    step = 2 if image.info.get("interlace") else 1  # every second row comes last
    last = step * _first_other(pixels[step - 1 :: step][::-1])
    if last and image.format in ("JPEG", "MPO"):
        last += BLOCK  # the blocks at which it broke off
    first = _first_other(pixels) if image.format in ("BMP", "DIB") else 0  # stored from the lowest row up
    return min(first, max(len(pixels) - last, 0)), max(len(pixels) - last, 0)


def _content(source: Path | io.BytesIO) -> bytes:
    return source.getvalue() if isinstance(source, io.BytesIO) else source.read_bytes()


def _begins(source: Path | io.BytesIO, start: bytes) -> bool:
    if isinstance(source, io.BytesIO):
        return source.getbuffer()[: len(start)].tobytes() == start
    with source.open("rb") as stream:
        return stream.read(len(start)) == start


def _lost_from(data: bytes) -> int | None:
    start = _scan(data)
    end = data.find(JPEG_END, start)
    whole = end >= 0
    end = end if whole else len(data)
    place = data.find(bytes(SECTOR), start, end)
    while place >= 0:
        stop = place + SECTOR
        while stop < end and data[stop] == 0:
            stop += 1
        if (stop == end and not whole) or (-place % SECTOR <= CHANCE and stop % SECTOR <= CHANCE):
            return place
        place = data.find(bytes(SECTOR), stop, end)
    return None


def _scan(data: bytes) -> int:
    """Where the picture itself begins in a JPEG, behind its descriptions and thumbnails (ITU T.81, B.1)."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        if data[place + 1] == 0xFF:  # padding
            place += 1
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        place += 2 + length
        if data[place - length - 1] == 0xDA:
            break
    return min(place, len(data))


def _with_checksums(data: bytes) -> bytes:
    """A PNG of which each part has the checksum that fits (ISO 15948, 5.3)."""
    parts, place = [PNG_START], len(PNG_START)
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        end = place + 8 + length
        if end + 4 > len(data):
            break
        parts += [data[place:end], struct.pack(">I", zlib.crc32(data[place + 4 : end]))]
        place = end + 4
    return b"".join([*parts, data[place:]])


def _first_other(pixels: np.ndarray) -> int:
    """How many rows from the first on have the colour of the first pixel, but for JPEG's rounding."""
    for number, row in enumerate(pixels):
        if np.abs(row.astype(np.int16) - pixels[0, 0]).max() > 2:
            return number
    return len(pixels)
