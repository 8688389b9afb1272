import json

import pytest
from lightning import LightningModule, Trainer
from PIL import Image

from case_records import SETTINGS, make_result
from faceforward.callbacks.result_writer import OutputError, ResultWriter
from faceforward.datamodules.photos import Photos
from faceforward.errors import ConfigurationError
from faceforward.records import Photo
from full_disk import full_disk

pytestmark = pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")


class _Tinting(LightningModule):
    """Gives every photograph the same complete case."""

    target_ages = (20, 40)

    def settings(self, **facts):
        return SETTINGS | facts | {"targets": list(facts["targets"] or self.target_ages)}

    def predict_step(self, sample, batch_idx):
        if not isinstance(sample, Photo):
            return sample
        result = make_result(sample.id, sample.file, targets=sample.targets or self.target_ages)
        facts = dict(age=sample.age, gender=sample.gender, targets=sample.targets, face=sample.face)
        result.settings.clear()
        result.settings.update(self.settings(**facts))
        return result


@pytest.fixture
def folder(tmp_path, astronaut):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b"):
        Image.fromarray(astronaut).resize((64, 64)).save(folder / f"{name}.jpg")
    (folder / "c.jpg").touch()
    return folder


def _run(photos, output, *, targets=(20, 40), **options):
    writer = ResultWriter(str(output), **options)
    trainer = Trainer(
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        accelerator="cpu",
        callbacks=[writer],
    )
    module = _Tinting()
    module.target_ages = targets
    trainer.predict(module, datamodule=Photos(str(photos)), return_predictions=False)
    return {
        line["id"]: line for line in map(json.loads, (output / "manifest.jsonl").read_text().splitlines())
    }


def test_reused_unless_incomplete(folder, tmp_path):
    output = tmp_path / "out"
    lines = _run(folder, output)
    assert [(line["status"], line["reused"]) for line in lines.values()] == [
        ("done", False),
        ("done", False),
        ("skipped", False),
    ]
    assert "empty" in lines["c"]["reason"]
    assert lines["c"]["targets"] == [20, 40]

    (output / "cases" / "b" / "aged" / "20.png").unlink()
    again = _run(folder, output)
    assert (again["a"]["reused"], again["b"]["reused"]) == (True, False)
    (output / "cases" / "b" / "face.png").unlink()
    assert not _run(folder, output)["b"]["reused"]
    assert all(_run(folder, output)[case]["reused"] for case in "ab")
    assert not _run(folder, output, overwrite=True)["a"]["reused"]


