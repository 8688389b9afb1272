"""Pictures that say what they are: synthetic, made with a model, or a crop of a photograph."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from xml.sax.saxutils import escape, quoteattr

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from faceforward.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

Kind = Literal["synthetic", "edited", "composite", "photograph"]

#: IPTC NewsCodes "Digital Source Type", https://cv.iptc.org/newscodes/digitalsourcetype/. A crop of a
#: photograph gets none: whether it was scanned from film or taken by a camera is not known here.
SOURCE_TYPES: dict[Kind, str | None] = {
    "synthetic": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    "edited": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
    "composite": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
    "photograph": None,
}
LABELS: dict[Kind, str] = {
    "synthetic": "Synthetic picture made by a model, not a photograph. An estimate, no evidence of identity.",
    "edited": "Synthetic: a photograph whose face a model has changed. An estimate, no evidence of identity.",
    "composite": "Synthetic pictures beside a photograph. They are estimates, no evidence of identity.",
    "photograph": "Aligned crop of a photograph, not synthetic.",
}

LARGE = 6_000_000  # values; larger PNGs are packed faster: 12 megapixels in 2.1 s instead of 4.9


@dataclass(frozen=True)
class Mark:
    """What a picture says about itself.

    Attributes:
        kind: `synthetic` when every pixel comes out of a model, `edited` when a model has changed the face of
            a photograph, `composite` when photographs and synthetic
            pictures stand side by side, `photograph` for a crop of the source.
        description: What it shows, one sentence: never the name of a person or a file.
        model: Which model made it.
    """

    kind: Kind
    description: str
    model: str = ""

    @property
    def text(self) -> str:
        """Label and description."""
        return f"{LABELS[self.kind]} {self.description}"

    def xmp(self) -> bytes:
        """XMP packet with dc:description, xmp:CreatorTool and the IPTC digital source type."""
        source = SOURCE_TYPES[self.kind]
        kind = f" Iptc4xmpExt:DigitalSourceType={quoteattr(source)}" if source else ""
        tool = f"faceforward {__version__}" + (f", {self.model}" if self.model else "")
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
            'xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
            'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
            f"xmp:CreatorTool={quoteattr(tool)}{kind}>"
            f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(self.text)}</rdf:li></rdf:Alt>'
            "</dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
            '<?xpacket end="w"?>'
        ).encode()

    def png_text(self) -> PngInfo:
        """PNG text chunks, for programs that know no XMP, and the XMP packet."""
        info = PngInfo()
        info.add_text("Description", self.text)
        info.add_text("Software", f"faceforward {__version__}")
        if self.model:
            info.add_text("Source", f"Model: {self.model}")
        if self.kind != "photograph":
            info.add_text("Disclaimer", LABELS[self.kind])
        info.add_itxt("XML:com.adobe.xmp", self.xmp().decode())
        return info


def write_png(path: Path, pixels: np.ndarray, mark: Mark) -> None:
    """Write pixels as a PNG that carries `mark` and nothing else: no EXIF, no colour profile, no date.

    Args:
        path: Where.
        pixels: `(H, W, 3)` uint8 RGB.
        mark: What the picture says about itself.
    """
    level = 6 if pixels.size <= LARGE else 1
    Image.fromarray(pixels).save(path, "PNG", pnginfo=mark.png_text(), compress_level=level)


def jpeg_bytes(pixels: np.ndarray, mark: Mark, *, side: int, quality: int = 88) -> bytes:
    """A JPEG of moderate size that carries `mark`, for the report: a picture saved from it stays marked.

    Args:
        pixels: `(H, W, 3)` uint8 RGB.
        mark: What the picture says about itself.
        side: Longer side of the result in pixels; smaller pictures stay as they are.
        quality: Of the JPEG, 1 to 95.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, optimize=True, comment=mark.text, xmp=mark.xmp())
    return stream.getvalue()
