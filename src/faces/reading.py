"""Read a photograph of any common kind into upright sRGB pixels, or say why it cannot be used."""

from __future__ import annotations

import io
import logging
import re
import stat
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageChops

from faceforward.errors import UnusablePhotoError
from faceforward.faces.colours import of_16_bits, to_srgb
from faceforward.faces.damage import BY_ROWS, LEAST, is_png, lenient, mended, readable_rows, refuse_lost
from faceforward.faces.foreign import named
from faceforward.faces.orientation import box_of_rows, upright
from faceforward.faces.tiff import is_tiff, read_tiff
from faceforward.records import Photo

logger = logging.getLogger(__name__)

pillow_heif.register_heif_opener()

#: Formats that may be opened. Pillow knows more, some of which run programs (EPS) or are no photographs.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "HEIF", "AVIF", "JPEG2000", "PPM")
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".dib"}
    | {".gif", ".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".ppm", ".pgm"}
)
#: Camera raw files are TIFF inside: Pillow would take the thumbnail for the photograph.
RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".kdc", ".nef", ".nrw", ".orf", ".pef", ".raf"}
    | {".raw", ".rw2", ".sr2", ".srw"}
)

MAX_PIXELS = 120_000_000  # a 108-megapixel telephone and an A4 sheet scanned at 1000 dpi; 360 MB in memory
MIN_SIDE = 32  # pixels: the detectors need a face of 20, and a face is never the whole picture


