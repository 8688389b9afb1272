"""Crops on disk, their journal, and several processes."""

import dataclasses
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from aihub_corpus import picture
from faceforward.datamodules.crop_writer import CropWriter, Journal
from faceforward.datamodules.face_crops import CropMaker
from faceforward.datamodules.stored_files import Rejection, stored
from labelled_photos import photo


@pytest.fixture
def photos(astronaut, tmp_path):
    for index in range(6):
        (tmp_path / f"{index}.png").write_bytes(picture(astronaut, index, side=48))
    (tmp_path / "3.png").write_bytes(b"no picture")
    return [photo(str(i), file=stored(tmp_path / f"{i}.png", f"{i}.png")) for i in range(6)]


@pytest.fixture
def writer(tmp_path):
    (tmp_path / "out").mkdir()
    return CropWriter(tmp_path / "out", CropMaker(32, "none"))


@pytest.mark.parametrize(("suffix", "off"), [(".jpg", 6), (".png", 0)])
def test_crop_is_written_with_its_figures(writer, photos, suffix, off):
    writer = CropWriter(writer.folder, writer.crops, suffix)
    made = writer.write(photos[0])
    path = writer.folder / f"0{suffix}"
    assert made["bytes"] == path.stat().st_size
    assert made["face_height"] == pytest.approx(27)
    assert "blurred" in made["warnings"] or made["sharpness"] > 8
    difference = np.asarray(Image.open(path)).astype(int) - writer.crops(photos[0]).pixels
    assert np.abs(difference).mean() <= off
    assert [file.name for file in writer.folder.iterdir()] == [path.name]


def test_processes_do_the_same_as_one(writer, photos, tmp_path):
    alone = list(writer.write_all(photos, 1))
    contents = {path.name: path.read_bytes() for path in writer.folder.iterdir()}
    (tmp_path / "second").mkdir()
    other = CropWriter(tmp_path / "second", writer.crops)
    together = list(other.write_all(photos, 2))
    assert json.dumps(together) == json.dumps(alone)  # NaN is not equal to itself
    assert contents == {path.name: path.read_bytes() for path in other.folder.iterdir()}
    assert isinstance(alone[3], Rejection)
    assert alone[3].file == "3.png"
    assert len(contents) == 5


PROGRAM = """
import pickle, sys
from pathlib import Path

if __name__ == "__main__":
    writer, photos = pickle.loads(Path(sys.argv[1]).read_bytes())
    for made in writer.write_all(photos * 10_000, 2):
        print("made", flush=True)
"""


def test_processes_end_with_a_killed_parent(writer, photos, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "work").write_bytes(pickle.dumps((writer, photos[:2])))
    command = [sys.executable, tmp_path / "program.py", tmp_path / "work"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"made\n"
        parent.kill()
        parent.communicate(timeout=20)  # as long as a process lives it holds the pipes


def test_a_decoder_that_fails_otherwise_is_no_crash(writer, photos, monkeypatch):
    monkeypatch.setattr(CropMaker, "measured", lambda self, photo: 1 / 0)
    assert "making the crop failed: ZeroDivisionError" in writer.write(photos[0]).reason


def test_disk_that_is_full_leaves_no_half_file(writer, photos, monkeypatch):
    def fail(image, path, *args, **kwargs):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        writer.write(photos[0])
    assert list(writer.folder.iterdir()) == []


def test_journal_knows_what_is_done(writer, photos, tmp_path, caplog):
    path = tmp_path / "journal"
    journal = Journal(path)
    for item in photos[:2]:
        assert not journal.done(writer, item)
        journal.add(writer, item, writer.write(item))
    with path.open("a") as stream:
        stream.write('{"file": "2.jp')  # a kill
    journal = Journal(path)
    assert [journal.done(writer, item) for item in photos[:3]] == [True, True, False]
    (writer.folder / "0.jpg").write_bytes(b"other")
    assert not journal.done(writer, photos[0])
    (writer.folder / "0.jpg").unlink()
    assert not journal.done(writer, photos[0])
    assert not journal.done(CropWriter(writer.folder, CropMaker(64, "none")), photos[1])
    assert not journal.done(CropWriter(writer.folder, writer.crops, ".png"), photos[1])
    (writer.folder / "foreign.jpg").touch()
    journal.keep({"0.jpg"}, writer.folder)
    assert [file.name for file in writer.folder.iterdir()] == ["foreign.jpg"]
    assert list(Journal(path).lines) == ["0.jpg"]


def test_padding_is_written_where_there_is_some(writer, photos, tmp_path):
    padding = tmp_path / "padding"
    padding.mkdir()
    mask = np.zeros((32, 32), np.uint8)
    mask[:8] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    padded = dataclasses.replace(photos[0], padding=stored(tmp_path / "mask.png", "mask.png"))
    writer = CropWriter(writer.folder, writer.crops, padding=padding)
    journal = Journal(tmp_path / "journal")
    for item, share in ((padded, 0.25), (photos[1], 0.0)):
        made = writer.write(item)
        assert made["padding"] == share
        journal.add(writer, item, made)
    assert [path.name for path in padding.iterdir()] == ["0.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(padding / "0.png")), mask)
    assert journal.done(writer, padded)
    assert not journal.done(CropWriter(writer.folder, writer.crops), padded)  # made without padding
    (padding / "0.png").unlink()
    assert [journal.done(writer, item) for item in (padded, photos[1])] == [False, True]
    writer.write(padded)
    writer.write(photos[0])  # the same photograph, without padding now
    assert list(padding.iterdir()) == []
    writer.write(padded)
    journal.keep({"1.jpg"}, writer.folder, padding)
    assert list(padding.iterdir()) == []


def test_a_name_that_no_file_can_have_costs_its_photograph_only(writer, photos):
    made = writer.write(dataclasses.replace(photos[0], name="a" * 400))
    assert made == Rejection("0.png", f"the name of its crop is too long for a file: {'a' * 400}.jpg")
    assert list(writer.folder.iterdir()) == []
