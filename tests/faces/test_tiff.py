"""TIFFs as scanners write them come out as the picture, or are refused by name."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from faceforward.errors import UnusablePhotoError
from faceforward.faces.reading import decode_photo


@pytest.fixture(scope="module")
def picture(astronaut):
    return np.ascontiguousarray(astronaut[0:128, 110:238])


@pytest.fixture(scope="module")
def grey(picture):
    return np.asarray(Image.fromarray(picture).convert("L"))


def _tiff(values, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, metadata=None, **options)
    return io.BytesIO(stream.getvalue())


def _error(stream, expected):
    pixels, notes = decode_photo(stream)
    expected = expected if expected.ndim == 3 else expected[..., None]
    return np.abs(pixels.astype(int) - expected).mean(), notes


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("packed", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}])
@pytest.mark.parametrize("white", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_grey_of_all_depths(grey, bits, white, packed, order):
    values = grey.astype(f"u{bits // 8}") * ((2**bits - 1) // 255)
    photometric = "miniswhite" if white else "minisblack"
    stream = _tiff(
        (2**bits - 1 - values).astype(values.dtype) if white else values,
        photometric=photometric,
        byteorder=order,
        **packed,
    )
    error, notes = _error(stream, grey)
    assert error < 1
    assert not notes


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_floating_point_grey(grey, kind, photometric):
    values = (grey / 255).astype(kind)
    error, notes = _error(
        _tiff(values if photometric == "minisblack" else 1 - values, photometric=photometric), grey
    )
    assert error < 1
    assert not notes


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("packed", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_colours_in_one_plane_or_three(picture, bits, separate, packed, order):
    values = picture.astype(f"u{bits // 8}") * ((2**bits - 1) // 255)
    stream = _tiff(
        np.ascontiguousarray(np.moveaxis(values, -1, 0)) if separate else values,
        photometric="rgb",
        planarconfig="separate" if separate else "contig",
        byteorder=order,
        **packed,
    )
    assert _error(stream, picture)[0] < 1


def test_deep_colours_in_planes_keep_orientation_and_transparency(picture):
    values = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)]).astype(np.uint16) * 257
    values[:10, :, 3] = 0
    planes = np.ascontiguousarray(np.moveaxis(np.rot90(values), -1, 0))
    stream = _tiff(
        planes,
        photometric="rgb",
        planarconfig="separate",
        extrasamples=["unassalpha"],
        extratags=[(274, 3, 1, 6, True)],
    )
    pixels, _ = decode_photo(stream)
    assert pixels.shape == picture.shape
    assert (pixels[:10] == 128).all()
    assert (pixels[10:] == picture[10:]).all()


@pytest.mark.parametrize("deep", [False, True])
def test_a_small_copy_before_the_photograph_is_passed_over(picture, deep):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(picture[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        planes = np.ascontiguousarray(np.moveaxis(picture.astype(np.uint16) * 257, -1, 0))
        if deep:
            writer.write(planes, photometric="rgb", planarconfig="separate", metadata=None)
        else:
            writer.write(picture, photometric="rgb", metadata=None)
    error, notes = _error(io.BytesIO(stream.getvalue()), picture)
    assert error == 0
    assert "small copy" in notes[0]


def test_the_photograph_in_a_sub_file_is_found(picture):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(picture[::2, ::2], photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        writer.write(picture, photometric="rgb", metadata=None)
    assert _error(io.BytesIO(stream.getvalue()), picture)[0] == 0


def test_raw_values_under_the_name_of_a_tiff_are_refused(grey):
    stream = _tiff(grey.astype(np.uint16) * 257, photometric="cfa", extratags=[(33421, 3, 2, (2, 2), True)])
    with pytest.raises(UnusablePhotoError, match="camera raw"):
        decode_photo(stream)


def test_a_kind_that_cannot_be_read_is_named(grey):
    data = bytearray(_tiff((65535 - grey.astype(np.uint16) * 257), photometric="miniswhite").getvalue())
    place = data.index(struct.pack("<HHI", 259, 3, 1))
    data[place + 8 : place + 10] = struct.pack("<H", 5)
    with pytest.raises(UnusablePhotoError, match=r"\(16 bits, miniswhite, packed as lzw\).*8-bit TIFF"):
        decode_photo(io.BytesIO(bytes(data)))


def test_a_strip_that_holds_too_much_is_refused_without_unpacking_it(grey):
    import zlib

    stream = _tiff(grey.astype(np.float32), compression="zlib", rowsperstrip=128)
    data = bytearray(stream.getvalue())
    bomb = zlib.compress(bytes(1 << 26))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tags = file.pages[0].tags
        places = {code: tags[code].valueoffset for code in (273, 279)}
    struct.pack_into("<I", data, places[273], len(data))
    struct.pack_into("<I", data, places[279], len(bomb))
    with pytest.raises(UnusablePhotoError, match="more than the whole picture"):
        decode_photo(io.BytesIO(bytes(data) + bomb))
