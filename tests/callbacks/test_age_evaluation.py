"""Figures of edits while training: what they are, and that others can monitor them."""

import json
import math

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from PIL import Image

from faceforward.callbacks.age_editing import AgeEditing
from faceforward.callbacks.age_evaluation import AgeEvaluation
from faceforward.callbacks.edit_plan import EditPlan
from faceforward.callbacks.ema import EMA
from faceforward.datamodules.labelled_folder import LabelledFolder
from faceforward.errors import ConfigurationError
from faceforward.faces.age import DlibAgeEstimator
from faceforward.faces.identity import DlibEmbedder, distance
from faceforward.metrics.calibration import AgePoint, Calibration
from tiny_training import QUIET, latents, specialization, tiny_trainer
from training_data import write_archive

pytestmark = QUIET
PLAN = EditPlan(target_ages=(15, 20, 60), photos=2, steps=2)
NAMES = {"age_mae", "age_bias", "age_bias_10", "age_bias_20", "age_bias_60", "age_spearman", "identity",
         "identity_share", "age_mae_calibrated", "age_mae_calibrated_low", "age_mae_calibrated_high",
         "age_bias_calibrated", "choice"}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory, astronaut, tiny_vae):
    folder = tmp_path_factory.mktemp("data")
    return latents(write_archive(folder / "faces.zip", astronaut, val=5), tiny_vae, folder / "cache")


class Figures(Callback):
    """Notes what callbacks can monitor at the end of each validation."""

    def __init__(self):
        self.seen = []

    def on_validation_end(self, trainer, pl_module):
        self.seen.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def test_figures_are_those_of_the_edits(tmp_path, data, tiny_sd):
    evaluation, figures, module = AgeEvaluation(PLAN), Figures(), specialization(tiny_sd)
    editing = AgeEditing(PLAN, tile=32)
    trainer = tiny_trainer(tmp_path, [editing, evaluation, figures], steps=1, num_sanity_val_steps=1)
    trainer.fit(module, data)
    sanity, seen = figures.seen
    assert "val/age_mae" not in sanity
    assert NAMES | {"loss_general", "loss_aged"} == {
        name.removeprefix("val/") for name in seen if "val/" in name
    }

    edited = editing.edits.make(trainer, module)  # the very pictures that were measured
    assert evaluation.edits is editing.edits
    years = torch.tensor(
        [[e.years for e in DlibAgeEstimator().estimate(list(p.images.values()))] for p in edited]
    )
    errors = years - torch.tensor(PLAN.target_ages)
    assert seen["val/age_mae"] == pytest.approx(float(errors.abs().mean()), abs=1e-3)
    assert seen["val/age_bias"] == pytest.approx(float(errors.mean()), abs=1e-3)
    assert seen["val/age_bias_60"] == pytest.approx(float(errors[:, 2].mean()), abs=1e-3)
    embed = DlibEmbedder().embed
    distances = [distance(embed(list(p.images.values())), embed([p.source])) for p in edited]
    assert seen["val/identity"] == pytest.approx(sum(d.mean() for d in distances) / 2, abs=1e-4)
    assert 0 <= seen["val/identity_share"] <= 1


def test_figures_can_be_monitored(tmp_path, data, tiny_sd):
    best = ModelCheckpoint(tmp_path, monitor="val/age_mae", filename="best")
    stop = EarlyStopping("val/identity", patience=1, min_delta=10.0)
    callbacks = [EMA(0.9), AgeEvaluation(PLAN), stop, best]
    trainer = tiny_trainer(tmp_path, callbacks, steps=9, enable_checkpointing=True, max_epochs=-1)
    trainer.fit(specialization(tiny_sd), data)
    assert trainer.global_step == 2  # nothing gets better by ten
    assert best.best_model_score > 0
    assert (tmp_path / "best.ckpt").is_file()


def test_evaluation_can_be_made_rarer(tmp_path, data, tiny_sd):
    figures = Figures()
    callbacks = [AgeEvaluation(PLAN, every_n_validations=2), figures]
    tiny_trainer(tmp_path, callbacks, steps=3, max_epochs=-1).fit(specialization(tiny_sd, lr=1.0), data)
    first, second, third = (seen["val/age_mae"] for seen in figures.seen)
    assert first == second != third


def test_validate_alone_measures_too(tmp_path, data, tiny_sd):
    trainer = tiny_trainer(tmp_path, [AgeEvaluation(PLAN)])
    (found,) = trainer.validate(specialization(tiny_sd), data, verbose=False)
    assert found["val/age_mae"] > 0


