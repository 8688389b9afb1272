"""TIFFs as scanners and cameras write them: which page is the photograph, and pixels of more than 8 bits."""

from __future__ import annotations

import io
import logging
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFile

from faceforward.errors import UnusablePhotoError
from faceforward.faces.colours import of_16_bits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tifffile import TiffFile, TiffPage

logger = logging.getLogger(__name__)

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PILLOWS = (0, 1, 2, 3, 5, 6, 8)  # values of PhotometricInterpretation with which Pillow opens a file
MIN_IS_WHITE, MIN_IS_BLACK, RGB, CMYK, YCBCR = 0, 1, 2, 5, 6  # PhotometricInterpretation
RAW = (32803, 34892)  # a colour filter's raw values, linear raw values
REDUCED, MASK = 1, 4  # bits of NewSubfileType
NONE, DEFLATE = 1, (8, 32946)  # Compression
SEPARATE = 2  # PlanarConfiguration
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # SampleFormat
PREMULTIPLIED = 1  # ExtraSamples
SMALL = 1 / 4  # of the pixels of a picture: what comes before it in the same shape is its small copy
ORIENTATION = 274
MODES = {1: "L", 3: "RGB", 4: "CMYK"}


@dataclass
class Tiff:
    """How a TIFF is to be read.

    Attributes:
        frame: The page that Pillow is to read, where it reads this kind rightly.
        image: The picture, where it was read here; upright as it is stored.
        inverted: Whether Pillow gives its 16 bits of grey with black and white exchanged.
        notes: What is to be said of it.
    """

    frame: int = 0
    image: Image.Image | None = None
    inverted: bool = False
    notes: list[str] = field(default_factory=list)


def is_tiff(source: Path | io.BytesIO) -> bool:
    """Whether the content begins as a TIFF does.

    Raises:
        OSError: It cannot be read.
    """
    if isinstance(source, io.BytesIO):
        return source.getbuffer()[:4].tobytes() in MAGIC
    with source.open("rb") as stream:
        return stream.read(4) in MAGIC


def read_tiff(source: Path | io.BytesIO, max_pixels: int) -> Tiff:
    """Choose the photograph among the pages, and read it unless Pillow reads its kind rightly.

    Pillow does so for up to 8 bits, and for 16 bits of grey or of packed RGB.

    Args:
        source: The file.
        max_pixels: Larger pictures are left to the caller's refusal.

    Raises:
        UnusablePhotoError: Its kind cannot be read; the message names it and says what to do.
    """
    from tifffile import TiffFile, TiffFileError  # late: other formats need not wait for it

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # odd tags; what matters raises below
    try:
        with TiffFile(source) as file:
            return _read(file, max_pixels)
    except TiffFileError as error:
        raise UnusablePhotoError(
            f"The TIFF is damaged and cannot be opened ({error}): copy or send it again."
        ) from error


def _read(file: TiffFile, max_pixels: int) -> Tiff:
    pages: list[Any] = list(file.pages)
    if not pages:
        raise UnusablePhotoError(
            "The TIFF is damaged or cut off: the list of what is in it is missing. Copy or send it again."
        )
    whole = [page for page in pages if not page.subfiletype & (REDUCED | MASK)]
    inner = (
        [] if whole else [sub for page in pages for sub in page.pages or () if not sub.subfiletype & REDUCED]
    )
    page = _largest_copy(whole or inner or sorted(pages, key=lambda each: -_area(each)))
    if page.photometric in RAW:
        raise UnusablePhotoError(
            "This is a camera raw file (DNG or alike): export it as JPEG, PNG or TIFF with the camera's "
            "program."
        )
    tiff = Tiff(frame=pages.index(page) if page in pages else -1)
    if page is not pages[0]:
        tiff.notes.append("The first picture in the TIFF is a small copy: the photograph itself was taken.")
    elif len(whole) > 1:
        tiff.notes.append(f"The file holds {len(whole)} pictures: the first one was taken.")
    opens = pages[0].photometric in PILLOWS and not (file.is_bigtiff and file.byteorder == ">")
    if _area(page) > max_pixels or (_pillow_reads(page) and opens and tiff.frame >= 0):
        tiff.inverted = page.photometric == MIN_IS_WHITE and page.bitspersample == 16
        return tiff
    tiff.image = _decoded(page, tiff.notes)
    return tiff


def _area(page: Any) -> int:
    return int(page.imagewidth * page.imagelength)


def _largest_copy(pages: list[Any]) -> Any:
    """The first page, or a later one of which it is a small copy that is not marked as such."""
    first = pages[0]
    shape = first.imagewidth / first.imagelength
    larger = [
        page
        for page in pages[1:]
        if _area(first) < SMALL * _area(page) and abs(page.imagewidth / page.imagelength / shape - 1) < 0.03
    ]
    return max(larger, key=_area, default=first)


