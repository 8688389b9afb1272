"""Reading AI Hub 71415: the delivered tree, every oddity, every fault."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from aihub_corpus import LANDMARKS, SIDE, label, picture, write_bad, write_good, write_zip
from faceforward.datamodules.aihub import AIHubSource, read_label
from faceforward.datamodules.face_crops import pixels_of
from faceforward.datamodules.sources import collect
from faceforward.datamodules.splits import split_by_identity
from faceforward.datamodules.stored_files import stored
from faceforward.errors import ConfigurationError, UnusablePhotoError

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "aihub-sample"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    import skimage.data

    root = tmp_path_factory.mktemp("aihub") / "delivery"
    names = write_good(root, skimage.data.astronaut())
    faults = write_bad(root, skimage.data.astronaut())
    return root, names, faults


def read(root):
    return collect(AIHubSource(root).read(), str(root))


def tree(root):
    return sorted(str(path) for path in root.rglob("*"))


def test_everything_usable_is_found_and_nothing_is_written(corpus):
    root, names, (_, by_picture) = corpus
    before = tree(root.parents[0])
    photos, _ = read(root)
    assert len(by_picture) == 2  # their labels are fine
    assert [photo.name for photo in photos if photo.identity != "0004"] == names
    assert all(pixels_of(photo.file).shape == (SIDE, SIDE, 3) for photo in photos if photo.name in names)
    assert tree(root.parents[0]) == before


def test_every_fault_is_listed_with_its_reason(corpus):
    root, _, (by_label, _) = corpus
    rejected = read(root).rejected
    for end, reason in by_label.items():
        (found,) = [item for item in rejected if item.file.endswith(end)]
        assert reason in found.reason
    assert len(rejected) == len(by_label)


def test_oddities_of_the_schema(corpus):
    root, _, _ = corpus
    photos = {photo.name: photo for photo in read(root).photos}
    plain, odd = photos["0001_1980_18_00000001_F"], photos["0002_1980_18_00000001_F"]
    assert (plain.identity, odd.identity) == ("0001", "0002")  # a number and a text
    assert (plain.age, plain.gender, plain.device, plain.given) == (18, "female", "film", "train")
    assert odd.file.shown.endswith("0002_1980_18_00000001_f.png")
    assert photos["0895_1980_04_00000000_D"].given == "held-out"
    np.testing.assert_allclose(plain.landmarks, LANDMARKS * SIDE / 512, atol=0.01)
    assert photos["0003_1980_18_00000001_F"].frame == (2 * SIDE, 2 * SIDE)


def test_people_are_in_one_split_and_validation_is_never_trained_on(corpus):
    photos = read(corpus[0]).photos
    splits = split_by_identity(photos, val_share=0.1, test_share=0.1)
    people = {split: {photo.identity for photo in own} for split, own in splits.items()}
    assert people["train"] == {"0001", "0002", "0003", "0004"}
    assert people["val"] | people["test"] == {"0895", "0896", "0897", "0898"}
    assert not people["val"] & people["test"]


def test_one_zip_alone_is_a_collection(astronaut, tmp_path):
    name = "0007_1980_30_00000001_D"
    write_zip(
        tmp_path / "VS_0007.zip",
        {f"/{name}.png": picture(astronaut, 0), f"/{name}.json": label(name, 7, 30)},
    )
    (photo,) = read(tmp_path / "VS_0007.zip").photos
    assert photo.given == "held-out"


@pytest.mark.parametrize("agree", [True, False])
def test_duplicates(astronaut, tmp_path, agree):
    """The same label twice counts once; two labels that disagree count nothing."""
    name = "0007_1980_30_00000001_D"
    for folder, age in (("a", 30), ("b", 30 if agree else 31)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.json").write_bytes(label(name, 7, age))
        (tmp_path / folder / f"{name}.png").write_bytes(picture(astronaut, 0))
    other = "0007_1980_40_00000002_D"
    (tmp_path / f"{other}.json").write_bytes(label(other, 7, 40))
    (tmp_path / f"{other}.png").write_bytes(picture(astronaut, 0))
    photos, rejected = read(tmp_path)
    assert [photo.name for photo in photos] == ([name, other] if agree else [other])
    reasons = {item.file: item.reason for item in rejected}
    assert "a/" in reasons[f"b/{name}.png"]
    assert reasons[f"b/{name}.json"].startswith("duplicate")
    assert (f"a/{name}.json" in reasons) == (not agree)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"annotation": [{"landmark": "x"}]}, "are no numbers"),
        ({"annotation": [{"landmark": [[1, 2]] * 4}]}, "not five points"),
        ({"annotation": [{"landmark": [[5, 5]] * 5}]}, "lie on one another"),
        ({"annotation": {"box": 1}}, "no landmarks"),
        ({"age_past": "old"}, "no age: 'old'"),
        ({"age_past": True}, "no age: True"),
        ({"age_past": -1}, "impossible age -1"),
        ({"age_past": 52, "age_now": 45}, "impossible age 52: the person is 45 now"),
        ({"age_past": "60", "age_now": "45"}, "impossible age 60: the person is 45 now"),
        ({"filename": ""}, "no file name: ''"),
        ({"filename": "a/.."}, "no file name: '..'"),
        ({"filename": None}, "no file name: None"),
        ({"filename": "가" * 51}, "is too long: 153 bytes of UTF-8, 150 is the most"),
        ({"id": {"a": 1}}, "neither a whole number nor text: {'a': 1}"),
        ({"id": [11]}, r"neither a whole number nor text: \[11\]"),
        ({"id": True}, "neither a whole number nor text: True"),
        ({"id": 895.5}, "neither a whole number nor text: 895.5"),
        ({"width": "wide"}, "wrong size: the label says 'wide'"),
        ({"width": 20, "height": 20}, "lie outside the picture of 20 x 20"),
        ({"width": float("inf")}, "wrong size: the label says inf"),
        ({"annotation": [{"landmark": [[10**400, 1]] * 5}]}, "are no numbers"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, changes, reason):
    content = json.loads(label("x", 1, 30)) | changes
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UnusablePhotoError, match=reason):
        read_label(stored(path, "x.json"))


def test_labels_that_lack_what_is_not_needed(tmp_path):
    content = json.loads(label("0012_1980_30_1_D", 1, "30"))
    for field in ("id", "width", "height", "device", "gender"):
        del content[field]
    del content["annotation"][0]["box"]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    photo = read_label(stored(path, "x.json"))
    assert (photo.age, photo.identity, photo.gender, photo.frame, photo.box) == (30, "0012", None, None, None)


@pytest.mark.parametrize(
    ("given", "identity"),
    [
        *((form, "0895") for form in (895, 895.0, "895", "00895", " 0895", "0895.0")),
        *((form, "0012") for form in (" ", None)),
        (12345, "12345"),
        ("K-7", "0K-7"),
    ],
)
def test_one_person_has_one_id_however_it_is_written(tmp_path, given, identity):
    content = json.loads(label("0012_1980_30_1_D", 1, 30)) | {"id": given}
    content["annotation"][0]["box"]["x"] = 10**400  # not needed
    (tmp_path / "x.json").write_text(json.dumps(content))
    photo = read_label(stored(tmp_path / "x.json", "x.json"))
    assert (photo.identity, photo.box) == (identity, None)


@pytest.mark.parametrize("now", [None, "", "unknown", [45]])
def test_an_age_today_that_is_none_is_not_needed(tmp_path, now):
    (tmp_path / "x.json").write_bytes(label("x", 1, 30, age_now=now))
    assert read_label(stored(tmp_path / "x.json", "x.json")).age == 30


def test_two_labels_of_one_name_in_a_zip_are_both_read(astronaut, tmp_path):
    name, other = "0007_1980_30_00000001_D", "0007_1980_40_00000002_D"
    with zipfile.ZipFile(tmp_path / "TL_0007.zip", "w") as archive:
        archive.writestr(f"{name}.json", label(name, 7, 30))
        archive.writestr(f"{other}.json", label(other, 7, 40))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(f"{name}.json", label(name, 7, 31))
    write_zip(tmp_path / "TS_0007.zip", {f"{key}.png": picture(astronaut, 0) for key in (name, other)})
    photos, rejected = read(tmp_path)
    assert [photo.name for photo in photos] == [other]
    assert [item.file for item in rejected] == [f"TL_0007.zip/{name}.json"] * 2
    assert all("none of them is believed" in item.reason for item in rejected)


def test_wrong_root_is_named(tmp_path):
    with pytest.raises(
        ConfigurationError, match="nowhere does not exist: give the folder that holds Training"
    ):
        read(tmp_path / "nowhere")


def test_root_without_labels_says_what_is_there(astronaut, tmp_path):
    (tmp_path / "a.png").write_bytes(picture(astronaut, 0))
    with pytest.raises(ConfigurationError, match=r"no label .* but 1 pictures"):
        read(tmp_path)


def test_nothing_usable_gives_the_first_reasons(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"none of the 1 files .* a\.json: the label is not JSON"):
        read(tmp_path)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the shared sample is not on this machine")
def test_all_of_the_sample_is_read():
    before = SAMPLE.stat().st_mtime_ns
    photos, rejected = read(SAMPLE)
    assert (len(photos), rejected) == (432, [])
    assert len({photo.identity for photo in photos}) == 432
    assert {photo.given for photo in photos} == {"train", "held-out"}
    assert {photo.device for photo in photos} == {"digital", "film"}
    eyes = np.array([photo.landmarks for photo in photos])
    assert (eyes[:, 0, 0] < eyes[:, 1, 0]).all()  # the left eye is the picture's
    splits = split_by_identity(photos)
    assert len(splits["train"]) == 388
    assert len(splits["val"]) > 10
    assert len(splits["test"]) > 10
    assert SAMPLE.stat().st_mtime_ns == before