def test_test_measures_the_test_split(tmp_path, tiny_sd, tiny_vae, astronaut):
    """Photographs of two splits, one trainer: the figures are of the split that is asked for."""
    for index in range(12):
        Image.fromarray(astronaut[: 200 + 9 * index, 100 : 300 + 9 * index]).resize((32, 32)).save(
            tmp_path / f"{index:02d}.png"
        )
    rows = [f"{index:02d}.png,{5 + 6 * index},{('train', 'val', 'test')[index // 4]}" for index in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,age,split", *rows]))
    data = LabelledFolder(
        str(tmp_path), str(tiny_vae), cache_dir=str(tmp_path / "cache"), batch_size=4,
        rejected=str(tmp_path / "rejected.csv"),
    )  # fmt: skip
    plan = EditPlan(target_ages=(15, 60), photos=2, steps=2)
    evaluation, editing = AgeEvaluation(plan), AgeEditing(plan, tile=32)
    trainer = tiny_trainer(tmp_path / "run", [EMA(0.9), evaluation, editing], steps=1)
    module = specialization(tiny_sd)
    trainer.fit(module, data)
    ages = {}
    for split, run in (("val", trainer.validate), ("test", trainer.test)):
        (found,) = run(module, data, verbose=False)
        losses = {f"{split}/loss_general", f"{split}/loss_aged"}
        assert {f"{split}/{name}" for name in ("age_mae", "age_bias", "identity")} | losses <= found.keys()
        assert all(name.startswith(f"{split}/") for name in found)
        ages[split] = {photo.age for photo in evaluation.edits.make(trainer, module)}
    assert {len(found) for found in ages.values()} == {2}
    assert ages["val"] <= {29.0, 35.0, 41.0, 47.0}
    assert ages["test"] <= {53.0, 59.0, 65.0, 71.0}
    assert len(list((tmp_path / "run" / "age_editing").iterdir())) == 1


class Coarse:
    """An embedder of the mean colour: any class with `embed` will do."""

    name = "mean colour"

    def embed(self, images):
        import numpy as np

        return np.stack([image.mean(axis=(0, 1)) for image in images]).astype(np.float32)


def test_thresholds_belong_to_their_embedder():
    rows = torch.tensor([[[15.0, 1.0], [20.0, 3.0], [60.0, 5.0]]])
    assert "val/identity_share" not in AgeEvaluation(PLAN, embedder=Coarse()).figures(rows)
    own = AgeEvaluation(PLAN, embedder=Coarse(), thresholds={0: 2.0, 50: 6.0})
    found = own.figures(rows)
    assert found["val/identity_share"] == pytest.approx(2 / 3)
    assert (found["val/age_mae"], found["val/age_spearman"], found["val/identity"]) == (0, 1, 3)


class Shifted:
    """A reader of ages that nothing is known of."""

    name = "shifted"

    def estimate(self, images):
        return []


def table(folder, bias, reader="dlib-age-gender"):
    """A calibration file with one bias at all ages."""
    point = AgePoint(40.0, 100, 100, bias, bias - 1, bias + 1, 6.0, 5.0)
    path = folder / f"{bias}.json"
    path.write_text(json.dumps(Calibration({reader: (point,)}).as_json()))
    return str(path)


def test_a_readers_shift_is_taken_off_by_its_calibration(tmp_path):
    rows = torch.tensor([[[5.0, 0.1], [10.0, 0.1], [50.0, 0.1]], [[5.0, 0.1], [12.0, 0.9], [50.0, 0.1]]])
    found = AgeEvaluation(PLAN, calibration=table(tmp_path, -10.0)).figures(rows)
    assert found["val/age_mae"] == pytest.approx((10 * 5 + 8) / 6)
    assert found["val/age_mae_calibrated"] == pytest.approx(2 / 6)
    assert found["val/age_bias_calibrated"] == pytest.approx(2 / 6)
    assert found["val/age_mae_calibrated_low"] <= 2 / 6 <= found["val/age_mae_calibrated_high"]
    assert found["val/choice"] == pytest.approx(2 / 6 / 5 + 1 / 6)  # one of six is somebody else


def test_without_a_calibration_of_the_reader_there_is_none():
    rows = torch.tensor([[[5.0, 0.1], [10.0, 0.1], [50.0, 0.1]]])
    found = AgeEvaluation(PLAN, estimator=Shifted()).figures(rows)
    assert "val/age_mae" in found
    assert not any("calibrated" in name or "choice" in name for name in found)


def test_a_run_without_a_validation_says_so(tmp_path, data, tiny_sd, caplog):
    trainer = tiny_trainer(tmp_path, [AgeEvaluation(PLAN)], val_check_interval=3)
    trainer.fit(specialization(tiny_sd), data)
    assert "AgeEvaluation works at validations, and none falls within the 2 batches" in caplog.text


def test_missing_edits_are_left_out_of_the_figures(caplog):
    rows = torch.tensor([[[16.0, 0.1], [21.0, 0.1], [61.0, 0.1]], [[math.nan] * 2] * 3])
    assert AgeEvaluation(PLAN).figures(rows)["val/age_bias"] == 1
    nothing = AgeEvaluation(PLAN).figures(rows[1:])
    assert all(math.isnan(nothing[f"val/{name}"]) for name in ("age_mae", "age_bias", "identity"))
    assert "no photograph could be edited" in caplog.text


def test_what_cannot_work_is_refused(tmp_path, data, tiny_sd):
    with pytest.raises(ConfigurationError, match="every_n_validations is 0"):
        AgeEvaluation(every_n_validations=0)
    evaluation, module = AgeEvaluation(PLAN), specialization(tiny_sd)
    trainer = tiny_trainer(tmp_path, [evaluation], limit_val_batches=0, steps=1)
    trainer.fit(module, data)  # nothing is validated, nothing is asked for
    with pytest.raises(ConfigurationError, match="AgeEvaluation has no photographs"):
        evaluation.on_validation_epoch_end(trainer, module)
