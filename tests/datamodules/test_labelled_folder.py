"""FADING's form, a CSV, and what `faceforward prepare` writes."""

import numpy as np
import pytest

from aihub_corpus import picture, write_zip
from faceforward.datamodules.index import read_index, write_index
from faceforward.datamodules.labelled_folder import FolderSource, read_ages
from faceforward.datamodules.sources import collect
from faceforward.errors import ConfigurationError


@pytest.fixture
def images(astronaut, tmp_path):
    folder = tmp_path / "training_images"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index:05d}.jpg").write_bytes(picture(astronaut, index, side=32, format="JPEG"))
    return folder


def read(root):
    return collect(FolderSource(root).read(), str(root))


def save(root, rows, dtype=str):
    np.save(root / "training_ages.npy", np.array(rows, dtype=dtype))


def test_fadings_array(images, tmp_path):
    save(tmp_path, [["00000.jpg", "1"], ["00001.jpg", "4.5"], ["gone.jpg", "7"], ["00001.jpg", "150"]])
    photos, rejected = read(tmp_path)
    assert [(photo.name, photo.age, photo.identity) for photo in photos] == [
        ("00000", 1, "00000"),
        ("00001", 4, "00001"),
    ]
    reasons = {item.file: item.reason for item in rejected}
    assert "no such file" in reasons["gone.jpg"]
    assert "impossible age 150" in reasons["00001.jpg"]
    assert "no label" in reasons["00002.jpg"]


def test_bytes_are_read_as_text_and_cut_names_are_told(images, tmp_path):
    save(tmp_path, [["00000.jpg", "1"], ["00001.jpg", "2"]], dtype="S9")
    assert len(read(tmp_path).photos) == 2
    save(tmp_path, [["00000.jpg", "1"], ["0895_1978_04_00000044_F.png", "4"]], dtype="<U21")
    assert "has been cut off" in read(tmp_path).rejected[0].reason


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([["a", "1"]], dtype=object), "pickled objects may run code"),
        (np.zeros((3, 2)), "no array of texts"),
        (np.array(["a", "1"]), "no array of texts"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "training_ages.npy", array)
    with pytest.raises(ConfigurationError, match=message):
        read_ages(tmp_path / "training_ages.npy")


def test_several_arrays_are_refused(tmp_path):
    with (tmp_path / "training_ages.npy").open("wb") as stream:
        np.savez(stream, a=np.array([["a", "1"]]))
    with pytest.raises(ConfigurationError, match="no array of texts"):
        read_ages(tmp_path / "training_ages.npy")


@pytest.mark.parametrize("alone", [True, False])
def test_csv(images, tmp_path, alone):
    path = tmp_path / "labels.csv"
    path.write_text(
        "file,age,gender,identity,split\n"
        "training_images/00000.jpg,30,F,ann,train\n"
        "training_images/00001.jpg,,,,\n"
        "training_images/00002.jpg,50,male,bob,holdout\n"
        ",3,,,\n",
        encoding="utf-8-sig",
    )
    photos, rejected = read(path if alone else tmp_path)
    (photo,) = photos
    assert (photo.age, photo.gender, photo.identity, photo.given) == (30, "female", "ann", "train")
    assert photo.name == "training_images_00000"
    assert [item.reason.split(":")[0] for item in rejected] == [
        "no age",
        "unknown split 'holdout'",
        "the line names no file",
    ]


def test_index_of_prepared_collections(images, tmp_path):
    rows = [
        {"name": "00000.jpg", "age": 9, "gender": "male", "identity": "x", "split": "test"},
        {"name": "00001.jpg", "age": 11, "identity": "x", "split": "test", "yaw": float("nan")},
    ]
    write_index(tmp_path / "index.parquet", rows)
    photos, rejected = read(tmp_path)
    assert [(p.name, p.age, p.gender, p.identity, p.given) for p in photos] == [
        ("00000", 9, "male", "x", "test"),
        ("00001", 11, None, "x", "test"),
    ]
    assert [item.file for item in rejected] == ["00002.jpg"]
    assert read_index(tmp_path / "index.parquet", ["yaw"]) == [{"yaw": None}, {"yaw": None}]


