"""The loggers' YAMLs beside an experiment, and what W&B is and is not told."""

import time
from pathlib import Path

import pytest
import yaml

from faceforward import loggers
from faceforward.callbacks.age_editing import AgeEditing
from faceforward.callbacks.edit_plan import EditPlan
from faceforward.cli import FaceforwardCLI
from faceforward.errors import WeightsUnavailableError
from faceforward.loggers import FrugalWandbLogger
from faceforward.train import main
from tiny_training import QUIET, ROOT, latents, specialization, tiny_arguments, tiny_trainer
from training_data import write_archive
from wandb_file import read_run

pytestmark = [*QUIET, pytest.mark.usefixtures("one_thread")]
LOGGERS = sorted((ROOT / "configs" / "logger").glob("*.yaml"))
EXPERIMENTS = sorted((ROOT / "configs" / "experiment").glob("*.yaml"))


@pytest.fixture(scope="module")
def data(tmp_path_factory, astronaut, tiny_vae):
    folder = tmp_path_factory.mktemp("data")
    return latents(write_archive(folder / "faces.zip", astronaut), tiny_vae, folder / "cache")


def callbacks_of(text):
    return [c["class_path"].rsplit(".", 1)[1] for c in yaml.safe_load(text)["trainer"]["callbacks"]]


@pytest.mark.parametrize("logger", LOGGERS, ids=lambda p: p.stem)
def test_logger_replaces_the_experiments_and_keeps_its_callbacks(logger, capsys):
    for extra in ([], ["-c", str(logger)]):
        with pytest.raises(SystemExit) as stopped:
            main(["fit", "-c", str(EXPERIMENTS[-1]), *extra, "--print_config"])
        assert stopped.value.code == 0
        printed = capsys.readouterr().out
        if not extra:
            own = callbacks_of(printed)
    assert callbacks_of(printed) == [*own, "RunLog", "LearningRateMonitor"]
    wanted = {"csv": "CSVLogger", "tensorboard": "TensorBoardLogger", "wandb": "FrugalWandbLogger"}
    config = yaml.safe_load(printed)["trainer"]
    assert config["logger"]["class_path"].endswith(wanted[logger.stem])
    assert config["logger"]["init_args"]["save_dir"] == config["default_root_dir"]


def fit(logger, data, tiny_sd, tiny_vae, root):
    arguments = tiny_arguments(data.root, tiny_sd, tiny_vae, data.cache_dir)
    extra = ["-c", str(ROOT / "configs" / "logger" / f"{logger}.yaml"), "--trainer.max_steps=2"]
    FaceforwardCLI(args=[*arguments, *extra, f"--trainer.default_root_dir={root}"])


def test_csv_holds_every_figure_and_the_config(data, tiny_sd, tiny_vae, tmp_path):
    fit("csv", data, tiny_sd, tiny_vae, tmp_path)
    folder = tmp_path / "version_0"
    columns = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/grad_norm", "train/images_per_second", "lr-AdamW", "train/loss_aged", "val/loss_aged",
            "step"} <= set(columns)  # fmt: skip
    assert yaml.safe_load((folder / "hparams.yaml").read_text())["trainer"]["max_steps"] == 2
    assert (folder / "config.yaml").is_file()


def test_tensorboard_holds_every_figure(data, tiny_sd, tiny_vae, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit("tensorboard", data, tiny_sd, tiny_vae, tmp_path)
    (folder,) = (tmp_path / "tensorboard").iterdir()
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    tags = set(accumulator.Tags()["scalars"])
    assert {"train/grad_norm", "train/images_per_second", "lr-AdamW", "val/loss_aged"} <= tags
    assert accumulator.Tags()["images"] == []


def test_wandb_gets_pictures_only_when_asked_for_and_marked(data, tiny_sd, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    editing = AgeEditing(EditPlan((20,), photos=1, steps=1), tile=32, log_images=True)
    logger = FrugalWandbLogger("ages", save_dir=str(tmp_path), tags=["x"])
    trainer = tiny_trainer(tmp_path, [editing], steps=1, logger=logger)
    trainer.fit(specialization(tiny_sd), data)
    wandb.finish()
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    for _ in range(100):  # W&B's own process writes the file, on a busy machine after `finish` has returned
        if (run := read_run(file))["history"]:
            break
        time.sleep(0.2)
    assert [key for step in run["history"] for key in step if key.startswith("val/age_editing")]
    (picture,) = file.parent.rglob("*.png")
    assert picture.read_bytes() == (tmp_path / "age_editing" / "step-00000001.png").read_bytes()
    assert run["project"] == "ages"


def test_missing_package_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(WeightsUnavailableError, match=r"pip install 'faceforward\[wandb\]'"):
        FrugalWandbLogger()


def test_wandb_reports_no_crashes_of_its_own():
    import wandb.env

    assert not wandb.env.error_reporting_enabled()


def test_every_logger_says_how_it_is_used():
    for path in LOGGERS:
        assert f"-c configs/logger/{path.name}" in Path(path).read_text()