def _pillow_reads(page: Any) -> bool:
    """Whether Pillow gives the page's values rightly, or those that are there of a file that is cut off."""
    bits, kind, packed = page.bitspersample, page.sampleformat, page.compression != NONE
    ours = page.compression in (NONE, *DEFLATE)
    grey = page.photometric == MIN_IS_BLACK or (
        page.photometric == MIN_IS_WHITE and not ours and page.parent.byteorder == "<"
    )
    in_order = page.planarconfig != SEPARATE or packed
    return kind == UNSIGNED and (
        (bits <= 8 and (packed or page.photometric != YCBCR))
        or (bits == 16 and grey and page.samplesperpixel <= 2)
        or (
            bits == 16
            and page.photometric == RGB
            and in_order
            and (not ours or ImageFile.LOAD_TRUNCATED_IMAGES)
        )
    )


def _decoded(page: TiffPage, notes: list[str]) -> Image.Image:
    name = _named(page)
    samples = page.samplesperpixel
    extra = tuple(page.extrasamples)
    colours = samples - len(extra)
    wanted = {MIN_IS_WHITE: 1, MIN_IS_BLACK: 1, RGB: 3, CMYK: 4}.get(page.photometric)
    if page.compression not in (NONE, *DEFLATE) or colours != wanted or page.imagedepth != 1:
        raise UnusablePhotoError(f"{name} cannot be read: save it as an ordinary 8-bit TIFF, or as PNG.")
    try:
        _refuse_bomb(page)
        values = page.asarray()
    except UnusablePhotoError:
        raise
    except Exception as error:  # a damaged file may make it raise anything
        logger.debug("tifffile: %s", error)
        raise UnusablePhotoError(
            f"{name} is damaged, or of an unknown kind: copy or send it again."
        ) from error
    if page.planarconfig == SEPARATE and values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    values = values.reshape(page.imagelength, page.imagewidth, samples)
    pixels = _to_8_bit(values[..., :colours], notes)
    if page.photometric == MIN_IS_WHITE:
        pixels = 255 - pixels
    image = Image.fromarray(pixels[..., 0] if colours == 1 else pixels, MODES[colours])
    if extra and extra[0] in (1, 2) and colours in (1, 3):
        image = _with_alpha(image, _to_8_bit(values[..., colours : colours + 1], [])[..., 0], extra[0])
    profile = page.tags.get(34675)
    if profile is not None:
        image.info["icc_profile"] = bytes(profile.value)
    orientation = page.tags.get(ORIENTATION)
    image.getexif()[ORIENTATION] = int(orientation.value) if orientation is not None else 1
    return image


def _with_alpha(image: Image.Image, alpha: np.ndarray, kind: int) -> Image.Image:
    if kind == PREMULTIPLIED:
        share = np.maximum(alpha, 1)[..., None] / 255
        pixels = np.asarray(image.convert("RGB"))
        image = Image.fromarray(np.clip(np.rint(pixels / share), 0, 255).astype(np.uint8))
    image = image.convert("LA" if image.mode == "L" else "RGBA")
    image.putalpha(Image.fromarray(alpha))
    return image


def _to_8_bit(values: np.ndarray, notes: list[str]) -> np.ndarray:
    """Values of any range as 0..255: a whole range of integers or 0..1 as it is, others stretched."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return of_16_bits(values, notes)
    if values.dtype == np.uint32 and values.max() >= 2**24:
        return (values >> 24).astype(np.uint8)
    values = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and 0.5 < high <= 1:
        return np.rint(values * 255).astype(np.uint8)
    notes.append("The file's values have no fixed range: they were stretched from black to white.")
    return np.rint((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def _refuse_bomb(page: TiffPage) -> None:
    """Refuse strips that hold more than the picture that they are part of, before they are unpacked."""
    if page.compression == NONE:
        return
    for data in _strips(page):
        unpacked = zlib.decompressobj().decompress(data, page.nbytes + 1)
        if len(unpacked) > page.nbytes:
            raise UnusablePhotoError("The TIFF is damaged: a part of it holds more than the whole picture.")


def _strips(page: TiffPage) -> Iterator[bytes]:
    stream = page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        stream.seek(offset)
        yield stream.read(count)


def _named(page: TiffPage) -> str:
    """The kind of TIFF, in words that a scanner's program uses."""
    numbers = {SIGNED: "signed ", FLOAT: "floating-point "}.get(page.sampleformat, "")
    from tifffile import COMPRESSION

    planes = " in separate planes" if page.planarconfig == SEPARATE and page.samplesperpixel > 1 else ""
    packed = (
        f", packed as {COMPRESSION(page.compression).name.replace('_', ' ').lower()}"
        if page.compression != NONE
        else ""
    )
    colours = getattr(page.photometric, "name", str(page.photometric)).lower()
    return f"This kind of TIFF ({page.bitspersample} bits, {numbers}{colours}{planes}{packed})"
