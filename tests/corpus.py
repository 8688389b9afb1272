"""Writes folders of broken and of good picture files, as people send them."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

pillow_heif.register_heif_opener()


def _encoded(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _texture(size: tuple[int, int] = (256, 256), seed: int = 0) -> Image.Image:
    """A smooth coloured picture without a face."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_bomb(width: int, height: int) -> bytes:
    """A few kilobytes of PNG that say they hold `width` x `height` pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1 << 20), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _png_chunk(b"IHDR", header)
        + _png_chunk(b"IDAT", data)
        + _png_chunk(b"IEND", b"")
    )


def _text_bomb() -> bytes:
    """A PNG whose compressed comment grows to 64 MB."""
    png = _encoded(_texture((64, 64)), "PNG")
    comment = b"Comment\0\0" + zlib.compress(bytes(64 << 20), 9)
    return png[:33] + _png_chunk(b"zTXt", comment) + png[33:]


def _flipped(data: bytes, count: int = 200, start: int = 20) -> bytes:
    """The data with bytes changed at `count` places."""
    changed = bytearray(data)
    places = np.random.default_rng(1).integers(start, len(data), count)
    for place in places:
        changed[place] ^= 0xA5
    return bytes(changed)


def write_broken_files(folder: Path) -> dict[str, str]:
    """Write entries that cannot become a result: unreadable, too small or without a face.

    Returns:
        Name of the entry -> what is wrong with it. The kinds `no face` and `animated` are readable pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texture = _texture()
    jpeg, png = _encoded(texture, "JPEG", quality=90), _encoded(texture, "PNG")
    webp, tiff = _encoded(texture, "WEBP"), _encoded(texture, "TIFF", compression="tiff_lzw")
    heic = _encoded(texture, "HEIF")
    frames = [_texture(seed=seed) for seed in range(4)]
    files: dict[str, tuple[str, bytes]] = {
        "empty.jpg": ("empty", b""),
        "one-byte.png": ("non-image", b"\x89"),
        "letter.jpg": ("non-image", b"Dear Sir or Madam, the photograph follows by post.\n" * 40),
        "page.pdf": ("non-image", b"%PDF-1.4\n1 0 obj << >> endobj\ntrailer << >>\n%%EOF\n"),
        "vector.svg": ("non-image", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"),
        "postscript.jpg": ("non-image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
        "noise.heic": ("non-image", np.random.default_rng(2).bytes(5000)),
        "raw.nef": ("camera raw", tiff),
        "truncated.jpg": ("truncated", jpeg[: len(jpeg) // 2]),
        "truncated.png": ("truncated", png[: len(png) // 2]),
        "truncated.webp": ("truncated", webp[: len(webp) // 2]),
        "truncated.tif": ("truncated", tiff[: len(tiff) // 2]),
        "truncated.bmp": ("truncated", _encoded(texture, "BMP")[:5000]),
        "truncated.heic": ("truncated", heic[: len(heic) // 2]),
        "header-only.jpg": ("truncated", jpeg[:200]),
        "damaged.png": ("damaged", _flipped(png)),
        "bomb.png": ("bomb", _png_bomb(60_000, 60_000)),
        "bomb-below-pillows-limit.png": ("bomb", _png_bomb(13_000, 12_000)),
        "text-bomb.png": ("bomb", _text_bomb()),
        "one-pixel.png": ("tiny", _encoded(_texture((1, 1)), "PNG")),
        "thumbnail.jpg": ("tiny", _encoded(_texture((24, 24)), "JPEG")),
        "line.png": ("tiny", _encoded(_texture((3000, 2)), "PNG")),
        "animated.gif": ("animated", _encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])),
        "animated.webp": ("animated", _encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])),
        "black.png": ("no face", _encoded(Image.new("RGB", (300, 200)), "PNG")),
        "landscape.jpg": ("no face", jpeg),
        "transparent.png": ("no face", _encoded(Image.new("RGBA", (300, 200), (0, 0, 0, 0)), "PNG")),
    }
    for name, (_, data) in files.items():
        (folder / name).write_bytes(data)
    kinds = {name: kind for name, (kind, _) in files.items()}
    (folder / "folder.jpg").mkdir()
    (folder / "broken-link.jpg").symlink_to(folder / "gone.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    kinds |= {"folder.jpg": "folder", "broken-link.jpg": "broken link", "loop.jpg": "broken link"}
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.jpg")
        kinds["pipe.jpg"] = "pipe"
    return kinds


def display_profile(gamma: float = 1.0) -> bytes:
    """An RGB profile with sRGB's primaries and another tone curve: 1.0 is linear light."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", profile[128:132])[0]
    entries = {profile[132 + 12 * i : 136 + 12 * i].decode(): 132 + 12 * i for i in range(count)}
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    for name in ("rTRC", "gTRC", "bTRC"):
        struct.pack_into(">II", profile, entries[name] + 4, len(profile), len(curve))
    description = b"desc" + bytes(4) + struct.pack(">I", 7) + b"linear\0" + bytes(78)
    struct.pack_into(">II", profile, entries["desc"] + 4, len(profile) + len(curve), len(description))
    profile += curve + description
    struct.pack_into(">I", profile, 0, len(profile))
    return bytes(profile)


def write_good_files(folder: Path, image: np.ndarray) -> dict[str, str]:
    """Write one picture in the formats and modes that people have.

    Args:
        folder: Made if need be.
        image: `(H, W, 3)` uint8 RGB.

    Returns:
        Name of the file -> what is particular about it. All look like `image`, but for compression, the
        missing colours of the kinds that start with "grey", and the coarse ones of "palette".
    """
    folder.mkdir(parents=True, exist_ok=True)
    photo = Image.fromarray(image)
    grey = photo.convert("L")
    wide = np.asarray(grey).astype(np.uint16) * 257
    files: dict[str, tuple[str, bytes]] = {
        "plain.jpg": ("JPEG", _encoded(photo, "JPEG", quality=95)),
        "progressive.jpg": ("JPEG", _encoded(photo, "JPEG", quality=95, progressive=True)),
        "two-lenses.mpo": ("MPO", _encoded(photo, "MPO", quality=95, save_all=True, append_images=[photo])),
        "plain.png": ("PNG", _encoded(photo, "PNG")),
        "plain.webp": ("WebP", _encoded(photo, "WEBP", quality=95)),
        "plain.bmp": ("BMP", _encoded(photo, "BMP")),
        "lzw.tif": ("TIFF", _encoded(photo, "TIFF", compression="tiff_lzw")),
        "plain.heic": ("HEIC", _encoded(photo, "HEIF", quality=95)),
        "plain.avif": ("AVIF", _encoded(photo, "AVIF", quality=95)),
        "wrong-suffix.jpg": ("PNG called .jpg", _encoded(photo, "PNG")),
        "no-suffix": ("PNG without a suffix", _encoded(photo, "PNG")),
        "cmyk.jpg": ("CMYK", _encoded(photo.convert("CMYK"), "JPEG", quality=95)),
        "cmyk.tif": ("CMYK", _encoded(photo.convert("CMYK"), "TIFF")),
        "palette.png": ("palette", _encoded(photo.quantize(256), "PNG")),
        "palette.gif": ("palette", _encoded(photo.quantize(256), "GIF")),
        "grey.jpg": ("grey", _encoded(grey, "JPEG", quality=95)),
        "grey.png": ("grey", _encoded(grey, "PNG")),
        "grey-16.png": ("grey, 16 bit", _encoded(Image.fromarray(wide), "PNG")),
        "grey-16.tif": ("grey, 16 bit", _encoded(Image.fromarray(wide), "TIFF")),
        "grey-alpha.png": ("grey, alpha", _encoded(grey.convert("LA"), "PNG")),
        "grey-32.tif": ("grey, 32 bit", _encoded(Image.fromarray(wide.astype(np.int32)), "TIFF")),
        "grey-float.tif": ("grey, float", _encoded(Image.fromarray(wide.astype(np.float32) / 65535), "TIFF")),
        "rgb-16.png": ("16 bit", _png_16(image)),
        "alpha.png": ("alpha", _encoded(photo.convert("RGBA"), "PNG")),
        "alpha.webp": ("alpha", _encoded(photo.convert("RGBA"), "WEBP", quality=95)),
        "profile.jpg": ("ICC profile", _linear_light(photo)),
    }
    for orientation in range(2, 9):
        tags = Image.Exif()
        tags[0x0112] = orientation
        exif = tags.tobytes()  # as bytes: from an `Exif` object pillow-heif does not write the rotation
        stored = photo.transpose(STORED_AS[orientation])
        for suffix, format in (("jpg", "JPEG"), ("png", "PNG"), ("tif", "TIFF"), ("heic", "HEIF")):
            options = {} if format in ("PNG", "TIFF") else {"quality": 95}
            data = _encoded(stored, format, exif=exif, **options)
            files[f"orientation-{orientation}.{suffix}"] = (f"EXIF orientation {orientation}", data)
    for name, (_, data) in files.items():
        (folder / name).write_bytes(data)
    return {name: kind for name, (kind, _) in files.items()}


#: EXIF orientation -> how an upright picture has to be turned before it is stored under that tag.
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _png_16(image: np.ndarray) -> bytes:
    """A 16-bit RGB PNG, which Pillow cannot write."""
    height, width, _ = image.shape
    rows = (image.astype(">u2") * 257).view(np.uint8).reshape(height, width * 6)
    data = zlib.compress(np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes())
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _png_chunk(b"IHDR", header)
        + _png_chunk(b"IDAT", data)
        + _png_chunk(b"IEND", b"")
    )


def _linear_light(photo: Image.Image) -> bytes:
    """The picture stored in linear light with the profile that says so: far too dark when it is ignored."""
    values = np.asarray(photo) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    stored = Image.fromarray(np.rint(linear * 255).astype(np.uint8))
    return _encoded(stored, "JPEG", quality=100, subsampling=0, icc_profile=display_profile(1.0))
