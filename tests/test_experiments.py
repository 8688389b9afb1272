"""Every experiment runs a step through the real CLI, on tiny models of the real classes."""

from pathlib import Path

import pytest
import torch

from aihub_corpus import write_good
from faceforward.eg3d.checkpoint import save_generator
from faceforward.goae.checkpoint import save_part
from faceforward.modules.triplane_autoencoder import TriPlaneAutoencoder
from faceforward.train import main
from tiny_crops import TINY, options_of, write_crops
from tiny_goae import tiny_goae
from tiny_training import QUIET, collections
from training_data import write_archive

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted((ROOT / "configs" / "experiment").glob("*.yaml"))
pytestmark = [
    *QUIET,
    pytest.mark.filterwarnings(
        "ignore:Precision bf16-mixed is not supported by the model summary:UserWarning"
    ),
    pytest.mark.filterwarnings("ignore:The '.*dataloader' does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]


@pytest.fixture
def sources(tmp_path, astronaut, tiny_vae, tiny_sd):
    """What each experiment needs in place of its data and its model."""
    write_good(tmp_path / "aihub", astronaut)
    archive = write_archive(tmp_path / "faces.zip", astronaut)
    cache = f"--data.init_args.cache_dir={tmp_path}/cache"
    zipped = [f"--data.init_args.archive={archive}", "--data.init_args.exclude=null"]
    latents = [collections(archive), f"--data.init_args.vae={tiny_vae}", cache]
    aihub = [
        f"--data.init_args.root={tmp_path}/aihub", f"--data.init_args.vae={tiny_vae}", cache,
        "--data.init_args.num_workers=0", f"--model.init_args.init_from={tiny_sd}",
        "--data.init_args.val_share=0.5",
    ]  # fmt: skip
    crops = [f"--data.init_args.root={write_crops(tmp_path / 'crops', astronaut)}",
             f"--data.init_args.val_root={tmp_path / 'crops'}", "--data.init_args.size=32",
             "--data.init_args.num_workers=0", *options_of(TINY)]  # fmt: skip
    goae = tiny_heads(tmp_path / "goae")
    encoder = [*goae, "--trainer.max_steps=2", "--model.init_args.init_from=" + str(tmp_path / "goae")]
    afa = [*goae, f"--model.init_args.encoder={tmp_path / 'goae'}"]
    return {
        "goae_encoder": encoder,
        "goae_encoder_small": encoder,
        "goae_afa": afa,
        "goae_afa_small": afa,
        "eg3d": [*crops, "--model.init_args.discriminator_base=64", "--trainer.max_steps=2"],
        "triplane_autoencoder": crops,
        "triplane_adversarial": [
            *crops, f"--model.init_args.init_from={tiny_pair(tmp_path / 'pair')}", "--trainer.max_steps=2",
            "--model.init_args.discriminator_base=64",
        ],
        "autoencoder": [*zipped, "--data.init_args.size=32", f"--model.init_args.init_from={tiny_vae}"],
        "base_diffusion": [
            *latents, "--model.init_args.new_over=null", f"--model.init_args.init_from={tiny_sd}"
        ],
        "specialize_faces128": [*latents, f"--model.init_args.init_from={tiny_sd}"],
        "specialize_aihub": aihub,
        "specialize_aihub_sd15": aihub,
        "evaluate_ageing": [*aihub, "--data.init_args.val_share=0", "--data.init_args.test_share=0.5"],
    }  # fmt: skip


def tiny_pair(folder):
    """An export to start from."""
    folder.mkdir()
    TriPlaneAutoencoder(TINY).export(folder)
    return folder


def tiny_heads(folder):
    """A generator, and encoder and AFA to start from."""
    folder.mkdir()
    network = tiny_goae()
    save_generator(network.generator, folder / "generator.safetensors")
    save_part(network.encoder, folder)
    save_part(network.afa, folder)
    source = folder / "generator.safetensors"
    return [f"--model.init_args.generator={source}", f"--data.init_args.generator={source}",
            "--data.init_args.size=4", "--data.init_args.val_size=2"]  # fmt: skip


GANS = ("eg3d", "triplane_adversarial", "goae_encoder", "goae_encoder_small")
EXPORTS = {
    "goae_encoder": "goae",
    "goae_encoder_small": "goae",
    "goae_afa": "goae",
    "goae_afa_small": "goae",
    "autoencoder": "vae",
    "eg3d": "generator",
    "triplane_autoencoder": "pair",
    "triplane_adversarial": "pair",
}


def test_a_model_is_measured_in_one_go(sources, tmp_path):
    status = main([
        "test", "-c", str(ROOT / "configs" / "experiment" / "evaluate_ageing.yaml"),
        *sources["evaluate_ageing"], "--data.init_args.batch_size=2",
        f"--trainer.default_root_dir={tmp_path}/run",
        "--trainer.callbacks.init_args.edits.steps=2", "--trainer.callbacks.init_args.edits.photos=1",
        "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
    ])  # fmt: skip
    assert status == 0
    (figures,) = (tmp_path / "run").rglob("metrics.csv")
    assert {"test/age_mae_calibrated", "test/identity", "test/choice"} < set(
        figures.read_text().split("\n")[0].split(",")
    )


@pytest.mark.parametrize(
    "path", [p for p in EXPERIMENTS if p.stem != "evaluate_ageing"], ids=lambda p: p.stem
)
def test_one_step(path, sources, tmp_path):
    status = main([
        "fit", "-c", str(path), "--trainer.max_steps=1", *sources[path.stem], "--data.init_args.batch_size=2",
        f"--trainer.default_root_dir={tmp_path}/run", "--trainer.accelerator=cpu", "--trainer.devices=1",
        "--trainer.strategy=auto", "--trainer.val_check_interval=1", "--trainer.limit_val_batches=1",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    ])  # fmt: skip
    assert status == 0
    assert (tmp_path / "run" / EXPORTS.get(path.stem, "pipeline")).is_dir()
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == (2 if path.stem in GANS else 1)  # its networks take turns
