"""Zips in parts, names in cp949, and members that Python cannot unpack."""

import zipfile

import pytest

from faceforward.datamodules.split_zips import joined, part_of_zip
from faceforward.datamodules.stored_files import Rejection, StoredFile, walk
from faceforward.errors import UnusablePhotoError

CONTENT = {f"{number}.txt": bytes([number]) * 5000 for number in range(8)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "X.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in CONTENT.items():
            archive.writestr(name, data)
    return path.read_bytes()


def split(folder, data, names, size):
    for place, name in enumerate(names):
        (folder / name).write_bytes(data[place * size : (place + 1) * size])


def by_bytes(data, size):
    return [f"X.zip.part{start}" for start in range(0, len(data), size)]


def contents(folder):
    return {found.shown: found.read() for found in walk(folder) if isinstance(found, StoredFile)}


@pytest.mark.parametrize("size", [3000, 9999, 50_000])
def test_parts_that_are_named_by_their_first_byte(whole, tmp_path, size):
    names = by_bytes(whole, size)
    split(tmp_path, whole, names, size)
    assert sorted(names) != names or size > 9000  # in the order of text the zip would be ruined
    assert contents(tmp_path) == {f"X.zip/{name}": data for name, data in CONTENT.items()}
    assert not any(isinstance(found, Rejection) for found in walk(tmp_path))


@pytest.mark.parametrize("form", ["X.zip.part{}", "X.zip.{:03}"])
@pytest.mark.parametrize("first", [0, 1])
def test_parts_that_are_counted(whole, tmp_path, form, first):
    size = len(whole) // 11
    split(tmp_path, whole, [form.format(first + n) for n in range(12)], size)
    assert contents(tmp_path) == {f"X.zip/{name}": data for name, data in CONTENT.items()}


def test_a_lone_part_is_a_zip_and_a_whole_one_needs_no_parts(whole, tmp_path):
    (tmp_path / "X.zip.part0").write_bytes(whole)
    assert len(contents(tmp_path)) == len(CONTENT)
    (tmp_path / "X.zip").write_bytes(whole)
    assert len(contents(tmp_path)) == len(CONTENT)
    (rejected,) = [found for found in walk(tmp_path) if isinstance(found, Rejection)]
    assert rejected == ("X.zip.part0", "a part of X.zip, which is there as a whole")


@pytest.mark.parametrize("lost", [0, 2, -1])
def test_a_gap_is_named(whole, tmp_path, lost):
    names = by_bytes(whole, 9000)
    split(tmp_path, whole, names, 9000)
    (tmp_path / names[lost]).unlink()
    (rejected,) = walk(tmp_path)
    assert rejected.file == "X.zip"
    if lost == 0:
        assert "first part is missing" in rejected.reason
    elif lost == 2:
        assert "X.zip.part18000 was expected" in rejected.reason
    else:
        assert "cannot be opened" in rejected.reason  # nothing says how many there should be


def test_a_part_that_is_cut_off(whole, tmp_path):
    names = by_bytes(whole, 9000)
    split(tmp_path, whole, names, 9000)
    (tmp_path / names[1]).write_bytes(b"x" * 100)
    with pytest.raises(UnusablePhotoError, match=r"before X\.zip\.part18000: X\.zip\.part09100|part9100"):
        joined(tmp_path / name for name in names)


def test_names_of_parts():
    assert part_of_zip("TS_0001.ZIP.PART1073741824") == "TS_0001.ZIP"
    assert part_of_zip("a.zip.007") == "a.zip"
    assert part_of_zip("a.zip") is None
    assert part_of_zip("a.jpg.001") is None


def test_spanned_zips_are_named(tmp_path):
    (tmp_path / "a.z01").write_bytes(b"x")
    (rejected,) = walk(tmp_path)
    assert "zip -s 0" in rejected.reason


@pytest.mark.parametrize("encoding", ["cp949", "utf-8"])
def test_korean_names_without_the_flag(tmp_path, encoding):
    """As Korean Windows writes them: no UTF-8 flag, cp949 bytes."""
    name = "사진/홍길동_1.txt"
    raw = name.encode(encoding)
    stand_in = "x" * len(raw)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(stand_in, "1")
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), raw))
    assert contents(tmp_path) == {f"a.zip/{name}": b"1"}


def test_deflate64_is_named_with_a_remedy(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "1" * 100)
    data = bytearray(path.read_bytes())
    for start, field in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(start) + field] = 9
    path.write_bytes(bytes(data))
    (rejected,) = walk(tmp_path)
    assert rejected.file == "a.zip/a.txt"
    assert "7-Zip" in rejected.reason
