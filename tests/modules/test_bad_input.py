"""What a user can get wrong about a training, through the real command line: exit status and words.

A full disk while exporting is in tests/callbacks/test_pipeline_export.py, on two ranks too.
"""

import errno
import pickle
import re
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from aihub_corpus import picture, write_good
from faceforward.train import main
from full_disk import full_disk
from tiny_training import QUIET, train_py

CONFIGS = Path(__file__).parents[2] / "configs"
pytestmark = [*QUIET, pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")]


@pytest.fixture(scope="module")
def delivery(tmp_path_factory):
    import skimage.data

    folder = tmp_path_factory.mktemp("aihub")
    write_good(folder / "delivery", skimage.data.astronaut())
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_bytes(picture(skimage.data.astronaut(), 0))
    return folder


@pytest.fixture
def arguments(delivery, tiny_sd, tmp_path):
    """Of a short fit."""
    return [
        "fit", "--seed_everything=1", "--model=faceforward.modules.specialization.Specialization",
        f"--model.init_args.init_from={tiny_sd}",
        f"--data={CONFIGS / 'data' / 'aihub.yaml'}", f"--data.init_args.root={delivery / 'delivery'}",
        f"--data.init_args.vae={tiny_sd}", f"--data.init_args.cache_dir={delivery / 'cache'}",
        "--data.init_args.batch_size=4", f"--trainer.default_root_dir={tmp_path}",
        "--trainer.max_steps=2", "--trainer.accelerator=cpu", "--trainer.logger=false",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    ]  # fmt: skip


@pytest.fixture
def fit(arguments, capsys):
    """Runs a short fit; gives its exit status and what it said."""

    def run(*extra):
        status = main([*arguments, *extra])
        return status, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            "--data.init_args.root=/nowhere",
            "the AI Hub folder /nowhere does not exist: give the",
        ),
        ("--data.init_args.root={delivery}/pictures", r"no label .* 1 pictures"),
        (
            "--data.init_args.filters.min_age=18 --data.init_args.filters.max_age=18",
            r"are 18 years old: .* check the labels",
        ),
        ("--data.init_args.val_share=0", r"no photograph left for the split 'val': give more people"),
        (
            "--data.init_args.filters.min_age=90",
            r"none of the \d+ photographs passes .*; ages here are 4",
        ),
        (
            "--model.init_args.init_from=someone/nothing",
            r"someone/nothing.*faceforward download someone/nothing",
        ),
        (
            "--data.init_args.vae=someone/nothing",
            r"someone/nothing is no AutoencoderKL folder: .*; give",
        ),
        (
            "--trainer.max_steps=-1 --trainer.max_epochs=1 "
            '--model.init_args.lr_scheduler={{"class_path":"faceforward.modules.schedules.WarmupCosine",'
            '"init_args":{{"total_steps":-1}}}}',
            r"total_steps of the schedule is -1.*--trainer\.max_steps",
        ),
        (
            "--trainer.limit_train_batches=1 "
            '--model.init_args.lr_scheduler={{"class_path":"lightning.pytorch.cli.ReduceLROnPlateau",'
            '"init_args":{{"monitor":"no/figure"}}}}',
            r"metric no/figure which is not available. Available metrics are: .*train/loss",
        ),
    ],
    ids=[
        "wrong root",
        "no labels",
        "one age",
        "empty split",
        "nobody",
        "hub id",
        "autoencoder",
        "epochs alone",
        "no figure",
    ],
)
def test_what_cannot_be_trained_is_exit_2(fit, delivery, wrong, words):
    status, said = fit(*wrong.format(delivery=delivery).split())
    assert status == 2
    line = said.rstrip().splitlines()[-1]
    assert line.startswith("train: ")
    assert re.search(words, line)


