"""UTKFace's file names and FFHQ-Aging's label file."""

import pytest

from aihub_corpus import picture, write_zip
from faceforward.datamodules.filename_labels import FFHQAgingSource, UTKFaceSource
from faceforward.datamodules.sources import collect
from faceforward.errors import ConfigurationError

HEADER = (
    "image_number,age_group,age_group_confidence,gender,gender_confidence,head_pitch,head_roll,head_yaw,"
    "left_eye_occluded,right_eye_occluded,glasses\n"
)


def read(source):
    return collect(source.read(), str(source.root))


def test_utkface_names(astronaut, tmp_path):
    data = picture(astronaut, 0, side=32, format="JPEG")
    names = [
        "26_1_2_20170116184024662.jpg.chip.jpg",
        "1_0_4_20161219140642920.jpg",
        "116_0_0_20170120134744096.JPG",
        "61_1_20170109142408075.jpg.chip.jpg",
        "130_0_0_20170120134744097.jpg",
        "26_2_2_20170116184024662.jpg",
        f"26_1_2_{'2' * 200}.jpg",
    ]
    (tmp_path / "part1").mkdir()
    for name in names[:3]:
        (tmp_path / "part1" / name).write_bytes(data)
    write_zip(tmp_path / "part2.zip", dict.fromkeys(names[3:], data))
    photos, rejected = read(UTKFaceSource(tmp_path))
    assert [(photo.name, photo.age, photo.gender) for photo in photos] == [
        ("116_0_20170120134744096", 116, "male"),
        ("1_0_20161219140642920", 1, "male"),
        ("26_1_20170116184024662", 26, "female"),
    ]
    reasons = {item.file: item.reason for item in rejected}
    assert "is not [age]_[gender]_[race]" in reasons["part2.zip/61_1_20170109142408075.jpg.chip.jpg"]
    assert "impossible age 130" in reasons["part2.zip/130_0_x_20170120134744097.jpg"]
    assert "is not [age]_[gender]_[race]" in reasons[f"part2.zip/{names[5]}"]
    assert "is too long" in reasons[f"part2.zip/26_1_x_{'2' * 200}.jpg"]


def test_utkfaces_guessed_origin_is_nowhere(tmp_path):
    """Neither in what is used nor in what is rejected, nor does it tell photographs apart."""
    for name in ("26_1_3_20170116184024662.jpg.chip.jpg", "9_0_1_2017 .jpg.chip.jpg", "26_1_2_5.jpg"):
        (tmp_path / name).touch()
    photos, rejected = read(UTKFaceSource(tmp_path))
    shown = [photo.file.shown for photo in photos] + [item.file for item in rejected]
    assert sorted(shown) == [
        "26_1_x_20170116184024662.jpg.chip.jpg",
        "26_1_x_5.jpg",
        "9_0_x_2017 .jpg.chip.jpg",
    ]
    assert {photo.name for photo in photos} == {"26_1_20170116184024662", "26_1_5"}


def test_every_tenth_of_utkfaces_names_is_test(tmp_path):
    names = [*sorted(f"{age}_0_1_2017.jpg" for age in range(1, 25)), "9_bad.jpg"]
    for name in names:
        (tmp_path / name).touch()
    photos, _ = read(UTKFaceSource(tmp_path))
    test = {f"{name.split('_')[0]}_0_2017" for name in names[::10]}
    assert {photo.name for photo in photos if photo.given == "test"} == test
    assert len(test) == 3
    assert {photo.given for photo in photos} == {"test", None}
    assert {p.given for p in read(UTKFaceSource(tmp_path, test_every=None)).photos} == {None}
    with pytest.raises(ConfigurationError, match="test_every is 1"):
        UTKFaceSource(tmp_path, test_every=1)


def ffhq(tmp_path, astronaut, lines, numbers):
    folder = tmp_path / "ffhq_aging128x128" / "00000"
    (folder / "parsings").mkdir(parents=True)
    data = picture(astronaut, 0, side=32)
    for number in numbers:
        (folder / f"{number:05d}.png").write_bytes(data)
        (folder / "parsings" / f"{number:05d}.png").write_bytes(b"a map")
    (tmp_path / "ffhq_aging_labels.csv").write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return tmp_path


def test_ffhq_aging_groups_and_splits(astronaut, tmp_path):
    lines = [
        "0,0-2,0.99,male,0.9,1,1,1,0,0,None",
        "1,30-39,0.50,female,0.9,1,1,1,0,0,None",
        "68500,70-120,0.9,female,0.9,1,1,1,0,0,Normal",
        "69000,50-69,0.9,female,0.9,1,1,1,0,0,Normal",
        "4,15-19,0.9,female,0.9,1,1,1,0,0,Normal",
        "five,15-19,0.9,female",
    ]
    root = ffhq(tmp_path, astronaut, lines, (0, 1, 68500, 69000))
    photos, rejected = read(FFHQAgingSource(root))
    assert [(p.name, p.age, p.gender, p.given) for p in photos] == [
        ("00000", 1, "male", "train"),
        ("00001", 35, "female", "train"),
        ("68500", 75, "female", "val"),
        ("69000", 60, "female", "test"),
    ]
    assert all("parsings" not in photo.file.shown for photo in photos)
    assert [item.file for item in rejected] == ["4", "five"]
    sure = read(FFHQAgingSource(root, min_confidence=0.6)).photos
    assert [photo.name for photo in sure] == ["00000", "68500", "69000"]


def test_ffhq_aging_lists_every_picture_that_is_not_used(astronaut, tmp_path):
    lines = [f"{number},0-2,0.{number},male,0.9,1,1,1,0,0,None" for number in (1, 9)]
    root = ffhq(tmp_path, astronaut, lines, (1, 9, 12))
    folder = root / "ffhq_aging128x128" / "00000"
    (folder / "000012.png").write_bytes(picture(astronaut, 0, side=32))
    (root / "small").mkdir()
    (root / "small" / "00009.png").write_bytes(picture(astronaut, 0, side=32))
    photos, rejected = read(FFHQAgingSource(root, min_confidence=0.5))
    assert [photo.name for photo in photos] == ["00009"]  # 1 is less sure: left out, not bad
    assert {item.file.rpartition("00/")[2]: item.reason for item in rejected} == {
        "000012.png": "the name is not that of an FFHQ picture, as 00012.png is",
        "small/00009.png": "duplicate: ffhq_aging128x128/00000/00009.png has the same name and is taken",
        "00012.png": "there is no label for this picture",
    }


def test_group_ages_are_those_of_the_docstring():
    groups = {"0-2": 1, "3-6": 5, "7-9": 8, "10-14": 12, "15-19": 17, "20-29": 25, "30-39": 35}
    groups |= {"40-49": 45, "50-69": 60}
    for group, age in groups.items():
        low, high = map(int, group.split("-"))
        assert (low + high + 1) // 2 == age
        assert f"{group} as {age}" in " ".join(FFHQAgingSource.__doc__.split()) or group == "30-39"


@pytest.mark.parametrize("source", [UTKFaceSource, FFHQAgingSource])
def test_wrong_roots_are_named(source, tmp_path):
    with pytest.raises(ConfigurationError, match="nowhere does not exist"):
        read(source(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match=r"there is no (picture|ffhq_aging_labels\.csv) under"):
        read(source(tmp_path))


@pytest.mark.parametrize(("text", "message"), [("a,b\n1,2\n", "lacks one of"), ("\xff", "cannot be read")])
def test_other_label_files_are_refused(tmp_path, text, message):
    (tmp_path / "ffhq_aging_labels.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=message):
        read(FFHQAgingSource(tmp_path))
