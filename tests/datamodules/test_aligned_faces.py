import csv
import dataclasses

import pytest
import torch

from faceforward.datamodules.aligned_faces import AlignedFaces, AlignedFacesDataset, read_labels
from faceforward.errors import ConfigurationError
from training_data import write_archive


@pytest.fixture
def archive(tmp_path, astronaut):
    return write_archive(tmp_path / "faces.zip", astronaut)


def test_batches_are_pictures_with_labels(archive):
    data = AlignedFaces(str(archive), size=32, batch_size=3)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (3, 3, 32, 32)
    assert -1 <= batch["image"].min() < batch["image"].max() <= 1
    assert {"age", "gender", "file"} <= batch.keys()
    assert sum(len(b["file"]) for b in data.val_dataloader()) == 3


def test_excluded_photographs_are_left_out(archive, tmp_path):
    listing = tmp_path / "exclude.csv"
    with listing.open("w", newline="") as stream:
        csv.writer(stream).writerows([["aihub_file", "faces_128_file"], ["x.jpg", "00000.jpg"]])
    files = {label.file for label in read_labels(archive, exclude=listing)}
    assert len(files) == 10
    assert "00000.jpg" not in files


@pytest.mark.parametrize("content", [None, b"file\nx.jpg\n", b"\xff\xfe"])
def test_lists_of_exclusions_that_are_none_are_named(archive, tmp_path, content):
    listing = tmp_path / "exclude.csv"
    if content is not None:
        listing.write_bytes(content)
    with pytest.raises(
        ConfigurationError,
        match=r"exclude\.csv is no CSV with the column faces_128_file .*data\.init_args\.exclude",
    ):
        read_labels(archive, exclude=listing)


def test_a_picture_that_the_archive_lacks_is_named(archive):
    labels = read_labels(archive)
    lost = dataclasses.replace(labels[0], file="lost.jpg")
    with pytest.raises(ConfigurationError, match=r"faces\.zip lacks 1 pictures .* first lost\.jpg: take the"):
        AlignedFacesDataset(archive, [*labels, lost], 32)


def test_missing_archive_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.zip does not exist"):
        read_labels(tmp_path / "nowhere.zip")


def test_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(ConfigurationError, match=r"a\.zip holds no labels\.csv"):
        read_labels(tmp_path / "a.zip")


def test_wrong_size_is_refused(archive):
    labels = read_labels(archive)
    with pytest.raises(ConfigurationError, match=r"00000\.jpg is 32x32, not 64x64"):
        AlignedFacesDataset(archive, labels, 64).pixels(0)


def test_empty_split_is_refused(tmp_path, astronaut):
    archive = write_archive(tmp_path / "faces.zip", astronaut, val=0)
    with pytest.raises(ConfigurationError, match=r"split 'val': its labels\.csv has to hold train and val"):
        AlignedFaces(str(archive), size=32).setup("fit")


def test_pixels_are_those_of_the_jpeg(archive):
    dataset = AlignedFacesDataset(archive, read_labels(archive), 32)
    torch.testing.assert_close(
        (dataset[0]["image"] + 1) * 127.5, torch.from_numpy(dataset.pixels(0).copy()).permute(2, 0, 1).float()
    )
