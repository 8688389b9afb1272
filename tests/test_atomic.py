import json
import os

import pytest

from faceforward.atomic import (
    atomic_file,
    atomic_folder,
    recover_folders,
    remove_leftovers,
    write_atomically,
)
from full_disk import full_disk

FAULTS = (OSError(28, "No space left on device"), ValueError("x"), KeyboardInterrupt())


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


def test_a_file_appears_when_it_is_complete(tmp_path):
    with atomic_file(tmp_path / "a.txt") as path:
        path.write_text("new")
        assert not (tmp_path / "a.txt").exists()
        assert path.parent == tmp_path
        assert path.name.startswith(".")
    assert content(tmp_path) == {"a.txt": "new"}


@pytest.mark.parametrize(
    "fault", [OSError(28, "No space left on device"), ValueError("x"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("there", [{}, {"a.txt": "old"}])
@pytest.mark.parametrize("written", [True, False])
def test_a_file_that_fails_leaves_the_old_one(tmp_path, fault, there, written):
    for name, text in there.items():
        (tmp_path / name).write_text(text)

    def write():
        with atomic_file(tmp_path / "a.txt") as path:
            if written:
                path.write_text("half")
            raise fault

    with pytest.raises(type(fault)):
        write()
    assert content(tmp_path) == there


def test_a_file_that_cannot_take_its_place_is_removed(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError), atomic_file(tmp_path / "a") as path:
        path.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_folder_of_a_file_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nothing" / "a.txt", "x")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        write_atomically(tmp_path / "file" / "a.txt", "x")
    assert content(tmp_path) == {"file": ""}


def test_text_on_a_full_disk(tmp_path):
    with full_disk(), pytest.raises(OSError, match="File too large"):
        write_atomically(tmp_path / "m", "x" * 40_000)
    assert list(tmp_path.iterdir()) == []


def test_name_that_is_no_utf8_stays_valid_json(tmp_path):
    write_atomically(tmp_path / "m", json.dumps({"file": "\udc80.jpg"}, ensure_ascii=False))
    assert json.loads((tmp_path / "m").read_text("utf-8"))["file"] == "\udc80.jpg"


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    final = tmp_path / "runs" / "export"
    for number in "12":
        with atomic_folder(final) as folder:
            assert list(folder.iterdir()) == []
            (folder / number).write_text(number)
            assert final.exists() == (number == "2")
    assert content(tmp_path) == {"runs/export/2": "2"}
    assert [path.name for path in final.parent.iterdir()] == ["export"]


@pytest.mark.parametrize(
    "fault", [OSError(28, "No space left on device"), ValueError("x"), KeyboardInterrupt()]
)
def test_a_folder_that_fails_leaves_the_old_one(tmp_path, fault):
    final = tmp_path / "export"
    final.mkdir()
    (final / "a").write_text("old")
    (tmp_path / ".export.faceforward-tmp").mkdir()
    (tmp_path / ".export.faceforward-tmp" / "killed").touch()

    def write():
        with atomic_folder(final) as folder:
            (folder / "a").write_text("half")
            raise fault

    with pytest.raises(type(fault)):
        write()
    assert content(tmp_path) == {"export/a": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_a_folder_that_is_lost_between_the_renames_comes_back(tmp_path):
    final = tmp_path / "export"
    final.mkdir()
    (final / "a").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_folder(final) as folder:
        folder.rmdir()
    assert content(tmp_path) == {"export/a": "old"}


def test_folders_that_a_kill_left_are_put_right(tmp_path):
    for name in (".a.faceforward-old", ".b.faceforward-old", "b", "c"):
        (tmp_path / name).mkdir()
    recover_folders(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}


def test_leftovers_are_removed(tmp_path):
    others = {"c.tmp", ".d.faceforward-tmpl", ".notes.tmp"}
    for name in (".a.txt.faceforward-tmp12", ".b.faceforward-tmp", *others):
        (tmp_path / name).touch()
    (tmp_path / ".export.faceforward-tmp" / "unet").mkdir(parents=True)
    os.utime(tmp_path / ".b.faceforward-tmp", (0, 0))
    remove_leftovers(tmp_path, older=3600)
    assert not (tmp_path / ".b.faceforward-tmp").exists()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == others