def test_a_checkpoint_of_another_model_is_exit_2(fit, tmp_path):
    assert fit("--trainer.limit_val_batches=0")[0] == 0
    (checkpoint,) = (tmp_path / "checkpoints").glob("*.ckpt")
    status, said = fit("--model.init_args.train=unet+text_encoder", f"--ckpt_path={checkpoint}")
    assert status == 2
    assert re.search(r"train: the checkpoint is of another model: \d+ weights are missing .*init_from", said)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.ckpt", None, "there is no checkpoint .*none.ckpt"),
        ("odd.ckpt", b"no checkpoint", r"odd\.ckpt cannot be read"),
        ("evil.ckpt", pickle.dumps(print), r"evil\.ckpt cannot be read: "),
        ("https://example.org/a.ckpt", None, "is an address: download"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_is_exit_2(fit, tmp_path, name, content, words):
    path = name if "://" in name else str(tmp_path / name)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    status, said = fit(f"--ckpt_path={path}")
    assert status == 2
    assert re.search(f"train: .*{words}", said)


def test_a_loss_that_is_no_number_is_exit_1(fit):
    wild = "{class_path: torch.optim.SGD, init_args: {lr: 1.0e+30}}"
    status, said = fit(f"--model.init_args.optimizer={wild}", "--trainer.limit_val_batches=0")
    assert status == 1
    assert re.search(r"train: the loss is no number at step 1 .*Lower the learning rate.*--ckpt_path", said)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["gpu", "slurm"])
def test_a_gpu_that_is_not_there_is_exit_2(fit, name):
    status, said = fit("--trainer.accelerator=auto", "-c", str(CONFIGS / "trainer" / f"{name}.yaml"))
    assert status == 2
    assert re.search(r"train: trainer.accelerator is gpu, and PyTorch finds no GPU .*accelerator cpu", said)


class FailingLogger(CSVLogger):
    """Its file is on the disk that is full."""

    def finalize(self, status):
        raise OSError(errno.ENOSPC, "No space left on device", "metrics.csv")


@pytest.mark.parametrize("logger", ["false", "{class_path: FailingLogger, init_args: {save_dir: .}}"])
def test_a_checkpoint_that_cannot_be_written_is_exit_1(fit, tmp_path, monkeypatch, logger):
    monkeypatch.chdir(tmp_path)
    assert fit("--trainer.enable_checkpointing=false", "--trainer.limit_val_batches=0")[0] == 0
    logger = logger.replace("FailingLogger", f"{__name__}.FailingLogger")
    with full_disk():
        status, said = fit("--trainer.limit_val_batches=0", f"--trainer.logger={logger}")
    assert status == 1
    line = said.rstrip().splitlines()[-1]
    assert re.search(
        r"train: the checkpoint .*step=2\.ckpt of step 2 cannot be written: .*File too large "
        r"\(\d+ MB free\)\. Make room there, .* --ckpt_path",
        line,
    )


def test_another_file_that_cannot_be_written_is_exit_1(fit, tmp_path):
    logger = f"{{class_path: {__name__}.FailingLogger, init_args: {{save_dir: {tmp_path}}}}}"
    status, said = fit("--trainer.limit_val_batches=0", f"--trainer.logger={logger}")
    assert status == 1
    assert re.search(r"train: metrics\.csv cannot be written: .*No space left.*\. Make room$", said.rstrip())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gloo on two ranks")
def test_two_ranks_say_once_what_is_wrong(arguments, tmp_path):
    two = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.limit_val_batches=0")
    wild = "--model.init_args.optimizer={class_path: torch.optim.SGD, init_args: {lr: 1.0e+30}}"
    for wrong, status, words in (
        ("--data.init_args.root=/nowhere", 2, "train: the AI Hub folder /nowhere does not exist"),
        (wild, 1, "train: the loss is no number at step 1"),
    ):
        run = train_py(*arguments, *two, wrong, cwd=tmp_path, ok=False)
        (line,) = re.findall(r"^train: .*", run.stderr, re.MULTILINE)
        assert line.startswith(words)
        assert run.returncode == status
        assert "Traceback" not in run.stderr
    run = train_py(*arguments, *two, cwd=tmp_path, ok=False, largest_file=30_000)
    lines = sorted(re.findall(r"^train: .*", run.stderr, re.MULTILINE))
    assert [line.split()[1:3] for line in lines] == [["another", "rank"], ["the", "checkpoint"]]
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
