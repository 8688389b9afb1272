"""What every labelled collection has in common."""

import csv
import logging
import pickle

import pytest

from faceforward.datamodules.sources import (
    age_of,
    collect,
    gender_of,
    given_split,
    name_of,
    whole_number,
    write_rejected,
)
from faceforward.datamodules.stored_files import Rejection, StoredFile
from faceforward.errors import ConfigurationError, UnusablePhotoError
from labelled_photos import photo


def test_names_are_unique_whatever_the_letter_case():
    photos, rejected = collect(iter([photo("b"), Rejection("x", "y"), photo("a"), photo("B")]), "here")
    assert [item.name for item in photos] == ["a", "b"]
    assert [item.file for item in rejected] == ["x", "B.png"]
    assert "duplicate: b.png has the same name" in rejected[1].reason


@pytest.mark.parametrize("change", [{"age": 9}, {"identity": "z"}, {"gender": "male"}, {"given": "test"}])
def test_labels_that_disagree_about_one_file_are_none_of_them_believed(change):
    same, first = photo("a"), photo("c")
    items = [first, same, photo("b"), photo("c", **change), photo("a")]
    photos, rejected = collect(iter(items), "here")
    assert [item.name for item in photos] == ["a", "b"]
    assert [item.file for item in rejected] == ["c.png", "c.png", "a.png"]
    assert ["none of them is believed" in item.reason for item in rejected] == [True, True, False]


def test_collection_without_a_usable_photograph_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"none of the 1 files of here can be used; the first: a: bad"
    ):
        collect(iter([Rejection("a", "bad")]), "here")
    with pytest.raises(ConfigurationError, match="here names no photograph"):
        collect(iter([]), "here")


def test_rejections_are_written_and_counted(tmp_path, caplog):
    path = tmp_path / "new" / "rejected.csv"
    with caplog.at_level(logging.INFO):
        write_rejected(path, [Rejection("a,b.png", "it is\nbroken"), Rejection("\udcff.png", "x")], 7)
        write_rejected(tmp_path / "none.csv", [], 3)
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows == [["file", "reason"], ["a,b.png", "it is\nbroken"], ["\\udcff.png", "x"]]
    assert "7 photographs are usable, 2 files are not" in caplog.text
    assert "all 3 photographs are usable" in caplog.text
    assert (tmp_path / "none.csv").read_text() == "file,reason\n"


@pytest.mark.parametrize(("value", "age"), [(7, 7), ("04", 4), (4.9, 4), (" 120 ", 120), ("4.5", 4)])
def test_ages(value, age):
    assert age_of(value) == age


@pytest.mark.parametrize("value", ["", "x", None, float("nan"), float("inf"), False, [1]])
def test_what_is_no_age(value):
    with pytest.raises(UnusablePhotoError, match="no age"):
        age_of(value)


@pytest.mark.parametrize("value", [140, -1, "1e9"])
def test_impossible_ages(value):
    with pytest.raises(UnusablePhotoError, match="impossible age"):
        age_of(value)


def test_genders_and_splits():
    words = ("Male", "F", "여성", "", None)
    assert [gender_of(word) for word in words] == ["male", "female", "female", None, None]
    assert [given_split(word) for word in ("Training", "val", "test", None)] == ["train", "val", "test", None]
    with pytest.raises(UnusablePhotoError, match="unknown gender 'x'"):
        gender_of("x")
    with pytest.raises(UnusablePhotoError, match="unknown split 'x'"):
        given_split("x")


def test_key_follows_content_and_points_and_survives_pickling():
    one = photo("a", landmarks=((1.0, 2.0),) * 5)
    assert pickle.loads(pickle.dumps(one)).key == one.key
    others = [
        photo("b", landmarks=one.landmarks),
        photo("a"),
        photo("a", landmarks=one.landmarks, frame=(3, 4)),
        photo("a", landmarks=one.landmarks, file=StoredFile("x", "a.png", size=1)),
        photo("a", landmarks=one.landmarks, file=StoredFile("x", "a.png", stamp=1)),
    ]
    assert len({one.key, *(other.key for other in others)}) == 6
    assert photo("a", landmarks=one.landmarks, age=9).key == one.key  # the crop is the same


def test_names_of_files():
    assert name_of("a b/c.1") == "a_b_c.1"
    assert name_of("가" * 50) == "가" * 50
    assert name_of("\ud800") == "_"
    for text in ("", ".", ".."):
        with pytest.raises(UnusablePhotoError, match="no file name"):
            name_of(text)
    with pytest.raises(UnusablePhotoError, match=r"the name a{20}\.\.\. is too long: 400 bytes"):
        name_of("a" * 400)


def test_whole_numbers():
    assert [whole_number(text) for text in ("895", "00895", "0895.0", "895.")] == [895] * 4
    assert [whole_number(text) for text in ("", "ann", "8.5", "8_9", "-8", "9" * 5000)] == [None] * 6
