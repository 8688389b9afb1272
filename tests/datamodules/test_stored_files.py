"""Files on disk and in zips, read in any process, never unpacked."""

import multiprocessing
import os
import threading
import warnings
import zipfile

import pytest

from faceforward.datamodules import stored_files
from faceforward.datamodules.stored_files import OPEN_ZIPS, Rejection, StoredFile, stored, walk
from faceforward.errors import UnusablePhotoError


def write(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_walk_finds_files_then_members(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.txt").write_text("2")
    (tmp_path / ".hidden").write_text("x")
    members = {"/x/one.txt": "1", "__MACOSX/._one.txt": "x", "x/": "", "x/.hidden": "", "x\\three.txt": "3"}
    write(tmp_path / "a.zip", **members)
    found = list(walk(tmp_path))
    assert [file.shown for file in found] == ["b/two.txt", "a.zip/x/one.txt", "a.zip/x/three.txt"]
    assert [file.read() for file in found] == [b"2", b"1", b"3"]
    assert [file.member is None for file in found] == [True, False, False]


def test_nothing_is_written_for_names_that_leave_the_folder(tmp_path):
    inner = tmp_path / "in"
    inner.mkdir()
    write(inner / "a.zip", **{"../../evil.txt": "x", "/etc/evil.txt": "y", "C:\\evil.txt": "z"})
    assert [file.read() for file in walk(inner)] == [b"x", b"y", b"z"]
    assert [path.name for path in tmp_path.rglob("*") if "evil" in path.name] == []


def test_links_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("1")
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "back").symlink_to(root)
    assert [file.shown for file in walk(root)] == ["linked/a.txt"]


def test_what_cannot_be_read_is_told(tmp_path):
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "broken.zip").write_bytes(b"PK")
    (tmp_path / "data.zip.part3").write_bytes(b"PK")
    (tmp_path / "photos.tar").write_bytes(b"")
    write(tmp_path / "outer.zip", **{"/TS_0001.ZIP": "PK"})
    reasons = {item.file: item.reason for item in walk(tmp_path) if isinstance(item, Rejection)}
    assert "no such file" in reasons["gone.txt"]
    assert "no regular file" in reasons["pipe.txt"]
    assert "download it again" in reasons["broken.zip"]
    assert "first part is missing" in reasons["data.zip"]
    assert "that is no zip: unpack it" in reasons["photos.tar"]
    assert "unpack the outer one" in reasons["outer.zip/TS_0001.ZIP"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_folder_that_may_not_be_listed_is_told(tmp_path):
    (tmp_path / "locked").mkdir(mode=0)
    (item,) = walk(tmp_path)
    assert "cannot be listed" in item.reason


def test_damaged_member_and_missing_file(tmp_path):
    path = write(tmp_path / "a.zip", **{"a.txt": os.urandom(1000)})
    (file,) = walk(tmp_path)
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(UnusablePhotoError, match="cannot be read in its zip"):
        file.read()
    with pytest.raises(UnusablePhotoError, match="cannot be read in its zip"):
        StoredFile(str(path), "b", "not there").read()
    with pytest.raises(UnusablePhotoError, match=r"cannot be read \(No such file"):
        StoredFile(str(tmp_path / "b"), "b").read()
    with pytest.raises(UnusablePhotoError, match="There is no such file"):
        stored(tmp_path / "b", "b")


def test_member_that_holds_too_much_is_refused(tmp_path):
    write(tmp_path / "bomb.zip", **{"a.json": bytes(100_000)})
    (file,) = walk(tmp_path)
    with pytest.raises(UnusablePhotoError, match="more than 1000 bytes"):
        file.read(1000)


def test_replaced_zip_is_read_anew_and_few_are_open(tmp_path):
    path = write(tmp_path / "a.zip", **{"a.txt": "old"})
    (file,) = walk(tmp_path)
    assert file.read() == b"old"
    write(tmp_path / "new", **{"a.txt": "newer"}).replace(path)
    assert file.read() == b"newer"
    for index in range(OPEN_ZIPS + 3):
        write(tmp_path / f"{index}.zip", **{"a.txt": "1"})
    assert sum(len(file.read()) for file in walk(tmp_path)) > OPEN_ZIPS
    assert len(stored_files._open_zips.files) == OPEN_ZIPS


def _read_often(file, expected, times=200):
    for _ in range(times):
        if file.read() != expected:
            os._exit(1)


def test_forked_processes_and_threads_share_nothing(tmp_path):
    """A forked child that used the parent's file position would read the other's bytes."""
    contents = {f"{index}.bin": os.urandom(50_000) for index in range(3)}
    write(tmp_path / "a.zip", **contents)
    files = {file.shown: file for file in walk(tmp_path)}
    pairs = [(files[f"a.zip/{name}"], data) for name, data in contents.items()]
    pairs[0][0].read()  # open before the fork
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        children = [context.Process(target=_read_often, args=pair) for pair in pairs[:2]]
        for child in children:
            child.start()
    threads = [threading.Thread(target=_read_often, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for worker in (*threads, *children):
        worker.join()
    assert [child.exitcode for child in children] == [0, 0]


def test_members_of_one_name_are_each_themselves(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.txt", "two")
    assert [file.read() for file in walk(tmp_path)] == [b"one", b"two"]


def test_a_member_that_has_moved_is_not_taken_for_another(tmp_path):
    write(tmp_path / "a.zip", **{"a.txt": "1", "b.txt": "2"})
    _, file = walk(tmp_path)
    write(tmp_path / "a.zip", **{"a.txt": "longer", "b.txt": "2"})
    with pytest.raises(UnusablePhotoError, match=r"b\.txt is not where it was: the zip has been changed"):
        file.read()
