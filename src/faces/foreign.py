"""Files that are no photographs, named as what they are, with what to do."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SPREADSHEET = "if it says who is in the photographs, save it as 'CSV UTF-8' under the name photos.csv"
PAGE = (
    "This is a PDF: open it and save the page as a picture, or run `pdftoppm -r 300 -png file.pdf page`; a "
    "photograph inside is got out by `pdfimages -all file.pdf photo`."
)
#: What the content begins with -> what to say.
BEGINNINGS: dict[bytes, str] = {
    b"%PDF": PAGE,
    b"\xd0\xcf\x11\xe0": "This is an older document of Word, Excel or PowerPoint: save the picture in it as "
    f"JPEG or PNG; {SPREADSHEET}.",
    b"8BPS": "This is a Photoshop document: export it as JPEG, PNG or TIFF.",
    b"gimp xcf": "This is a GIMP document: export it as JPEG, PNG or TIFF.",
    b"Rar!": "This is an archive (RAR): unpack it and give the pictures in it.",
    b"7z\xbc\xaf\x27\x1c": "This is an archive (7-Zip): unpack it and give the pictures in it.",
    b"\x1f\x8b": "This is a packed file (gzip): unpack it first.",
    b"\x1aE\xdf\xa3": "This is a video: save a frame of it as PNG in a video player.",
    b"<svg": "This is a drawing (SVG), not a photograph.",
    b"<!DOCTYPE html": "This is a web page, not a photograph: open it and save the picture itself.",
    b"<html": "This is a web page, not a photograph: open it and save the picture itself.",
}
#: A member of a zip -> what kind of document it is.
MEMBERS = {
    "xl/workbook.xml": f"This is a workbook of Excel: {SPREADSHEET}.",
    "word/document.xml": "This is a document of Word: save the picture in it as JPEG or PNG.",
    "ppt/presentation.xml": "This is a presentation: save the picture in it as JPEG or PNG.",
    "content.xml": "This is a document of LibreOffice: save the picture in it as JPEG or PNG; "
    f"{SPREADSHEET}.",
}
VIDEO_BRANDS = (b"isom", b"mp41", b"mp42", b"qt  ", b"M4V ", b"avc1", b"3gp4", b"3gp5")


def named(source: Path | io.BytesIO) -> str | None:
    """What a file is that is no picture, and the remedy; None where its content says nothing.

    Args:
        source: The file, of which the beginning is read.
    """
    try:
        if isinstance(source, io.BytesIO):
            head = source.getbuffer()[:64].tobytes()
        else:
            with source.open("rb") as stream:
                head = stream.read(64)
        for beginning, words in BEGINNINGS.items():
            if head.lstrip(b"\xef\xbb\xbf \n\r\t").startswith(beginning):
                return words
        if head[4:8] == b"ftyp" and head[8:12] in VIDEO_BRANDS:
            return "This is a video: save a frame of it as PNG in a video player."
        if head.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(source) as opened:
                members = set(opened.namelist())
            known = (words for member, words in MEMBERS.items() if member in members)
            return next(known, "This is an archive (zip): unpack it and give the pictures in it.")
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    return None
