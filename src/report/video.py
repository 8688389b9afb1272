"""Turntables as H.264 in MP4, which browsers play, and as GIF; each frame says that it is no photograph."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceforward.atomic import atomic_file
from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.faces.crops import resized
from faceforward.report.sheet import PAPER, SYNTHETIC
from faceforward.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from faceforward.report.metadata import Mark

BAR = "SYNTHETIC, NOT A PHOTOGRAPH"
GIF_SIDE = 256  # pixels: GIF packs badly
SHADES = 255  # of the GIF's palette, and one that Pillow may need
SAMPLED = 12  # frames that the palette is made of
# ITU-R H.273: without these numbers a player guesses the colours by the size of the picture.
BT709, SRGB, LIMITED = 1, 13, 1


def labelled(frame: np.ndarray, text: str = BAR) -> np.ndarray:
    """A frame with a bar under it in the colour of the sheets' synthetic pictures.

    Metadata is lost as soon as a site encodes a video anew; the bar stays.

    Args:
        frame: `(H, W, 3)` uint8 RGB.
        text: In the bar, as large as fits.

    Returns:
        `(H + h, W, 3)` uint8 RGB, h about a sixteenth of the width, at least 12.
    """
    width = frame.shape[1]
    height = max(12, width // 16)
    bar = Image.new("RGB", (width, height), SYNTHETIC)
    size = float(height - 3)
    while (font := ImageFont.load_default(size)).getlength(text) > width - 2 and size > 5:
        size -= 0.5
    ImageDraw.Draw(bar).text((width / 2, height / 2), text, fill=PAPER, font=font, anchor="mm")
    return np.concatenate([frame, np.asarray(bar)])


def write_mp4(
    path: Path, frames: Iterable[np.ndarray], mark: Mark, *, fps: int = 20, crf: int = 18, bar: bool = True
) -> int:
    """Write frames as they come: H.264 4:2:0 in BT.709, the index in front so that play begins at once.

    Args:
        path: `.mp4`; it is there when it is complete, and replaces what was there.
        frames: `(H, W, 3)` uint8 RGB of one size; a row or column is repeated where a side is odd.
        mark: What the file says about itself, as its comment.
        fps: Frames per second.
        crf: Quality, 0 (lossless) to 51.
        bar: See `labelled`.

    Returns:
        How many frames it has.

    Raises:
        ConfigurationError: The file would have another ending.
        ValueError: There is no frame, or one is of another size.
        WeightsUnavailableError: PyAV is not installed.
        OSError: It cannot be written.
    """
    if path.suffix != ".mp4":
        raise ConfigurationError(f"{path} is to be a video: let its name end in .mp4")
    av = require_av()
    count = 0
    with (
        atomic_file(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        container.metadata.update(_said(mark))
        stream: Any = None
        for pixels in _alike(frames, bar=bar):
            even = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": str(crf)})
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = "yuv420p"
                _tell_colours(stream.codec_context)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
    return count


def write_gif(
    path: Path,
    frames: Iterable[np.ndarray],
    mark: Mark,
    *,
    fps: int = 20,
    side: int = GIF_SIDE,
    bar: bool = True,
) -> int:
    """Write frames as a GIF that repeats for ever, all under one palette, so that no colour flickers.

    Frames are kept at the size of the GIF until all are there.

    Args:
        path: `.gif`; it is there when it is complete, and replaces what was there.
        frames: `(S, S, 3)` uint8 RGB of one size.
        mark: What the file says about itself, as its comment.
        fps: Frames per second; GIF counts in hundredths of a second, and browsers show at most 50.
        side: Of a larger frame, which is made smaller.
        bar: See `labelled`.

    Returns:
        How many frames were given; equal ones that follow each other are stored as one longer frame.

    Raises:
        ConfigurationError: The file would have another ending.
        ValueError: There is no frame, or one is of another size.
        OSError: It cannot be written.
    """
    if path.suffix != ".gif":
        raise ConfigurationError(f"{path} is to be a GIF: let its name end in .gif")
    small = (resized(frame, min(side, frame.shape[0])) for frame in frames)
    pictures = [Image.fromarray(frame) for frame in _alike(small, bar=bar)]
    sampled = pictures[:: -(-len(pictures) // SAMPLED)]
    together = Image.fromarray(np.concatenate([np.asarray(picture) for picture in sampled]))
    palette = together.quantize(SHADES, method=Image.Quantize.MEDIANCUT)
    first, *others = [picture.quantize(palette=palette) for picture in pictures]
    with atomic_file(path) as temporary:
        first.save(
            temporary,
            "GIF",
            save_all=True,
            append_images=others,
            duration=max(2, round(100 / fps)) * 10,
            loop=0,
            palette=bytes(palette.getpalette() or ()),  # said here, it stands once and not in each frame
            comment=mark.text.encode(),
        )
    return len(pictures)


def _alike(frames: Iterable[np.ndarray], *, bar: bool) -> Iterator[np.ndarray]:
    """The frames with their bars, all of the first one's size."""
    coming = iter(frames)
    first = next(coming, None)
    if first is None:
        raise ValueError("a video without frames: give at least one")
    for index, frame in enumerate(chain([first], coming)):
        if frame.dtype != np.uint8 or frame.shape != first.shape or frame.shape[2:] != (3,):
            raise ValueError(
                f"frame {index} is {frame.dtype} {frame.shape}: give (H, W, 3) uint8 of one size, as the "
                f"first, {first.shape}"
            )
        yield labelled(frame) if bar else frame


def _said(mark: Mark) -> dict[str, str]:
    said = {"comment": mark.text, "title": "Synthetic, not a photograph"}
    return said | {"artist": f"faceforward {__version__}" + (f", {mark.model}" if mark.model else "")}


def _tell_colours(codec: Any) -> None:
    codec.colorspace, codec.color_primaries = BT709, BT709
    codec.color_trc, codec.color_range = SRGB, LIMITED


def require_av() -> Any:
    """The module of PyAV, for a check before anything is rendered.

    Raises:
        WeightsUnavailableError: It is not installed.
    """
    try:
        return importlib.import_module("av")
    except ModuleNotFoundError as error:
        raise WeightsUnavailableError(
            "a video needs the package av: pip install 'faceforward[video]'"
        ) from error
