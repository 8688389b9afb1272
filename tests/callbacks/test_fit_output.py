"""What `train.py fit` prints: no advertisements, no epochs of -2, no operations that nobody counted."""

import logging

import pytest
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar

from faceforward.callbacks.fit_output import LearningSummary, own_output
from tiny_training import train_py
from training_data import write_archive


@pytest.mark.parametrize(
    ("trainer", "callbacks", "added"),
    [
        ({}, [], ["TQDMProgressBar", "LearningSummary"]),
        ({"enable_progress_bar": False}, [], ["LearningSummary"]),
        ({"enable_model_summary": False}, [RichProgressBar()], []),
        ({}, [TQDMProgressBar()], ["LearningSummary"]),
        ({"barebones": True}, [], []),
    ],
)
def test_what_is_added(trainer, callbacks, added):
    assert [type(each).__name__ for each in own_output(trainer, callbacks)] == added


def test_the_summary_is_one_line(caplog):
    with caplog.at_level(logging.INFO):
        LearningSummary.summarize(
            [("Name", ["unet"]), ("Type", ["UNet"]), ("Params", ["10  "]), ("FLOPs", ["0"])],
            20, 10, 1.6, {}, 0,
        )  # fmt: skip
    assert caplog.messages == ["10 of 20 parameters learn, 2 MB: unet (UNet, 10)"]


@pytest.mark.slow
def test_a_training_prints_what_is_true(tmp_path, astronaut, tiny_vae, tiny_sd):
    archive = write_archive(tmp_path / "faces.zip", astronaut)
    run = train_py(
        "fit", "-c", "configs/experiment/specialize_aihub.yaml",
        "--data", "faceforward.datamodules.labelled_folder.LabelledFolder",
        "--data.init_args.root", str(archive), "--data.init_args.vae", str(tiny_vae),
        "--data.init_args.cache_dir", str(tmp_path / "cache"), "--data.init_args.batch_size=4",
        "--model.init_args.init_from", str(tiny_sd),
        "--trainer.max_steps=3", "--trainer.callbacks=null", "--trainer.limit_val_batches=0",
        "--trainer.val_check_interval=null", "--trainer.precision=32", "--trainer.default_root_dir=run",
        cwd=tmp_path,
    )  # fmt: skip
    said = run.stdout + run.stderr
    assert "parameters learn" in said
    assert "Epoch 1: 100%" in said
    for words in ("FLOPs", "Epoch 0/", "Tip:", "litlogger", "in eval mode", "LeafSpec"):
        assert words not in said, said[-3000:]
