"""All callbacks together on two real ranks, with W&B offline: train.py as typed."""

import socket

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image

from faceforward.callbacks.age_evaluation import AgeEvaluation
from faceforward.callbacks.edit_plan import EditPlan
from faceforward.diffusion.prompts import PromptTemplate
from tiny_training import QUIET, ROOT, latents, specialization, tiny_arguments, tiny_trainer, train_py
from training_data import write_archive
from wandb_file import read_run

pytestmark = [*QUIET, pytest.mark.slow]
PLAN = EditPlan(target_ages=(20, 60), photos=3, steps=2, template=PromptTemplate())
EXTRA = """
trainer:
  callbacks:
    - class_path: faceforward.callbacks.ema.EMA
      init_args: {decay: 0.5}
    - class_path: faceforward.callbacks.age_editing.AgeEditing
      init_args: {edits: &plan {target_ages: [20, 60], photos: 3, steps: 2}, tile: 32, every_n_steps: 2}
    - class_path: faceforward.callbacks.age_evaluation.AgeEvaluation
      init_args: {edits: *plan}
    - class_path: faceforward.callbacks.pipeline_export.PipelineExport
      init_args: {live: true, monitor: val/age_mae}
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {dirpath: "${trainer.default_root_dir}/checkpoints", monitor: val/age_mae}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory, astronaut, tiny_vae):
    folder = tmp_path_factory.mktemp("data")
    module = latents(write_archive(folder / "faces.zip", astronaut), tiny_vae, folder / "cache")
    module.prepare_data()
    module.setup("fit")
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory, data, tiny_sd, tiny_vae):
    root = tmp_path_factory.mktemp("run")
    (root / "extra.yaml").write_text(EXTRA)
    arguments = tiny_arguments(data.root, tiny_sd, tiny_vae, data.cache_dir)
    train_py(
        *arguments, "-c", str(root / "extra.yaml"), "-c", str(ROOT / "configs" / "logger" / "wandb.yaml"),
        "--trainer.logger.init_args.project=ages", "--trainer.logger.init_args.tags=[tiny, ranks]",
        "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_steps=2",
        f"--trainer.default_root_dir={root}/run", cwd=root, WANDB_MODE="offline",
    )  # fmt: skip
    return root / "run"


@pytest.fixture(scope="module")
def recorded(run):
    (file,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    return read_run(file)


def test_every_export_is_there_and_loads(run):
    assert {p.name for p in run.iterdir()} == {
        "age_editing", "checkpoints", "config.yaml", "pipeline", "pipeline-best", "pipeline-best-live",
        "pipeline-live", "rejected.csv", "wandb",
    }  # fmt: skip
    for folder in run.glob("pipeline*"):
        StableDiffusionPipeline.from_pretrained(folder)


def test_grid_holds_the_photographs_of_both_ranks(run):
    (grid,) = (run / "age_editing").iterdir()
    assert grid.name == "step-00000002.png"
    pixels = np.asarray(Image.open(grid))
    tiles = [pixels[30 + row * 38 + 8 :][:16, 64 + 6 + column * 38 + 8 :][:, :16] for row in range(3)
             for column in range(3)]  # fmt: skip
    assert all(tile.std() > 3 for tile in tiles)


def test_figures_of_both_ranks_are_those_of_one(run, recorded, data, tiny_sd, tmp_path):
    logged = [step["val/age_mae"] for step in recorded["history"] if "val/age_mae" in step]
    assert len(logged) == 2
    trainer = tiny_trainer(tmp_path, [AgeEvaluation(PLAN)])
    (found,) = trainer.validate(specialization(run / "pipeline"), data, verbose=False)
    assert logged[-1] == pytest.approx(found["val/age_mae"], abs=0.2)


def test_offline_run_holds_config_and_figures_and_nothing_else(run, recorded):
    assert recorded["project"] == "ages"
    assert recorded["tags"] == ["tiny", "ranks"]
    assert recorded["config"]["model"]["class_path"].endswith("Specialization")
    assert recorded["config"]["trainer"]["max_steps"] == 2
    keys = set().union(*recorded["history"])
    assert keys >= {
        "train/loss", "train/loss_general", "train/loss_aged", "val/loss_aged", "train/grad_norm",
        "train/images_per_second", "lr-AdamW", "val/age_mae", "val/age_bias", "val/age_bias_20",
        "val/identity", "trainer/global_step",
    }  # fmt: skip
    assert not [key for key in keys if "age_editing" in key]
    rates = [step["train/images_per_second"] for step in recorded["history"] if "train/grad_norm" in step]
    assert len(rates) == 2
    assert min(rates) > 0
    assert recorded["output"] == 0  # of the console
    assert set(recorded["files"]) <= {"config.yaml", "wandb-summary.json"}
    folder = next((run / "wandb").glob("offline-run-*"))
    sent = {p.name for p in (folder / "files").rglob("*") if p.is_file()}
    assert not [name for name in sent if name.endswith((".png", ".py", ".log", ".patch", "metadata.json"))]
    assert "requirements.txt" not in sent
    assert socket.gethostname() not in recorded["metadata"].split()
