"""Galleries by a CSV and by the names of known collections."""

import doctest

import pytest

import faceforward.report.evaluation_gallery as gallery_module
from faceforward.errors import ConfigurationError
from faceforward.report.evaluation_folders import names_of
from faceforward.report.evaluation_gallery import named, read_gallery


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def test_docstring_examples():
    assert doctest.testmod(gallery_module).failed == 0


def test_names_of_collections():
    assert named("0895_1978_04_00000044_F") == ("0895_1978", 4.0)
    assert named("002a18") == ("002", 18.0)
    assert named("holiday") is None


def test_a_folder_by_its_files_names(tmp_path):
    touch(tmp_path / "a", "002A03.jpg", "002A18.jpg", "notes.txt", ".004A01.jpg")
    touch(tmp_path / "a" / "deep", "004A20b.JPG", "holiday.jpg")
    photos = read_gallery(tmp_path / "a")
    assert [(p.file.name, p.person, p.age) for p in photos] == [
        ("002A03.jpg", "002", 3.0), ("002A18.jpg", "002", 18.0), ("004A20b.JPG", "004", 20.0)
    ]  # fmt: skip


def test_an_index_beside_a_folder_of_photos(tmp_path):
    touch(tmp_path / "photos", "1.jpg", "2.jpg")
    (tmp_path / "index.csv").write_text("\ufefffile,person,age\n1.jpg,ann,3\n2.jpg,bob,\n", encoding="utf-8")
    first, second = read_gallery(tmp_path)
    assert (first.file, first.person, first.age) == (tmp_path / "photos" / "1.jpg", "ann", 3.0)
    assert second.age is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,age\n1.jpg,3\n", "needs the columns file, person, age"),
        ("file,person,age\n1.jpg,a,old\n", "line 2: age 'old'"),
        ("file,person,age\n,a,3\n", "names no file or no person"),
        ("file,person,age\n1.jpg,a,3\n", "photographs of 1 people"),
        ("", "needs the columns"),
    ],
)
def test_what_is_no_gallery_is_refused(tmp_path, text, said):
    (tmp_path / "gallery.csv").write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read_gallery(tmp_path / "gallery.csv")


def test_a_gallery_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_gallery(tmp_path / "none")


def test_folders_of_one_name_are_told_apart(tmp_path):
    first, second = tmp_path / "a" / "out", tmp_path / "b" / "out"
    assert names_of([first, second]) == ["a/out", "b/out"]
    assert names_of([first]) == ["out"]
    with pytest.raises(ConfigurationError, match="given twice"):
        names_of([first, first])
