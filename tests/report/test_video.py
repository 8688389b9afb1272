"""Videos and GIFs read back by the libraries that wrote them."""

import sys

import av
import numpy as np
import pytest
from PIL import Image

from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.report.metadata import Mark
from faceforward.report.sheet import SYNTHETIC
from faceforward.report.video import labelled, write_gif, write_mp4
from full_disk import full_disk

MARK = Mark("synthetic", "A head. 모델.", "tiny")


def frames(count=10, height=64, width=64):
    """One colour each, blue rising."""
    for index in range(count):
        yield np.full((height, width, 3), (200, 20, 20 + 20 * index), np.uint8)


def test_mp4_is_what_browsers_play(tmp_path):
    path = tmp_path / "a.mp4"
    assert write_mp4(path, frames(), MARK, fps=25) == 10
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv420p"
        assert stream.average_rate == 25
        assert (stream.frames, stream.width, stream.height) == (10, 64, 76)
        context = stream.codec_context
        assert (context.colorspace, context.color_primaries, context.color_range) == (1, 1, 1)
        assert "not a photograph" in container.metadata["comment"]
        assert container.metadata["comment"].endswith("A head. 모델.")
        assert "faceforward" in container.metadata["artist"]
        # Said, because PyAV before 17 does not look at what the file says about its colours.
        spaces = {"src_colorspace": "ITU709", "dst_colorspace": "ITU709"}
        ranges = {"src_color_range": "MPEG", "dst_color_range": "JPEG"}
        decoded = [
            frame.reformat(format="rgb24", **spaces, **ranges).to_ndarray()
            for frame in container.decode(stream)
        ]
    assert len(decoded) == 10
    for index, pixels in enumerate(decoded):
        np.testing.assert_allclose(pixels[20, 20], (200, 20, 20 + 20 * index), atol=4)
    content = path.read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")  # it plays before it is loaded
    assert list(tmp_path.iterdir()) == [path]


def test_odd_sides_become_even(tmp_path):
    write_mp4(tmp_path / "a.mp4", frames(3, 65, 33), MARK, bar=False)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (34, 66)
        pixels = next(container.decode(stream)).to_ndarray(format="rgb24")
    np.testing.assert_allclose(pixels[-1, -1], pixels[20, 20], atol=4)  # repeated, not black


def test_frames_are_taken_as_they_come(tmp_path):
    alive = []

    def counted():
        for frame in frames(200, 16, 16):
            alive.append(sys.getrefcount(frame))
            yield frame

    assert write_mp4(tmp_path / "a.mp4", counted(), MARK) == 200
    assert len(alive) == 200


def test_gif_repeats_for_ever_under_one_palette(tmp_path):
    path = tmp_path / "a.gif"
    assert write_gif(path, frames(10, 300, 300), MARK, fps=20) == 10
    with Image.open(path) as image:
        assert image.n_frames == 10
        assert image.info["loop"] == 0
        assert image.size == (256, 256 + 16)
        assert image.info["comment"].decode().endswith("A head. 모델.")
        for index in range(10):
            image.seek(index)
            assert image.info["duration"] == 50
            pixels = np.asarray(image.convert("RGB"))
            np.testing.assert_allclose(pixels[20, 20], (200, 20, 20 + 20 * index), atol=8)
    # There is a table for all frames (bit 7).
    content = path.read_bytes()
    assert content[10] & 0x80
    assert content.count(b"NETSCAPE2.0\x03\x01\x00\x00\x00") == 1
    assert local_palettes(content) == [False] * 10
    assert list(tmp_path.iterdir()) == [path]


def local_palettes(content):
    """Whether each frame of a GIF has a palette of its own."""
    at, found = 13 + 3 * 2 ** ((content[10] & 7) + 1), []
    while content[at] != 0x3B:
        if content[at] == 0x21:
            at += 2
        else:
            flags = content[at + 9]
            found.append(bool(flags & 0x80))
            at += 11 + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0)
        while content[at]:
            at += content[at] + 1
        at += 1
    return found


def test_every_frame_says_that_it_is_synthetic():
    frame = np.zeros((128, 128, 3), np.uint8)
    marked = labelled(frame)
    assert marked.shape == (140, 128, 3)
    np.testing.assert_array_equal(marked[:128], frame)  # nothing of the picture is covered
    assert tuple(marked[-1, 0]) == SYNTHETIC
    assert (marked[128:] > 190).all(axis=2).sum() > 50  # letters
    assert labelled(np.zeros((512, 512, 3), np.uint8)).shape == (544, 512, 3)


@pytest.mark.parametrize(("write", "ending"), [(write_mp4, "mp4"), (write_gif, "gif")])
def test_what_is_no_video_is_refused_and_leaves_nothing(tmp_path, write, ending):
    with pytest.raises(ConfigurationError, match="end in"):
        write(tmp_path / "a.avi", frames(), MARK)
    path = tmp_path / f"a.{ending}"
    with pytest.raises(ValueError, match="at least one"):
        write(path, [], MARK)
    uneven = [*frames(2), np.zeros((32, 64, 3), np.uint8)]
    if ending == "mp4":
        with pytest.raises(ValueError, match=r"frame 2 is uint8 \(32, 64, 3\)"):
            write(path, uneven, MARK, bar=False)
    with pytest.raises(ValueError, match="frame 0 is float32"):
        write_mp4(tmp_path / "a.mp4", [np.zeros((8, 8, 3), np.float32)], MARK, bar=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("write", "ending"), [(write_mp4, "mp4"), (write_gif, "gif")])
def test_a_full_disk_leaves_the_older_file(tmp_path, write, ending):
    path = tmp_path / f"a.{ending}"
    path.write_text("older")
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, (256, 256, 3)).astype(np.uint8) for _ in range(6)]
    with full_disk(), pytest.raises(OSError, match="large"):
        write(path, noise, MARK)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(WeightsUnavailableError, match=r"pip install 'faceforward\[video\]'"):
        write_mp4(tmp_path / "a.mp4", frames(), MARK)
