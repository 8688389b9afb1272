"""A family's only photograph is read as far as it goes."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from corpus import _encoded, _png_chunk, display_profile
from faceforward.errors import UnusablePhotoError
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
