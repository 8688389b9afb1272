"""`faceforward prepare`: everything that it writes, resuming, and what it refuses."""

import csv
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from aihub_corpus import LANDMARKS, SIDE, label, picture, write_bad, write_good
from faceforward.commands import prepare
from faceforward.datamodules.crop_writer import CropWriter, Journal
from faceforward.datamodules.index import COLUMNS, read_index
from faceforward.datamodules.labelled_folder import FolderSource
from faceforward.datamodules.sources import collect
from faceforward.datamodules.splits import split_by_identity
from faceforward.faces.align import align


@pytest.fixture(scope="module")
def delivery(tmp_path_factory):
    import skimage.data

    root = tmp_path_factory.mktemp("aihub") / "delivery"
    names = write_good(root, skimage.data.astronaut())
    return root, names, *write_bad(root, skimage.data.astronaut())


@pytest.fixture(scope="module")
def prepared(delivery, tmp_path_factory):
    """One run over the whole corpus, in two processes."""
    output = tmp_path_factory.mktemp("prepared") / "out"
    assert run(delivery[0], output, "--processes=2") == 1  # some are rejected
    return output


def run(root, output, *extra, collection="aihub"):
    return prepare.main([collection, f"--root={root}", f"--output={output}", "--size=64", *extra])


def snapshot(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_the_four_results(delivery, prepared):
    _, names, by_label, by_picture = delivery
    images = prepared / "training_images"
    assert sorted(path.stem for path in images.iterdir()) == names
    ages = np.load(prepared / "training_ages.npy", allow_pickle=False)
    assert ages.dtype == np.dtype("<U27")  # 0895_1980_04_00000000_D.jpg, not FADING's <U21
    assert {path.name for path in images.iterdir()} == set(ages[:, 0])
    assert dict(ages)["0002_1980_18_00000001_F.jpg"] == "18"
    with (prepared / "rejected.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(by_label) + len(by_picture)
    for end, reason in (by_label | by_picture).items():
        assert any(row["file"].endswith(end) and reason in row["reason"] for row in rows), end
    index = read_index(prepared / "index.parquet", list(COLUMNS))
    assert [row["name"] for row in index] == sorted(ages[:, 0])
    padded = {path.stem for path in (prepared / "padding").iterdir()}
    assert padded == {row["name"].removesuffix(".jpg") for row in index if row["padding"] > 0}
    row = index[names.index("0003_1980_18_00000001_F")]
    assert (row["age"], row["gender"], row["identity"], row["source"]) == (18, "female", "0003", "aihub")
    assert (row["split"], row["device"]) == ("train", "film")
    assert row["original"].endswith("TS_0003.zip/0003_1980_18_00000001_F.png")
    assert row["face_height"] == pytest.approx(112 * SIDE / 512, rel=0.01)
    assert row["sharpness"] > 0
    assert abs(row["yaw"]) < 10


def test_crops_are_wide_and_nothing_is_written_elsewhere(delivery, prepared, astronaut):
    crop = np.asarray(Image.open(prepared / "training_images" / "0895_1980_18_00000001_F.jpg"))
    expected, _ = align(astronaut, LANDMARKS, 64)
    assert np.abs(crop.astype(int) - expected).mean() < 20  # brighter, smaller, JPEG
    written = {path.name for path in prepared.rglob("*") if path.parent == prepared}
    assert written == {
        "training_images",
        "padding",
        "training_ages.npy",
        "index.parquet",
        "rejected.csv",
        ".prepare.jsonl",
    }
    assert [path for path in prepared.parent.rglob("*evil*")] == []
    assert [path for path in delivery[0].parent.rglob("*evil*")] == []


def test_result_is_read_back_with_its_people_and_splits(delivery, prepared):
    photos, rejected = collect(FolderSource(prepared).read(), "prepared")
    assert rejected == []
    assert [photo.name for photo in photos] == delivery[1]
    splits = split_by_identity(photos)
    index = {row["name"]: row["split"] for row in read_index(prepared / "index.parquet", ["name", "split"])}
    for split, own in splits.items():
        assert {index[f"{photo.name}.jpg"] for photo in own} == {split}


def test_another_run_makes_nothing_again(delivery, prepared, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(prepared, output)  # with their times
    before = snapshot(output / "training_images")
    assert run(delivery[0], output, "--processes=1") == 1
    assert snapshot(output / "training_images") == before
    (output / "training_images" / next(iter(before))).unlink()
    (output / "training_images" / ".x.jpg.faceforward-tmp").write_bytes(b"half")
    assert run(delivery[0], output, "--processes=1") == 1
    after = snapshot(output / "training_images")
    assert after.keys() == before.keys()
    assert sum(after[name] != before[name] for name in before) == 1


def test_an_interrupted_run_goes_on(delivery, tmp_path, monkeypatch, capsys):
    made = []

    def write(self, photo, original=CropWriter.write):
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(photo.name)
        return original(self, photo)

    with monkeypatch.context() as patched:
        patched.setattr(CropWriter, "write", write)
        assert run(delivery[0], tmp_path / "out", "--processes=1") == 1
    assert "the same command goes on" in capsys.readouterr().err
    before = snapshot(tmp_path / "out" / "training_images")
    assert len(before) == 5
    assert not (tmp_path / "out" / "index.parquet").exists()
    assert run(delivery[0], tmp_path / "out", "--processes=1") == 1
    assert before.items() <= snapshot(tmp_path / "out" / "training_images").items()
    assert len(np.load(tmp_path / "out" / "training_ages.npy")) == len(delivery[1])


def test_filters_splits_and_format(delivery, prepared, tmp_path, caplog):
    output = tmp_path / "out"
    shutil.copytree(prepared, output)
    (output / "training_images" / "mine.txt").touch()
    extra = (
        "--splits",
        "train",
        "--min-age=10",
        "--devices",
        "film",
        "--photos-per-person=1",
        "--format=png",
    )
    assert run(delivery[0], output, *extra, "--processes=1") == 1
    assert {row["split"] for row in read_index(output / "index.parquet", ["split"])} == {"train"}
    names = {path.name for path in (output / "training_images").iterdir()}
    assert "mine.txt" in names  # never ours to remove
    assert len(names) == 4
    assert names - {"mine.txt"} == set(np.load(output / "training_ages.npy")[:, 0])
    assert all(name.startswith("000") for name in names - {"mine.txt"})
    assert "holds 1 files that this command did not make" in caplog.text


def test_all_good_is_exit_0_and_a_prepared_folder_can_be_prepared(delivery, prepared, tmp_path, capsys):
    assert run(prepared, tmp_path / "small", "--size=32", "--processes=1", collection="folder") == 0
    assert f"{len(delivery[1])} crops are in" in capsys.readouterr().out
    picture = np.asarray(Image.open(tmp_path / "small" / "training_images" / f"{delivery[1][0]}.jpg"))
    assert picture.shape == (32, 32, 3)
    assert read_index(tmp_path / "small" / "index.parquet", ["yaw"])[0] == {"yaw": None}


def test_labels_that_are_no_names_cost_their_photographs_only(astronaut, tmp_path):
    """The longest name, no name, and an id that is no valid text."""
    root, good = tmp_path / "root", "0007_1980_40_00000002_D"
    root.mkdir()
    for stem, name, id in (("a", "x" * 400, 7), ("b", "", 7), ("c", good, "\ud800"), ("d", "..", 7)):
        (root / f"{stem}.json").write_bytes(label(name, id, 40))
        (root / f"{stem}.png").write_bytes(picture(astronaut, 0))
    assert run(root, tmp_path / "out", "--processes=1") == 1
    assert [path.name for path in (tmp_path / "out" / "training_images").iterdir()] == [f"{good}.jpg"]
    (row,) = read_index(tmp_path / "out" / "index.parquet", ["identity"])
    assert row == {"identity": "000\\ud800"}
    with (tmp_path / "out" / "rejected.csv").open(newline="", encoding="utf-8") as stream:
        reasons = {row["file"]: row["reason"] for row in csv.DictReader(stream)}
    assert reasons.keys() == {"a.json", "b.json", "d.json"}
    assert "is too long: 400 bytes" in reasons["a.json"]
    assert reasons["b.json"] == "no file name: ''"


def test_detector_instead_of_labels(delivery, tmp_path, astronaut):
    root = tmp_path / "root"
    shutil.copytree(delivery[0] / "Validation" / "01.source" / "VS_0897", root)
    shutil.copytree(delivery[0] / "Validation" / "02.labels" / "VL_0897", root, dirs_exist_ok=True)
    assert run(root, tmp_path / "out", "--detector", "--processes=1") == 0
    crop = np.asarray(Image.open(tmp_path / "out" / "training_images" / "0897_1980_18_00000001_F.jpg"))
    assert np.abs(crop.astype(int) - align(astronaut, LANDMARKS, 64)[0]).mean() < 25


def test_utkface(delivery, tmp_path):
    root = tmp_path / "utk"
    root.mkdir()
    source = next((delivery[0] / "Validation" / "01.source" / "VS_0897").iterdir())
    shutil.copy(source, root / "52_1_2_20170116184024662.png")
    extra = ("--alignment=none", "--processes=1")
    assert run(root, tmp_path / "out", *extra, collection="utkface") == 0
    (row,) = read_index(tmp_path / "out" / "index.parquet", ["age", "source"])
    assert row == {"age": 52, "source": "utkface"}


def test_one_zip_holds_all_that_training_needs(delivery, prepared, tmp_path):
    """Cut out by a detector, whose crop reaches over the edge; read back as the folder is."""
    archive, root = tmp_path / "zips" / "faces.zip", tmp_path / "utk"
    root.mkdir()
    source = next((delivery[0] / "Validation" / "01.source" / "VS_0897").iterdir())
    shutil.copy(source, root / "52_1_2_20170116184024662.png")
    extra = ("--min-face=60", "--processes=1", f"--archive={archive}", "--test-share=0")
    assert run(root, tmp_path / "out", *extra, collection="utkface") == 0
    (photo,), rejected = collect(FolderSource(archive).read(), "zip")
    assert rejected == []
    assert (photo.name, photo.age, photo.gender, photo.given) == (
        "52_1_20170116184024662",
        52,
        "female",
        "test",
    )
    assert photo.file.read() == (tmp_path / "out" / "training_images" / f"{photo.name}.jpg").read_bytes()
    (row,) = read_index(tmp_path / "out" / "index.parquet", ["padding", "original"])
    assert row["original"] == "52_1_x_20170116184024662.png"
    assert (photo.padding is not None) == (row["padding"] > 0)
    before = archive.read_bytes()
    assert run(root, tmp_path / "out", *extra, collection="utkface") == 0
    assert archive.read_bytes() == before


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--processes=0",), "--processes 1 or more"),
        (("--size=8",), "--size must be 16 or more"),
        (("--min-age=90", "--max-age=3"), "min_age 90 is above max_age 3"),
        (("--min-age=99",), "none of the"),
        (("--splits", "test", "--test-share=0"), "no photograph of"),
        (("--format=gif",), "invalid choice"),
    ],
)
def test_wrong_usage_is_exit_2(delivery, tmp_path, capsys, extra, message):
    assert run(delivery[0], tmp_path / "out", *extra) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_wrong_folders_are_exit_2(delivery, tmp_path, capsys):
    assert run("/nowhere", tmp_path / "out") == 2
    assert run(delivery[0], delivery[0] / "out") == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "training_ages.npy").touch()
    assert run(delivery[0], tmp_path / "mine") == 2
    error = capsys.readouterr().err
    assert "/nowhere does not exist" in error
    assert "lies in --root" in error
    assert "was not made by faceforward prepare" in error