def test_a_zip_is_read_as_it_is(images, tmp_path):
    """faces-128.zip's form, with padding: nothing is unpacked."""
    data = {path.name: path.read_bytes() for path in images.iterdir()}
    labels = "file,age,gender,split\n00000.jpg,30,female,train\n00001.jpg,7,male,val\ngone.jpg,5,male,val\n"
    write_zip(tmp_path / "a.zip", {"labels.csv": labels.encode(), **data, "padding/00001.png": b"mask"})
    photos, rejected = read(tmp_path / "a.zip")
    assert [(p.name, p.age, p.gender, p.given) for p in photos] == [
        ("00000", 30, "female", "train"),
        ("00001", 7, "male", "val"),
    ]
    assert photos[0].file.read() == data["00000.jpg"]
    assert photos[0].padding is None
    assert photos[1].padding.read() == b"mask"
    assert [(item.file, item.reason) for item in rejected] == [("gone.jpg", "The zip has no such file.")]
    write_zip(tmp_path / "b.zip", data)
    with pytest.raises(ConfigurationError, match=r"b\.zip has no labels\.csv at its top"):
        read(tmp_path / "b.zip")


def test_padding_lies_beside_the_labels(images, tmp_path):
    (tmp_path / "padding" / "training_images").mkdir(parents=True)
    (tmp_path / "padding" / "training_images" / "00001.png").write_bytes(b"mask")
    lines = [f"training_images/{index:05d}.jpg,{index}\n" for index in range(3)]
    (tmp_path / "labels.csv").write_text("file,age\n" + "".join(lines))
    assert [p.padding and p.padding.read() for p in read(tmp_path).photos] == [None, b"mask", None]
    (tmp_path / "labels.csv").unlink()
    save(tmp_path, [["00000.jpg", "1"], ["00001.jpg", "4"], ["00002.jpg", "4"]])
    (tmp_path / "padding" / "00002.png").write_bytes(b"other")
    assert [p.padding and p.padding.read() for p in read(tmp_path).photos] == [None, None, b"other"]


def test_folders_without_labels_are_refused(images, tmp_path):
    with pytest.raises(ConfigurationError, match=r"no labels in .* training_ages\.npy beside"):
        read(tmp_path)
    with pytest.raises(ConfigurationError, match="nowhere does not exist"):
        read(tmp_path / "nowhere")


def test_labels_without_pictures(tmp_path):
    save(tmp_path, [["a.jpg", "1"]])
    with pytest.raises(ConfigurationError, match=r"none of the 1 files .* a\.jpg: There is no such file"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", None])
def test_damaged_arrays_are_refused(tmp_path, content):
    path = tmp_path / "training_ages.npy"
    if content is None:
        np.save(path, np.array([[b"\xff.png", b"3"]]))
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_ages(path)


def test_a_file_at_two_ages_is_not_believed_either_of_them(images, tmp_path):
    save(tmp_path, [["00000.jpg", "1"], ["00001.jpg", "5"], ["00002.jpg", "7"], ["./00001.jpg", "50"]])
    photos, rejected = read(tmp_path)
    assert [photo.name for photo in photos] == ["00000", "00002"]
    assert [item.file for item in rejected] == ["00001.jpg", "./00001.jpg"]
    assert all("another label says otherwise" in item.reason for item in rejected)


def test_names_that_are_too_long_for_a_crop_are_listed(images, tmp_path, astronaut):
    name = f"{'a' * 160}.png"
    (images / name).write_bytes(picture(astronaut, 0, side=32))
    save(tmp_path, [["00000.jpg", "1"], ["00001.jpg", "2"], ["00002.jpg", "3"], [name, "5"]])
    photos, rejected = read(tmp_path)
    assert len(photos) == 3
    assert [item.file for item in rejected] == [name]
    assert "is too long: 160 bytes" in rejected[0].reason


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        (["0895", "00895", "0895"], ["0895"] * 3),
        (["895.0", "895", "895"], ["895"] * 3),
        (["895", "0896", "ann"], ["895", "0896", "ann"]),
        (["895", "", ""], ["895", "training_images_00001", "training_images_00002"]),
    ],
)
def test_a_person_whose_number_is_written_in_several_ways_is_one(images, tmp_path, written, read_as):
    """In the form that is usual there, so that nobody changes the split whose number has one form only."""
    lines = [f"training_images/{index:05d}.jpg,{index},{id}\n" for index, id in enumerate(written)]
    (tmp_path / "labels.csv").write_text("file,age,identity\n" + "".join(lines))
    assert [photo.identity for photo in read(tmp_path).photos] == read_as
