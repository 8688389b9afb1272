"""The contact sheet of one case: the photograph and every estimate side by side, told apart at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceforward.report.readings import said, short
from faceforward.report.verdict import faults_of_result

if TYPE_CHECKING:
    from faceforward.records import AgeEstimate, CaseResult

TILE = 320  # pixels
CAPTION = 70
MARGIN = 16
COLUMNS = 4
FRAME = 6
PAPER = (255, 255, 255)
INK = (32, 36, 40)
FAINT = (96, 102, 108)
PHOTOGRAPH = (32, 36, 40)
SYNTHETIC = (176, 84, 16)
UNUSABLE = (178, 24, 24)
BAND = 46  # of what is wrong with an estimate, over its picture


def contact_sheet(result: CaseResult, *, footer: tuple[str, ...] = ()) -> np.ndarray:
    """Draw the source and all ages, each with its target and the ages that the readers see in it.

    Photographs have a dark solid frame, synthetic pictures an orange one with a bar that says so. An estimate
    that is not to be used has a red one, a cross and the reason.

    Args:
        result: The case.
        footer: Lines under the pictures: method, model, date.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    face = result.face
    tiles = [
        (
            "PHOTOGRAPH",
            f"age {face.age:.0f} ({face.age_origin})",
            _reading(face.estimate, face.judged),
            face.pixels,
            PHOTOGRAPH,
            "",
        )
    ]
    faults = faults_of_result(result)
    for age, pixels in sorted(result.aged.items()):
        reading = _reading(result.estimates.get(age), result.judged.get(age))
        fault = ", ".join(each.short for each in faults[age])
        colour = UNUSABLE if fault else SYNTHETIC
        tiles.append(("ESTIMATE, NOT A PHOTOGRAPH", f"at age {age}", reading, pixels, colour, fault))

    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    width = MARGIN + columns * (TILE + MARGIN)
    small = ImageFont.load_default(16)
    lines = [line for text in footer for line in _wrap(text, small, width - 2 * MARGIN)]
    height = MARGIN + rows * (TILE + CAPTION + MARGIN) + (len(lines) * 22 + MARGIN if lines else 0)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (label, caption, reading, pixels, colour, fault) in enumerate(tiles):
        x = MARGIN + (index % columns) * (TILE + MARGIN)
        y = MARGIN + (index // columns) * (TILE + CAPTION + MARGIN)
        picture = Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.LANCZOS)
        sheet.paste(picture, (x, y))
        if fault:
            _cross_out(draw, x, y, fault)
        draw.rectangle((x, y, x + TILE - 1, y + TILE - 1), outline=colour, width=FRAME)
        draw.rectangle((x, y + TILE - 26, x + TILE - 1, y + TILE - 1), fill=colour)
        draw.text(
            (x + TILE / 2, y + TILE - 13), label, fill=PAPER, font=ImageFont.load_default(15), anchor="mm"
        )
        draw.text((x, y + TILE + 8), caption, fill=INK, font=ImageFont.load_default(24))
        draw.text((x, y + TILE + 42), reading, fill=FAINT, font=small)
    for index, line in enumerate(lines):
        draw.text((MARGIN, height - MARGIN - (len(lines) - index) * 22), line, fill=FAINT, font=small)
    return np.asarray(sheet)


def _cross_out(draw: ImageDraw.ImageDraw, x: int, y: int, fault: str) -> None:
    """A cross over a picture, and a band at its top that says why it is not to be used."""
    end = TILE - 1
    for line in ((x, y, x + end, y + end), (x, y + end, x + end, y)):
        draw.line(line, fill=UNUSABLE, width=3)
    draw.rectangle((x, y, x + end, y + BAND), fill=UNUSABLE)
    middle = x + TILE / 2
    draw.text((middle, y + 15), "DO NOT USE", fill=PAPER, font=ImageFont.load_default(20), anchor="mm")
    size = next((s for s in (15, 14, 13, 12) if ImageFont.load_default(s).getlength(fault) < TILE - 12), 11)
    draw.text((middle, y + 35), fault, fill=PAPER, font=ImageFont.load_default(size), anchor="mm")


def _reading(*estimates: AgeEstimate | None) -> str:
    return said({short(each.estimator): each.years for each in estimates if each is not None})


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    """Break a text into lines of at most `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