def test_missing_pyarrow_is_told_before_the_work(delivery, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run(delivery[0], tmp_path / "out") == 2
    assert "pip install 'faceforward[data]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_full_disk_is_exit_1(delivery, tmp_path, capsys, monkeypatch):
    def fail(self, photo):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CropWriter, "write", fail)
    assert run(delivery[0], tmp_path / "out", "--processes=1") == 1
    assert "No space left on device. Make room" in capsys.readouterr().err


def test_room_is_not_the_advice_where_it_is_not_lacking(delivery, tmp_path, capsys):
    (tmp_path / "locked").touch()
    assert run(delivery[0], tmp_path / "locked" / "out", "--processes=1") == 1
    error = capsys.readouterr().err
    assert "Not a directory" in error
    assert "Make room" not in error


def test_killed_process_is_exit_1(delivery, tmp_path, capsys, monkeypatch):
    def fail(self, photos, processes):
        raise prepare.BrokenProcessPool
        yield

    monkeypatch.setattr(CropWriter, "write_all", fail)
    assert run(delivery[0], tmp_path / "out", "--processes=2") == 1
    assert "fewer --processes" in capsys.readouterr().err


def test_help_is_exit_0(capsys):
    assert prepare.main(["--help"]) == 0
    assert "training_ages.npy" in capsys.readouterr().out


def test_a_journal_of_somebody_else_deletes_nothing_elsewhere(tmp_path, caplog):
    """Names with a folder in them and lines that were cut off are not ours."""
    images = tmp_path / "training_images"
    images.mkdir()
    (tmp_path / "precious.png").touch()
    (images / "old.png").touch()
    lines = [
        '{"file": "../precious.png", "key": "k", "made": {}}',
        '{"file": "old.png", "key": "k", "made": {}}',
    ]
    (tmp_path / "journal").write_text("\n".join([*lines, '{"file": "new.png"}', "[]", '{"fil']))
    journal = Journal(tmp_path / "journal")
    assert list(journal.lines) == ["old.png"]
    with caplog.at_level("WARNING"):
        journal.keep(set(), images)
    assert (tmp_path / "precious.png").exists()
    assert not (images / "old.png").exists()
    assert "1 crops of an earlier run" in caplog.text
