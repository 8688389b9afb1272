"""What is no photograph is named as what it is."""

import io
import zipfile

import pytest

from faceforward.errors import UnusablePhotoError
from faceforward.faces.reading import read_photo


def _zip(*members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        for member in members:
            opened.writestr(member, "x")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"%PDF-1.4\n1 0 obj << >> endobj\n", "PDF.*pdftoppm"),
        (_zip("[Content_Types].xml", "xl/workbook.xml"), r"workbook of Excel.*photos\.csv"),
        (_zip("word/document.xml"), "document of Word"),
        (_zip("mimetype", "content.xml"), "LibreOffice"),
        (_zip("a.jpg"), r"archive \(zip\): unpack"),
        (b"PK\x03\x04 cut off", "not a picture"),
        (b"\xd0\xcf\x11\xe0" + bytes(40), "older document"),
        (b"\0\0\0\x18ftypmp42" + bytes(40), "video"),
        (b"8BPS\0\1" + bytes(40), "Photoshop"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "web page"),
    ],
)
def test_it_is_named(tmp_path, content, words):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnusablePhotoError, match=words):
        read_photo(tmp_path / "a.jpg")
