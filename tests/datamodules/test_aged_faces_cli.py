"""The data modules of labelled collections through the real command line."""

import csv
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from faceforward.cli import FaceforwardCLI
from faceforward.datamodules.aihub import AIHubAging, AIHubSource
from faceforward.datamodules.filename_labels import FFHQAging, UTKFace, UTKFaceSource
from faceforward.datamodules.labelled_folder import FolderSource, LabelledFolder
from faceforward.datamodules.splits import Filters
from faceforward.errors import ConfigurationError
from faceforward.train import main
from tiny_training import QUIET

CONFIGS = Path(__file__).parents[2] / "configs" / "data"
pytestmark = QUIET


@pytest.mark.parametrize(
    ("name", "kind", "alignment"),
    [
        ("aihub", AIHubAging, "ffhq"),
        ("labelled_folder", LabelledFolder, "none"),
        ("utkface", UTKFace, "detector"),
        ("ffhq_aging", FFHQAging, "none"),
    ],
)
def test_shipped_yaml_makes_its_module(name, kind, alignment, tiny_vae, tiny_sd, tmp_path):
    cli = FaceforwardCLI(
        args=[
            "--model=faceforward.modules.specialization.Specialization",
            f"--model.init_args.init_from={tiny_sd}",
            f"--data={CONFIGS / name}.yaml",
            f"--data.init_args.vae={tiny_vae}",
            f"--data.init_args.root={tmp_path}",
            "--data.init_args.filters.max_age=80",
            f"--trainer.default_root_dir={tmp_path}",
            "--seed_everything=1",
        ],
        run=False,
    )
    assert type(cli.datamodule) is kind
    (collection,) = cli.datamodule.collections
    assert collection.alignment == alignment
    assert collection.filters == Filters(max_age=80)
    with pytest.raises(ConfigurationError, match=r"no (label|labels|picture|ffhq_aging_labels)"):
        cli.datamodule.prepare_data()


def test_shipped_yaml_of_several_collections(tiny_vae, tiny_sd):
    cli = FaceforwardCLI(
        args=[
            "--model=faceforward.modules.specialization.Specialization",
            f"--model.init_args.init_from={tiny_sd}",
            f"--data={CONFIGS / 'collections.yaml'}",
            f"--data.init_args.vae={tiny_vae}",
            "--seed_everything=1",
        ],
        run=False,
    )
    assert [type(part.source) for part in cli.datamodule.collections] == [
        AIHubSource,
        UTKFaceSource,
        FolderSource,
    ]
    assert [part.alignment for part in cli.datamodule.collections] == ["ffhq", "detector", "none"]
    assert [part.share for part in cli.datamodule.collections] == [2, 1, 1]
    assert cli.datamodule.collections[2].filters == Filters(max_age=90)


def fit(tmp_path, tiny_sd, delivery, *extra, command="fit", model="specialization.Specialization"):
    return main(
        [
            command,
            f"--model=faceforward.modules.{model}",
            f"--model.init_args.init_from={tiny_sd}",
            f"--data={CONFIGS / 'aihub.yaml'}",
            f"--data.init_args.root={delivery[0]}",
            f"--data.init_args.vae={tiny_sd}",
            f"--data.init_args.cache_dir={delivery[0].parent / 'cache'}",
            "--data.init_args.batch_size=4",
            f"--trainer.default_root_dir={tmp_path}",
            "--seed_everything=1",
            "--trainer.max_steps=2",
            "--trainer.accelerator=cpu",
            "--trainer.logger=false",
            "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false",
            *extra,
        ]
    )


def test_fit_through_the_command_line(delivery, tiny_sd, tmp_path):
    assert fit(tmp_path, tiny_sd, delivery) == 0
    assert (tmp_path / "rejected.csv").is_file()  # in the run's folder
    assert list((tmp_path / "checkpoints").glob("*.ckpt"))


@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")
@pytest.mark.parametrize(
    ("model", "losses"),
    [
        ("specialization.Specialization", {"loss_general", "loss_aged"}),
        ("text_to_image.TextToImage", {"loss"}),
    ],
)
def test_test_and_validate_take_a_checkpoint(delivery, tiny_sd, tmp_path, model, losses):
    log = "--trainer.logger={class_path: CSVLogger, init_args: {save_dir: %s}}"
    assert fit(tmp_path, tiny_sd, delivery, model=model) == 0
    (checkpoint,) = (tmp_path / "checkpoints").glob("*.ckpt")
    for command, split in (("validate", "val"), ("test", "test")):
        root = tmp_path / command
        extra = log % root, f"--ckpt_path={checkpoint}"
        assert fit(root, tiny_sd, delivery, *extra, command=command, model=model) == 0
        (figures,) = root.rglob("metrics.csv")
        with figures.open() as stream:
            (row,) = csv.DictReader(stream)
        assert {name for name in row if "/" in name} == {f"{split}/{name}" for name in losses}
        assert all(0 < float(row[f"{split}/{name}"]) < 100 for name in losses)


def test_latents_of_another_autoencoder_are_not_even_made(delivery, tiny_sd, tiny_vae, tmp_path, capsys):
    vae = AutoencoderKL.from_pretrained(tiny_vae)
    torch.nn.init.zeros_(vae.quant_conv.bias)
    vae.save_pretrained(tmp_path / "vae")
    cache = tmp_path / "cache"
    extra = f"--data.init_args.vae={tmp_path / 'vae'}", f"--data.init_args.cache_dir={cache}"
    assert fit(tmp_path, tiny_sd, delivery, *extra) == 2
    assert f"the latents are of the autoencoder {tmp_path / 'vae'}, and {tiny_sd}" in capsys.readouterr().err
    assert not cache.exists()


def test_faults_are_told_by_the_command_line(delivery, tiny_sd, tmp_path, capsys):
    assert fit(tmp_path, tiny_sd, delivery, "--data.init_args.root=/nowhere") == 2
    assert "the AI Hub folder /nowhere does not exist" in capsys.readouterr().err
    share = "--data.init_args.val_share=0"
    assert fit(tmp_path, tiny_sd, delivery, share, "--trainer.limit_val_batches=0") == 0
    shutil.rmtree(tmp_path / "checkpoints")
