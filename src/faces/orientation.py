"""Photographs stored on their side, as EXIF says."""

from __future__ import annotations

import logging

from PIL import Image

logger = logging.getLogger(__name__)

ORIENTATION = 0x0112  # EXIF tag
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF orientation says (Pillow has already done so for TIFF and HEIC)."""
    orientation = _orientation(image)
    if orientation not in TRANSPOSE:
        return image
    turned = image.transpose(TRANSPOSE[orientation])
    turned.info = image.info
    return turned


def box_of_rows(image: Image.Image, rows: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of the upright picture that some rows of the stored one make, as x0, y0, x1, y1.

    Args:
        image: As it is stored.
        rows: The first, and the one after the last.
    """
    mask = Image.new("1", image.size)
    mask.paste(1, (0, rows[0], image.width, rows[1]))
    mask.info = image.info
    orientation = _orientation(image)
    turned = mask.transpose(TRANSPOSE[orientation]) if orientation in TRANSPOSE else mask
    return turned.getbbox() or (0, 0, 0, 0)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION) or 1)
    except Exception as error:  # damaged EXIF must not cost the photograph
        logger.debug("EXIF cannot be read: %s", error)
        return 1
