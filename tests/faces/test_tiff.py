"""TIFFs as scanners write them come out as the picture, or are refused by name."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from faceforward.errors import UnusablePhotoError
from faceforward.faces.reading import decode_photo, read_photo


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
    data = bytearray(_tiff(grey.astype(np.float32), photometric="minisblack").getvalue())
    place = data.index(struct.pack("<HHI", 259, 3, 1))
    data[place + 8 : place + 10] = struct.pack("<H", 5)
    with pytest.raises(
        UnusablePhotoError, match=r"\(32 bits, floating-point minisblack, packed as lzw\).*8-bit"
    ):
        decode_photo(io.BytesIO(bytes(data)))
    ycbcr = np.asarray(Image.fromarray(grey).convert("RGB").convert("YCbCr"))
    with pytest.raises(UnusablePhotoError, match=r"\(8 bits, ycbcr\)"):
        decode_photo(_tiff(ycbcr, photometric="ycbcr"))


def test_packed_grey_from_white(grey):
    stream = io.BytesIO()
    Image.fromarray(65535 - grey.astype(np.uint16) * 257).save(stream, "TIFF", compression="tiff_lzw")
    data = bytearray(stream.getvalue())
    place = data.index(struct.pack("<HHI", 262, 3, 1))
    data[place + 8 : place + 10] = struct.pack("<H", 0)
    assert _error(io.BytesIO(bytes(data)), grey) == (0, [])


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("kind", ["minisblack", "miniswhite", "rgb"])
def test_few_bits_in_wide_values(picture, grey, kind, bits):
    expected = picture if kind == "rgb" else grey
    values = np.rint(expected / 255 * (2**bits - 1)).astype(np.uint16)
    error, notes = _error(
        _tiff(2**bits - 1 - values if kind == "miniswhite" else values, photometric=kind), expected
    )
    assert error < 1
    assert f"only the lower {bits}" in notes[0]


@pytest.mark.parametrize("order", "<>")
def test_large_files_of_both_byte_orders(picture, order):
    assert _error(_tiff(picture, photometric="rgb", bigtiff=True, byteorder=order), picture) == (0, [])


def test_a_mask_before_the_photograph_is_passed_over(picture, grey):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(grey > 128, photometric="mask", subfiletype=4, metadata=None)
        writer.write(picture, photometric="rgb", metadata=None)
    assert _error(io.BytesIO(stream.getvalue()), picture)[0] == 0


def test_which_of_several_pages(picture):
    def first(*pages):
        stream = io.BytesIO()
        with tifffile.TiffWriter(stream) as writer:
            for page, kind in pages:
                writer.write(page, photometric="rgb", subfiletype=kind, metadata=None)
        return decode_photo(io.BytesIO(stream.getvalue()))

    pixels, notes = first((picture[::3, ::3], 0), (picture, 0))  # a small copy that is not marked as one
    assert pixels.shape == picture.shape
    assert "small copy" in notes[0]
    pixels, notes = first((picture[:64], 0), (picture, 0))  # another picture
    assert pixels.shape == picture[:64].shape
    assert notes == ["The file holds 2 pictures: the first one was taken."]
    assert first((picture, 0), (picture[::2, ::2], 1))[1] == []  # nobody misses the small copy


@pytest.mark.parametrize("bits", [8, 16])
def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path, picture, bits):
    data = _tiff(picture.astype(f"u{bits // 8}") * (257 if bits == 16 else 1), photometric="rgb").getvalue()
    path = tmp_path / "a.tif"
    path.write_bytes(data[: len(data) * 3 // 4])
    photo = read_photo(path)
    assert photo.readable == (0, 0, 128, pytest.approx(96, abs=2))
    assert (photo.pixels[:94] == picture[:94]).all()
    Image.fromarray(picture).save(path, compression="tiff_lzw")  # libtiff puts the list of its parts last
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UnusablePhotoError, match="list of what is in it is missing"):
        read_photo(path)


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
