"""What is left on disk by `infer cameras`: exact files, reuse, privacy."""

import json

import numpy as np
import piexif
import pytest
from lightning import Trainer
from PIL import Image

from faceforward.callbacks.camera_writer import CameraWriter
from faceforward.callbacks.photo_writer import OutputError
from faceforward.datamodules.camera_labels import read_labels
from faceforward.datamodules.photos import Photos
from faceforward.errors import ConfigurationError
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.modules.camera_estimator import CameraEstimator
from full_disk import full_disk
from tiny_inference import files

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers"),
    pytest.mark.usefixtures("one_thread"),
]
GPS = {
    "Exif": {piexif.ExifIFD.BodySerialNumber: b"SERIAL-0815"},
    "GPS": {piexif.GPSIFD.GPSLatitudeRef: b"N", piexif.GPSIFD.GPSLatitude: ((48, 1), (51, 1), (30, 1))},
}
FILES = {"dataset.json", "manifest.jsonl"} | {
    f"{folder}/{case}.{ending}"
    for case in ("a", "b")
    for folder, ending in (("crops", "png"), ("overlays", "png"), ("cameras", "json"))
}


@pytest.fixture(scope="module")
def small(astronaut):
    return Image.fromarray(astronaut[:256, 80:336])


@pytest.fixture
def folder(tmp_path, small):
    folder = tmp_path / "photos"
    folder.mkdir()
    small.save(folder / "a.jpg", exif=piexif.dump(GPS), quality=95)
    small.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "b.png")
    (folder / "c.jpg").touch()
    return folder


def run(photos, output, size=64, **options):
    writer = CameraWriter(str(output), **options)
    trainer = Trainer(
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        accelerator="cpu",
        callbacks=[writer],
    )
    module = CameraEstimator(detector=MTCNNDetector(), size=size)
    trainer.predict(module, datamodule=Photos(str(photos)), return_predictions=False)
    lines = map(json.loads, (output / "manifest.jsonl").read_text("utf-8").splitlines())
    return {line["id"]: line for line in lines}


def test_files_and_lines(folder, tmp_path):
    output = tmp_path / "out"
    lines = run(folder, output)
    assert files(output) == FILES
    assert [line["status"] for line in lines.values()] == ["done", "done", "skipped"]
    assert "empty" in lines["c"]["reason"]
    assert lines["a"]["crop"] == "crops/a.png"
    assert lines["a"]["landmarks"] == "face-mesh"
    assert lines["a"]["yaw"] == pytest.approx(-lines["b"]["yaw"], abs=8)
    labels = read_labels(output / "dataset.json")
    assert list(labels) == ["crops/a.png", "crops/b.png"]
    record = json.loads((output / "cameras" / "a.json").read_text("utf-8"))
    assert labels["crops/a.png"].tolist() == pytest.approx(record["label"])
    assert {key: record[key] for key in ("yaw", "pitch", "roll")}.items() <= lines["a"].items()
    assert np.asarray(Image.open(output / "crops" / "a.png")).shape == (64, 64, 3)
    for path in output.rglob("*.*"):
        content = path.read_bytes()
        assert b"SERIAL-0815" not in content
        assert b"eXIf" not in content
    with Image.open(output / "crops" / "a.png") as crop:
        assert "not synthetic" in crop.text["Description"]
        assert "Disclaimer" not in crop.text


def test_done_again_only_when_something_changed(folder, tmp_path, small):
    output = tmp_path / "out"
    run(folder, output)
    before = (output / "dataset.json").read_bytes()
    assert [line["reused"] for line in run(folder, output).values()] == [True, True, False]
    assert (output / "dataset.json").read_bytes() == before
    (output / "overlays" / "b.png").unlink()
    (output / "crops" / ".a.png.faceforward-tmp1").touch()
    assert [line["reused"] for line in run(folder, output).values()] == [True, False, False]
    assert files(output) == FILES
    with pytest.raises(
        ConfigurationError, match=r"a\.json was made under other settings: size \(64 then, 32 n"
    ):
        run(folder, output, size=32)
    small.rotate(8).save(folder / "a.jpg", quality=95)
    with pytest.raises(ConfigurationError, match=r"an earlier content of .*a\.jpg"):
        run(folder, output)
    assert files(output) == FILES
    assert not run(folder, output, size=32, overwrite=True)["a"]["reused"]
    (output / "cameras" / "a.json").write_text("[]")
    assert not run(folder, output, size=32)["a"]["reused"]


def test_photographs_are_added(folder, tmp_path):
    output = tmp_path / "out"
    run(folder / "a.jpg", output)
    lines = run(folder / "b.png", output)
    assert [(line["id"], line["reused"]) for line in lines.values()] == [("b", False), ("a", True)]
    assert set(read_labels(output / "dataset.json")) == {"crops/a.png", "crops/b.png"}


def test_another_photograph_is_not_replaced(folder, tmp_path, small):
    output = tmp_path / "out"
    run(folder / "a.jpg", output)
    small.rotate(8).save(tmp_path / "a.jpg")
    with pytest.raises(ConfigurationError, match=r"cameras/a\.json holds the result of another photograph"):
        run(tmp_path / "a.jpg", output)
    assert not run(tmp_path / "a.jpg", output, overwrite=True)["a"]["reused"]


def test_no_room(folder, tmp_path):
    output = tmp_path / "out"
    run(folder / "a.jpg", output)
    with full_disk(), pytest.raises(OutputError, match="make room and run the same command again"):
        run(folder, output, size=512, overwrite=True)
    assert not list(output.rglob(".*"))
    assert not (output / "cameras" / "a.json").exists()  # its pictures were being replaced
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        run(folder, tmp_path / "file")


def test_needs_photographs(tmp_path):
    module = CameraEstimator(detector=MTCNNDetector())
    writer = CameraWriter(str(tmp_path))
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", callbacks=[writer])
    with pytest.raises(ConfigurationError, match=r"CameraWriter works in infer\.py"):
        trainer.predict(module, dataloaders=[0])
