"""A family's only photograph is read as far as it goes."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from corpus import _encoded, _png_chunk, display_profile
from faceforward.errors import UnusablePhotoError
from faceforward.faces.damage import PNG_START, lost_from
from faceforward.faces.face import choose_face
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.faces.reading import decode_photo, read_photo


@pytest.fixture(scope="module")
def photo(astronaut):
    return Image.fromarray(astronaut)


def _read(tmp_path, data, name="a"):
    (tmp_path / name).write_bytes(data)
    return read_photo(tmp_path / name)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_last_bytes_is_whole(tmp_path, photo, progressive):
    data = _encoded(photo, "JPEG", quality=95, progressive=progressive)
    read = _read(tmp_path, data[:-2])
    assert (read.pixels == decode_photo(io.BytesIO(data))[0]).all()
    assert read.readable is None
    assert "damaged" in read.notes[0]
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("chunk", [b"iCCP", b"tEXt", b"tIME"])
def test_a_wrong_checksum_beside_the_picture_is_passed_over(tmp_path, photo, chunk):
    plain = _encoded(photo, "PNG", icc_profile=display_profile() if chunk == b"iCCP" else None)
    if chunk != b"iCCP":
        plain = plain[:33] + _png_chunk(chunk, b"Comment\0xyz" if chunk == b"tEXt" else bytes(7)) + plain[33:]
    data = bytearray(plain)
    start = data.index(chunk)
    length = int.from_bytes(data[start - 4 : start], "big")
    data[start + 4 + length] ^= 0xFF
    read = _read(tmp_path, bytes(data))
    expected = np.asarray(photo) if chunk != b"iCCP" else decode_photo(io.BytesIO(plain))[0]
    assert (read.pixels == expected).all()
    assert read.readable is None
    assert "damaged" in read.notes[0]


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG", "BMP"])
def test_what_is_missing_is_measured(tmp_path, photo, kind):
    noisy = np.clip(
        np.asarray(photo).astype(int) + np.random.default_rng(0).integers(0, 40, (512, 512, 3)), 1, 255
    )
    noisy = Image.fromarray(noisy.astype(np.uint8))
    format = "JPEG" if kind == "progressive" else kind
    data = _encoded(noisy, format, **({"progressive": True} if kind == "progressive" else {}))
    share = 0.04 if kind == "progressive" else 0.7  # of progressive ones the first scan holds every row
    read = _read(tmp_path, data[: int(len(data) * share)])
    x0, y0, x1, y1 = read.readable
    assert (x0, x1) == (0, 512)
    if kind == "BMP":
        assert (y0, y1) == (pytest.approx(512 * 0.3, abs=4), 512)
    elif kind != "progressive":
        assert (y0, y1) == (0, pytest.approx(512 * 0.7, abs=45))
    whole = decode_photo(io.BytesIO(data))[0]
    difference = np.abs(read.pixels[y0:y1].astype(int) - whole[y0:y1])
    assert difference.max() == 0 or kind in ("progressive", "JPEG")
    assert kind == "progressive" or difference.mean() < 1
    with pytest.raises(UnusablePhotoError, match="could not be read"):
        decode_photo(io.BytesIO(data[: int(len(data) * share)]))  # nothing to learn from


def test_the_readable_part_turns_with_the_photograph(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _encoded(photo.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)
    read = _read(tmp_path, data[: len(data) * 2 // 3])
    x0, y0, x1, y1 = read.readable
    assert (y0, y1, x1) == (0, 512, 512)
    assert 50 < x0 < 300


def test_the_face_decides(tmp_path, photo):
    data = _encoded(photo, "JPEG", quality=95)
    detector = MTCNNDetector()
    cut = _read(tmp_path, data[: len(data) * 9 // 10])
    assert cut.readable is not None
    assert choose_face(cut, detector)[0].score > 0.9
    with pytest.raises(UnusablePhotoError, match="No face was found in the part"):
        choose_face(_read(tmp_path, data[: len(data) // 6]), detector)
    face = choose_face(cut, detector)[0]
    short = dataclasses.replace(cut, readable=(0, 0, 512, int(face.box[3]) - 20))
    with pytest.raises(UnusablePhotoError, match="face lies in the part"):
        choose_face(short, detector)


@pytest.mark.parametrize("where", ["rest", "sectors"])
def test_lost_sectors_are_no_picture(tmp_path, photo, where):
    data = bytearray(_encoded(photo, "JPEG", quality=95))
    start = len(data) // 2 // 512 * 512
    end = len(data) if where == "rest" else start + 2 * 512
    data[start:end] = bytes(end - start)
    read = _read(tmp_path, bytes(data))
    whole = decode_photo(io.BytesIO(_encoded(photo, "JPEG", quality=95)))[0]
    _, _, _, last = read.readable
    assert 150 < last < 400
    assert (read.pixels[: last - 16] == whole[: last - 16]).all()
    assert "could not be read" in read.notes[0]


def test_zeros_that_are_no_loss(tmp_path, photo):
    """In the descriptions before the picture, behind its end, and in a picture that has a white wall."""
    exif = Image.Exif()
    exif[0x010E] = "x" * 20 + "\0" * 4000
    wall = np.full((2048, 2048, 3), 255, np.uint8)
    wall[:512, :512] = np.asarray(photo)
    for name, data in {
        "before": _encoded(photo, "JPEG", exif=exif),
        "behind": _encoded(photo, "JPEG") + bytes(8192),
        "within": _encoded(Image.fromarray(wall), "JPEG", optimize=True),
    }.items():
        assert lost_from(io.BytesIO(data)) is None, name
        assert _read(tmp_path, data).notes == (), name


def test_wrong_checksums_of_all_parts_are_passed_over(tmp_path, photo):
    data = bytearray(_encoded(photo, "PNG"))
    place = 8
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        data[end - 1] ^= 0xFF
        place = end
    read = _read(tmp_path, bytes(data))
    assert (read.pixels == np.asarray(photo)).all()
    assert read.notes == ("The file is damaged, but the whole picture could be read: please compare it.",)


def _interlaced(pixels):
    """A PNG in Adam7's seven passes (ISO 15948, 8.2)."""
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    rows = (row for x, y, right, down in passes for row in pixels[y::down, x::right])
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    return PNG_START + _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", data) + _png_chunk(b"IEND", b"")


def test_of_an_interlaced_png_the_rows_without_gaps_count(tmp_path, photo):
    data = _interlaced(np.asarray(photo))
    assert (_read(tmp_path, data).pixels == np.asarray(photo)).all()
    read = _read(tmp_path, data[: len(data) * 9 // 10])
    last = read.readable[3]
    assert 300 < last < 450
    assert (read.pixels[:last] == np.asarray(photo)[:last]).all()
    with pytest.raises(UnusablePhotoError, match="cut off"):
        _read(tmp_path, data[: len(data) // 2])


def test_a_progressive_jpeg_that_is_cut_off_may_lack_detail(tmp_path, photo):
    data = _encoded(photo, "JPEG", quality=95, progressive=True)
    read = _read(tmp_path, data[: len(data) // 2])
    assert read.readable is None
    assert "finer detail may be missing" in read.notes[0]
