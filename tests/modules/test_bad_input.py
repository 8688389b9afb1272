"""What a user can get wrong about a training, through the real command line: exit status and words.

A full disk while exporting is in tests/callbacks/test_pipeline_export.py, on two ranks too.
"""

import pickle
import re
from pathlib import Path

import pytest

from aihub_corpus import picture, write_good
from faceforward.train import main
from tiny_training import QUIET

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
def fit(delivery, tiny_sd, tmp_path, capsys):
    """Runs a short fit; gives its exit status and what it said."""

    def run(*extra):
        status = main(
            [
                "fit", "--seed_everything=1", "--model=faceforward.modules.specialization.Specialization",
                f"--model.init_args.init_from={tiny_sd}",
                f"--data={CONFIGS / 'data' / 'aihub.yaml'}", f"--data.init_args.root={delivery / 'delivery'}",
                f"--data.init_args.vae={tiny_sd}", f"--data.init_args.cache_dir={delivery / 'cache'}",
                "--data.init_args.batch_size=4", f"--trainer.default_root_dir={tmp_path}",
                "--trainer.max_steps=2", "--trainer.accelerator=cpu", "--trainer.logger=false",
                "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
                *extra,
            ]
        )  # fmt: skip
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
    ],
    ids=["wrong root", "no labels", "one age", "empty split", "nobody", "hub id", "autoencoder"],
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
