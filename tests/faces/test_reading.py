"""Every kind of file people send is read alike or refused in words."""

from __future__ import annotations

import io
import os
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from corpus import _encoded, _png_bomb, _png_chunk, display_profile, write_broken_files, write_good_files
from faceforward.errors import UnusablePhotoError
from faceforward.faces.reading import IMAGE_SUFFIXES, RAW_SUFFIXES, read_photo, safe_id

READABLE = {"no face", "animated"}
CUT_OFF = {"truncated.jpg": 0.43, "truncated.png": 0.49}  # share of the rows that can be read


@pytest.fixture(scope="module")
def picture(astronaut):
    return np.ascontiguousarray(astronaut[0:256, 100:340])


@pytest.fixture(scope="module")
def good(tmp_path_factory, picture):
    folder = tmp_path_factory.mktemp("good")
    return folder, write_good_files(folder, picture)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    return folder, write_broken_files(folder)


def test_every_good_file_looks_like_the_picture(good, picture):
    folder, kinds = good
    grey = np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))
    for name, kind in kinds.items():
        photo = read_photo(folder / name)
        assert photo.pixels.dtype == np.uint8, name
        assert photo.pixels.shape == picture.shape, name
        expected = grey if kind.startswith("grey") else picture
        error = np.abs(photo.pixels.astype(float) - expected).mean()
        lossless = name.endswith((".png", ".tif", ".bmp")) and "palette" not in name and kind != "CMYK"
        stretched = kind == "grey, 32 bit"
        assert error <= (2.5 if stretched else 0.01 if lossless else 6.0), (name, error)
        assert bool(photo.notes) == stretched, (name, photo.notes)
        assert photo.id == Path(name).stem
        assert photo.file == str(folder / name)


def test_every_broken_file_is_refused_in_words(broken):
    folder, kinds = broken
    assert len(set(kinds.values())) >= 12
    for name, kind in kinds.items():
        started = time.monotonic()
        if name in CUT_OFF:
            photo = read_photo(folder / name)
            assert photo.readable == (0, 0, 256, pytest.approx(256 * CUT_OFF[name], abs=3)), name
            assert "could not be read" in photo.notes[0]
        elif name == "text-bomb.png":  # its comment is passed over
            assert read_photo(folder / name).readable is None
        elif kind in READABLE:
            photo = read_photo(folder / name)
            assert bool(photo.notes) == (kind == "animated"), name
        else:
            with pytest.raises(UnusablePhotoError) as caught:
                read_photo(folder / name)
            message = str(caught.value)
            assert 20 < len(message) < 300, message
            assert message.endswith((".", "better).")), message
            assert "\n" not in message, message
            assert "<" not in message, message  # no Python objects
        assert time.monotonic() - started < 5, name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.jpg", "empty"),
        ("letter.jpg", "not a picture"),
        ("raw.nef", "raw"),
        ("header-only.jpg", "damaged"),
        ("bomb.png", "million"),
        ("bomb-below-pillows-limit.png", "13000 x 12000"),
        ("thumbnail.jpg", "24 x 24"),
        ("folder.jpg", "folder"),
        ("broken-link.jpg", "link"),
        ("loop.jpg", "link"),
        ("pipe.jpg", "pipe"),
        ("gone.jpg", "cannot be opened"),
    ],
)
def test_the_reason_is_named(broken, name, words):
    folder, kinds = broken
    if name == "pipe.jpg" and name not in kinds:
        pytest.skip("no pipes on this system")
    with pytest.raises(UnusablePhotoError, match=words):
        read_photo(folder / name)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no file permissions on this system")
def test_a_file_without_permission_is_refused(tmp_path, picture):
    path = tmp_path / "locked.png"
    Image.fromarray(picture[:40, :40]).save(path)
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o755)
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(UnusablePhotoError, match="permissions"):
            read_photo(path)
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("format", "suffix"), [("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png"), ("TIFF", "tif")]
)
def test_of_several_frames_the_first_is_taken(tmp_path, format, suffix):
    frames = [Image.new("RGB", (64, 48), color) for color in ("red", "lime", "blue")]
    path = tmp_path / f"moving.{suffix}"
    frames[0].save(path, format, save_all=True, append_images=frames[1:])
    photo = read_photo(path)
    assert np.abs(photo.pixels.astype(int) - (255, 0, 0)).max() <= 3
    assert photo.notes == ("The file holds 3 pictures: the first one was taken.",)