def read_photo(path: Path, *, id: str | None = None, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read one photograph: upright, 8 bits, sRGB, without transparency.

    The content decides about the format, not the suffix. Of a file with several frames the first is taken,
    of a HEIC with several pictures the main one; `Photo.notes` says so.

    Args:
        path: The file.
        id: Case id; None makes one from the file's name.
        max_pixels: Pictures of more pixels are refused before they are decoded; Pillow's own limit of 179
            million holds as well.

    Returns:
        The photograph with `pixels` `(H, W, 3)` uint8 RGB.

    Raises:
        UnusablePhotoError: No readable picture, or too small or too large a one. The message is for the
            person who sent the photograph.
    """
    path = Path(path)
    _require_readable(path)
    notes: list[str] = []
    pixels, readable = _read(path, max_pixels, notes)
    logger.debug("%s: read %d x %d pixels", path, pixels.shape[1], pixels.shape[0])
    return Photo(
        id=safe_id(path.stem) if id is None else id,
        file=str(path),
        pixels=pixels,
        notes=tuple(notes),
        readable=readable,
    )


def decode_photo(source: Path | io.BytesIO, *, max_pixels: int = MAX_PIXELS) -> tuple[np.ndarray, list[str]]:
    """Decode a file, or bytes that were read from anywhere, as `read_photo` does.

    Returns:
        `(H, W, 3)` uint8 RGB, and notes.

    Raises:
        UnusablePhotoError: As `read_photo`; or a part of the picture is missing.
    """
    notes: list[str] = []
    pixels, readable = _read(source, max_pixels, notes)
    if readable is not None:
        raise UnusablePhotoError(f"The picture is damaged or cut off. {notes[0]}")
    return pixels, notes


def _read(
    source: Path | io.BytesIO, max_pixels: int, notes: list[str]
) -> tuple[np.ndarray, tuple[int, int, int, int] | None]:
    """The pixels, and the box of those that are the photograph's where some of the file are missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what matters raises below
        try:
            refuse_lost(source)
            image, rows = _decode(source, max_pixels, notes), None
        except UnusablePhotoError as error:
            image, rows = _decode_as_far_as_it_goes(source, max_pixels, notes, error)
        readable = None if rows is None else box_of_rows(image, rows)
        image = upright(image)
        image = to_srgb(image, notes)
    return np.array(image), readable


def _decode_as_far_as_it_goes(
    source: Path | io.BytesIO, max_pixels: int, notes: list[str], fault: UnusablePhotoError
) -> tuple[Image.Image, tuple[int, int] | None]:
    """Decode what there is of a damaged picture, and say which rows that is; None where it is all.

    Raises:
        UnusablePhotoError: The first `fault`, where too little is left.
    """
    if fault.__cause__ is None:
        raise fault  # not for damage
    if isinstance(fault.__cause__, Image.UnidentifiedImageError) and not is_png(source):
        raise fault  # not for damage, or there is nothing to go by
    said = list(notes)
    try:
        data = mended(source)
        try:
            image = _decode(data, max_pixels, notes)
        except UnusablePhotoError:
            notes[:] = said
            with lenient():
                image = _decode(data, max_pixels, notes)
    except (OSError, UnusablePhotoError):
        raise fault from fault.__cause__
    first, last = readable_rows(image)
    height = image.height
    if image.format not in BY_ROWS or last - first < LEAST * height:
        raise fault
    if (first, last) == (0, height):
        if image.info.get("progressive"):
            notes.append(
                "The file is damaged or cut off: the whole picture could be read, but its finer detail may "
                "be missing. Send it again if there is another copy."
            )
        else:
            all_but = " or all but its last rows" if image.format in ("JPEG", "MPO") else ""
            notes.append(
                f"The file is damaged, but the whole picture{all_but} could be read: please compare it."
            )
        return image, None
    missing = max((height - (last - first)) / height, 0.01)
    notes.append(
        f"The file is damaged or cut off: {missing:.0%} of the picture could not be read. Send it again if "
        "there is another copy."
    )
    return image, (first, last)


def safe_id(stem: str) -> str:
    """Return a file's stem as a folder name: NFC, other characters than letters, digits, `-_.` become `_`."""
    return re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", stem))


def _require_readable(path: Path) -> None:
    """Raise `UnusablePhotoError` unless `path` is a regular file with content that may be read."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnusablePhotoError("This is a folder, not a photograph (--recursive takes what is in it).")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise UnusablePhotoError("This is a device or a pipe, not a photograph.")
        if status.st_size == 0:
            raise UnusablePhotoError("The file is empty (0 bytes): copy or send it again.")
        with path.open("rb"):
            pass
    except PermissionError as error:
        raise UnusablePhotoError("The file may not be read: its permissions forbid it.") from error
    except OSError as error:
        if path.is_symlink():
            raise UnusablePhotoError("This is a link to a file that is not there.") from error
        reason = error.strerror or str(error)
        raise UnusablePhotoError(f"The file cannot be opened: {reason}.") from error
    if path.suffix.lower() in RAW_SUFFIXES:
        raise UnusablePhotoError(
            f"This is a camera raw file ({path.suffix}): export it as JPEG, PNG or TIFF with the camera's "
            "program."
        )


def _decode(source: Path | io.BytesIO, max_pixels: int, notes: list[str]) -> Image.Image:
    """Open and decode the photograph; every fault of the file becomes an `UnusablePhotoError`."""
    frame, inverted = 0, False
    try:
        if isinstance(source, io.BytesIO):
            source.seek(0)  # it may have been read before
        if is_tiff(source):
            tiff = read_tiff(source, max_pixels)
            notes += tiff.notes
            if tiff.image is not None:
                return tiff.image
            frame, inverted = max(tiff.frame, 0), tiff.inverted
        image = Image.open(source, formats=FORMATS)
        if frame:
            image.seek(frame)
    except UnusablePhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise UnusablePhotoError(
            f"The picture has more pixels than the {max_pixels / 1e6:.0f} million allowed: scale it down."
        ) from error
    except Image.UnidentifiedImageError as error:
        raise UnusablePhotoError(
            named(source)
            or "This is not a picture in a format that can be read (JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC, "
            "AVIF), or the start of the file is damaged."
        ) from error
    except Exception as error:  # decoders raise anything on damaged files: it becomes the photograph's record
        raise UnusablePhotoError(
            f"The picture is damaged and cannot be opened ({_said(error)}): copy or send it again."
        ) from error
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise UnusablePhotoError(
                f"The picture has {width} x {height} = {width * height / 1e6:.0f} million pixels, more than "
                f"the {max_pixels / 1e6:.0f} million allowed: scale it down."
            )
        if min(width, height) < MIN_SIDE:
            raise UnusablePhotoError(
                f"The picture is only {width} x {height} pixels: a face cannot be seen in it "
                f"(at least {MIN_SIDE} x {MIN_SIDE} are needed, several hundred are better)."
            )
        try:
            frames = getattr(image, "n_frames", 1)
            image.load()
            if frames > 1 and image.format not in (
                "MPO",
                "TIFF",
            ):  # an MPO's others are previews or a second lens
                which = "main" if image.format == "HEIF" else "first"
                notes.append(f"The file holds {frames} pictures: the {which} one was taken.")
            if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
                return ImageChops.invert(image)  # Pillow takes every CMYK JPEG for Adobe's inverted kind
            picture = image.copy()
            if inverted:
                picture = Image.fromarray(255 - of_16_bits(np.asarray(image), notes))
                picture.info = image.info
            picture.format = image.format
            return picture
        except Exception as error:  # as above
            raise UnusablePhotoError(
                f"The picture is damaged or cut off and cannot be decoded ({_said(error)}): copy or send it "
                "again."
            ) from error


def _said(error: Exception) -> str:
    """Return what a decoder says, on one line and not too long."""
    return " ".join(str(error).split())[:150] or type(error).__name__
