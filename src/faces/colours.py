"""Pixels of any mode and colour profile as 8-bit sRGB."""

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np
from PIL import Image, ImageCms

logger = logging.getLogger(__name__)

BACKGROUND = (128, 128, 128)  # behind transparent parts: no edge against bright nor dark hair
SAME = 2  # of 255: how far a profile may move the probe's colours and still be called sRGB itself
SRGB_GAMMA = 0.45455  # what programs write as gAMA for sRGB
_STEPS = np.linspace(0, 255, 9).round().astype(np.uint8)
#: Colours all over the cube, and all greys: what a profile does to them tells whether it is sRGB.
PROBE = Image.fromarray(
    np.concatenate(
        [
            np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS, indexing="ij"), -1).reshape(-1, 3),
            np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1),
        ]
    )[None]
)


def to_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Convert any mode to 8-bit sRGB through the embedded profile, over a neutral background."""
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    gamma = None if "srgb" in image.info else gamma
    grey = image.mode[0] in "1LIF" and image.mode != "LAB"
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_8_bit(image, notes)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(ground, image).convert("L" if grey else "RGB")
    elif image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("L" if grey else "RGB")
    profiled = profile or image.mode == "LAB"
    image = _through_profile(image, profile, notes) if profiled else _from_gamma(image, gamma)
    return image.convert("RGB")


def _to_8_bit(image: Image.Image, notes: list[str]) -> Image.Image:
    """Scale 16-bit, 32-bit and floating-point grey values to 0..255; Pillow would clip them."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray(of_16_bits(values, notes))
    values = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    notes.append("The file's values have no fixed range: they were stretched from black to white.")
    return Image.fromarray(np.rint((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))


def of_16_bits(values: np.ndarray, notes: list[str]) -> np.ndarray:
    """Values of 16 bits as 0..255; of those that fill the lowest bits alone the rest is no brightness.

    Args:
        values: Any shape, uint16.
        notes: Gets a sentence where fewer bits than 16 are filled, as scanners of 12 bits do.

    Returns:
        The same shape, uint8.
    """
    most = int(values.max(initial=0))
    bits = 16 if most >= 2**14 or not most else max(most.bit_length(), 8)
    if bits < 16:
        notes.append(
            f"Of the 16 bits of each value only the lower {bits} are used: the brightest that they can hold "
            "was taken for white."
        )
    return np.rint(np.minimum(np.arange(65536) * (255 / (2**bits - 1)), 255)).astype(np.uint8)[values]


def _through_profile(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """Convert to sRGB through the ICC profile; a damaged or foreign profile is left out, and said."""
    try:
        lab = profile is None
        source = (
            ImageCms.createProfile("LAB") if lab else ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        )
        if image.mode == "L" and not lab and getattr(source, "profile", source).xcolor_space.strip() == "RGB":
            image = image.convert("RGB")  # grey that a program has written with its working space
        if image.mode == "RGB" and not lab:
            colours = _converted(PROBE, source)
            if np.abs(np.asarray(colours, np.int16) - np.asarray(PROBE, np.int16)).max() <= SAME:
                return image
        converted = _converted(image, source)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.debug("colour profile: %s", error)
        notes.append("The embedded colour profile is damaged or of another kind: colours may be off.")
        return image
    return converted


def _converted(image: Image.Image, source: Any) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image,
        source,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,  # else the blacks of print profiles turn grey
    )
    return image if converted is None else converted


def _from_gamma(image: Image.Image, gamma: float | None) -> Image.Image:
    """Apply PNG's own word on the curve (gAMA), where there is no profile (ISO 15948, 11.3.3.2)."""
    if image.mode not in ("RGB", "L") or not gamma:
        return image
    if not 0.1 <= gamma <= 2 or abs(gamma - SRGB_GAMMA) < 0.05:
        return image
    light = (np.arange(256) / 255) ** (1 / gamma)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return image.point(np.rint(curve * 255).astype(int).tolist() * len(image.getbands()))