def test_of_several_heic_pictures_the_main_one_is_taken(tmp_path):
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "lime", "blue")]
    path = tmp_path / "burst.heic"
    frames[0].save(path, "HEIF", save_all=True, append_images=frames[1:], primary_index=1)
    photo = read_photo(path)
    assert photo.pixels[32, 32, 1] > 200
    assert photo.notes == ("The file holds 3 pictures: the main one was taken.",)


def test_transparent_parts_become_neutral_grey(tmp_path, picture):
    alpha = np.full(picture.shape[:2], 255, np.uint8)
    alpha[:40] = 0
    path = tmp_path / "cut-out.png"
    Image.fromarray(np.dstack([picture, alpha])).save(path)
    pixels = read_photo(path).pixels
    assert (pixels[:40] == 128).all()
    assert (pixels[40:] == picture[40:]).all()


def test_a_transparent_palette_entry_becomes_neutral_grey(tmp_path):
    image = Image.fromarray(np.repeat(np.arange(2, dtype=np.uint8), 32)[None].repeat(64, 0), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    path = tmp_path / "palette.png"
    image.save(path, transparency=0)
    pixels = read_photo(path).pixels
    assert (pixels[:, :32] == 128).all()
    assert (pixels[:, 32:] == (0, 0, 255)).all()


def test_adobe_stores_cmyk_inverted(tmp_path, picture):
    """The bytes of an Adobe JPEG are inverted and a marker says so; both must come out alike."""
    cmyk = Image.fromarray(picture).convert("CMYK")
    adobe = _encoded(cmyk, "JPEG", quality=95)
    assert b"Adobe" in adobe
    (tmp_path / "adobe.jpg").write_bytes(adobe)
    start = adobe.index(b"Adobe") - 4
    length = int.from_bytes(adobe[start + 2 : start + 4], "big")
    inverted = _encoded(Image.fromarray(255 - np.asarray(cmyk), "CMYK"), "JPEG", quality=95)
    (tmp_path / "plain.jpg").write_bytes(inverted[:start] + inverted[start + 2 + length :])
    first, second = (read_photo(tmp_path / name).pixels.astype(int) for name in ("adobe.jpg", "plain.jpg"))
    assert np.abs(first - picture).mean() < 3
    assert np.abs(first - second).mean() < 1


def test_the_colour_profile_is_obeyed(tmp_path, picture):
    path = tmp_path / "gamma.png"
    Image.fromarray(picture).save(path, icc_profile=display_profile(1.0))
    bright = read_photo(path).pixels
    values = picture / 255
    expected = 255 * np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    assert np.abs(bright - expected).mean() < 1


def _renamed(profile, name):
    """The profile under another name, of at most as many letters as there is room for."""
    start = profile.index(b"desc", 132 + 12 * int.from_bytes(profile[128:132], "big"))
    size = int.from_bytes(profile[start + 8 : start + 12], "big")
    tag = b"desc" + bytes(4) + (len(name) + 1).to_bytes(4, "big") + name + bytes(79)
    place = profile.index(b"desc", 132)
    changed = bytearray(profile + tag)
    changed[place + 4 : place + 12] = len(profile).to_bytes(4, "big") + len(tag).to_bytes(4, "big")
    changed[0:4] = len(changed).to_bytes(4, "big")
    assert size
    return bytes(changed)


def test_a_profile_is_judged_by_what_it_does_not_by_its_name(tmp_path, picture):
    values = picture / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    stored = Image.fromarray(np.rint(linear * 255).astype(np.uint8))
    named = _renamed(display_profile(1.0), b"GIMP built-in Linear sRGB")
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(named)))
    stored.save(tmp_path / "linear.png", icc_profile=named)
    pixels = read_photo(tmp_path / "linear.png").pixels
    assert np.abs(pixels.astype(int) - picture)[picture > 40].mean() < 2  # 8 bits hold little of what is dark
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(picture).save(tmp_path / "srgb.png", icc_profile=srgb)
    assert (read_photo(tmp_path / "srgb.png").pixels == picture).all()


