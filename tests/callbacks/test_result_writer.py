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
        return SETTINGS | {
            name: list(fact) if name == "targets" and fact else fact for name, fact in facts.items()
        }

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


def _run(photos, output, **options):
    writer = ResultWriter(str(output), **options)
    trainer = Trainer(
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        accelerator="cpu",
        callbacks=[writer],
    )
    trainer.predict(_Tinting(), datamodule=Photos(str(photos)), return_predictions=False)
    return {
        line["id"]: line for line in map(json.loads, (output / "manifest.jsonl").read_text().splitlines())
    }


def test_done_again_only_when_something_changed(folder, tmp_path):
    output = tmp_path / "out"
    lines = _run(folder, output)
    assert [(line["status"], line["reused"]) for line in lines.values()] == [
        ("done", False),
        ("done", False),
        ("skipped", False),
    ]
    assert "empty" in lines["c"]["reason"]
    assert lines["c"]["targets"] == [20, 40]

    Image.new("RGB", (64, 64)).save(folder / "a.jpg")  # another picture under the same name
    (output / "cases" / "b" / "aged" / "20.png").unlink()
    assert not any(line["reused"] for line in _run(folder, output).values())
    assert all(_run(folder, output)[case]["reused"] for case in "ab")

    (folder / "photos.csv").write_text("file,age,targets\na.jpg,6,\nb.jpg,,20;50\n")
    changed = _run(folder, output)
    assert not changed["a"]["reused"]
    assert not changed["b"]["reused"]
    assert changed["b"]["targets"] == [20, 50]
    assert not _run(folder, output, overwrite=True)["a"]["reused"]


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