def test_ages_and_cases_are_added(folder, tmp_path):
    output = tmp_path / "out"
    _run(folder, output, targets=(20, 40, 60))
    before = {path: path.stat().st_mtime_ns for path in output.glob("cases/*/aged/*.png")}
    lines = _run(folder / "a.jpg", output, targets=(20, 50))
    assert [(line["id"], line["targets"], line["reused"]) for line in lines.values()] == [
        ("a", [20, 40, 50, 60], False),
        ("b", [20, 40, 60], True),
        ("c", [20, 40, 60], False),
    ]
    assert lines["c"]["status"] == "skipped"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    page = (output / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 5 + 4
    assert "2 with estimates, 1 without" in page
    assert _run(folder / "a.jpg", output, targets=(40, 50))["a"]["reused"]

    for lost in (output / "manifest.jsonl", output / "report.html"):
        lost.unlink()
    lines = _run(folder / "b.jpg", output)  # what is there is found without the list, too
    assert [line["id"] for line in lines.values()] == ["b", "a"]


def test_overwrite_replaces_what_it_names(folder, tmp_path):
    output = tmp_path / "out"
    _run(folder, output, targets=(20, 40))
    before = {path: path.stat().st_mtime_ns for path in output.glob("cases/*/aged/*.png")}
    lines = _run(folder / "a.jpg", output, targets=(20,), overwrite=True)
    assert lines["a"]["targets"] == lines["b"]["targets"] == [20, 40]
    changed = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {output / "cases" / "a" / "aged" / "20.png"}


def test_what_was_made_otherwise_is_not_replaced_unasked(folder, tmp_path):
    output = tmp_path / "out"
    _run(folder, output)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    (folder / "photos.csv").write_text("file,age,targets\na.jpg,6,\nb.jpg,7,\n")
    words = (
        r"a was made under other settings: age \(not given then, 6.0 now\).*--overwrite.*, and 1 more like"
    )
    with pytest.raises(ConfigurationError, match=words):
        _run(folder, output)
    with pytest.raises(ConfigurationError, match=r"ages made otherwise .* name \(20\).*'\[20,40\]'"):
        _run(folder, output, targets=(40,), overwrite=True)
    (folder / "photos.csv").unlink()
    Image.new("RGB", (64, 64)).save(folder / "a.jpg")  # another picture under the same name
    with pytest.raises(ConfigurationError, match=r"the result of an earlier content of .*a\.jpg"):
        _run(folder, output)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    assert not _run(folder, output, overwrite=True)["a"]["reused"]


def test_the_list_of_another_kind_of_run_stays(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.jsonl").write_text('{"id": "a", "crop": "crops/a.png", "yaw": 1}\n')
    with pytest.raises(ConfigurationError, match="another kind of run"):
        _run(folder, tmp_path / "out")


def test_case_of_another_photograph_is_not_replaced(folder, tmp_path):
    output = tmp_path / "out"
    _run(folder / "a.jpg", output)
    other = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64)).save(other)
    with pytest.raises(ConfigurationError, match="result of another photograph"):
        _run(other, output)
    assert not _run(other, output, overwrite=True)["a"]["reused"]


@pytest.mark.parametrize("content", ["{}", '{"files": {}}', "[]", "x", '{"files": {}, "file": 3}'])
def test_a_foreign_record_is_no_result(folder, tmp_path, content):
    case = tmp_path / "out" / "cases" / "a"
    case.mkdir(parents=True)
    (case / "result.json").write_text(content)
    assert not _run(folder / "a.jpg", tmp_path / "out")["a"]["reused"]


def test_moved_photograph_is_reused(folder, tmp_path):
    _run(folder / "a.jpg", tmp_path / "out")
    (folder / "a.jpg").rename(tmp_path / "a.jpg")
    assert _run(tmp_path / "a.jpg", tmp_path / "out")["a"]["reused"]


def test_leftovers_are_swept(folder, tmp_path):
    output = tmp_path / "out"
    (output / "cases" / ".z.faceforward-tmp").mkdir(parents=True)
    for name in ("manifest.rank3.jsonl", ".report.html.faceforward-tmp1"):
        (output / name).touch()
    _run(folder, output)
    assert {path.name for path in output.iterdir()} == {"cases", "manifest.jsonl", "report.html"}
    assert {path.name for path in (output / "cases").iterdir()} == {"a", "b"}


def test_output_that_is_no_folder(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        _run(folder, tmp_path / "file")


def test_full_disk_stops_the_run_and_keeps_what_is_complete(folder, tmp_path):
    output = tmp_path / "out"
    _run(folder / "a.jpg", output)
    with full_disk(), pytest.raises(OutputError, match="make room and run the same command again"):
        _run(folder, output)
    with full_disk(), pytest.raises(OutputError, match="make room"):
        _run(folder / "a.jpg", output)  # reused, but the report does not fit
    assert {path.name for path in (output / "cases").iterdir()} == {"a"}
    assert not _run(folder, output)["b"]["reused"]


def test_needs_photographs(tmp_path):
    with pytest.raises(ConfigurationError, match=r"works in infer\.py"):
        Trainer(
            logger=False,
            enable_checkpointing=False,
            accelerator="cpu",
            callbacks=[ResultWriter(str(tmp_path))],
        ).predict(_Tinting(), dataloaders=[0])