def test_grey_with_a_profile_of_colours(tmp_path, picture):
    grey = Image.fromarray(picture).convert("L")
    grey.save(tmp_path / "grey.png", icc_profile=display_profile(1.0))
    grey.convert("RGB").save(tmp_path / "colour.png", icc_profile=display_profile(1.0))
    one, other = (read_photo(tmp_path / name) for name in ("grey.png", "colour.png"))
    assert (one.pixels == other.pixels).all()
    assert one.pixels.mean() > np.asarray(grey).mean() + 20
    assert one.notes == ()


@pytest.mark.parametrize(("gamma", "same"), [(100000, False), (45455, True)])
def test_the_curve_of_a_png_without_a_profile_is_obeyed(tmp_path, picture, gamma, same):
    data = _encoded(Image.fromarray(picture), "PNG")
    (tmp_path / "gamma.png").write_bytes(
        data[:33] + _png_chunk(b"gAMA", struct.pack(">I", gamma)) + data[33:]
    )
    pixels = read_photo(tmp_path / "gamma.png").pixels
    assert (pixels == picture).all() == same
    values = picture / 255
    expected = 255 * np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    assert same or np.abs(pixels - expected).mean() < 1


def test_a_lab_tiff_is_read(tmp_path, picture):
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    path = tmp_path / "lab.tif"
    ImageCms.applyTransform(Image.fromarray(picture), transform).save(path)
    assert np.abs(read_photo(path).pixels.astype(int) - picture).mean() < 3


@pytest.mark.parametrize("profile", [b"not a profile", display_profile()[:200]])
def test_a_damaged_colour_profile_is_said(tmp_path, picture, profile):
    path = tmp_path / "profile.png"
    Image.fromarray(picture).save(path, icc_profile=profile)
    photo = read_photo(path)
    assert (photo.pixels == picture).all()
    assert "profile" in photo.notes[0]


def test_damaged_exif_does_not_cost_the_photograph(tmp_path, picture):
    path = tmp_path / "exif.jpg"
    Image.fromarray(picture).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\x00\x63" * 9)
    assert read_photo(path).pixels.shape == picture.shape


def test_dark_16_bit_values_are_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    for name in ("ramp.png", "ramp.tif"):
        Image.fromarray(values).save(tmp_path / name)
        expected = np.rint(values / 257)
        assert (read_photo(tmp_path / name).pixels == expected[..., None]).all()


def test_the_pixel_limit_is_the_callers(tmp_path, picture):
    path = tmp_path / "photo.png"
    Image.fromarray(picture).save(path)
    with pytest.raises(UnusablePhotoError, match="0 million allowed"):
        read_photo(path, max_pixels=1000)


def test_a_bomb_costs_no_memory(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_bomb(30_000, 30_000))
    with pytest.raises(UnusablePhotoError):
        read_photo(path)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * (1 if sys.platform == "darwin" else 1024) < 200e6


def test_random_damage_never_escapes_as_another_error(tmp_path, picture):
    """Flip bytes of real files: a photograph or a refusal, nothing else."""
    rng = np.random.default_rng(5)
    image = Image.fromarray(picture[::2, ::2])
    path = tmp_path / "damaged"
    for format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "HEIF"):
        data = np.frombuffer(_encoded(image, format), np.uint8)
        for _ in range(25):
            changed = data.copy()
            changed[rng.integers(0, len(data), 6)] = rng.integers(0, 256, 6)
            path.write_bytes(changed.tobytes())
            try:
                read_photo(path)
            except UnusablePhotoError as error:
                assert str(error)  # noqa: PT017 - either outcome is right


def test_names_become_folder_names():
    assert safe_id("Müller, Anna (1991)") == "Müller__Anna__1991_"
    assert safe_id("Mu\u0308ller") == "Müller"
    assert safe_id("김민수-07") == "김민수-07"
    assert {".jpg", ".heic", ".tif"} <= IMAGE_SUFFIXES
    assert not IMAGE_SUFFIXES & RAW_SUFFIXES
