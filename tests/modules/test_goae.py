"""GOAE's trainings: each stage trains what it should, runs go on, ranks agree, and heads are learnt."""

from pathlib import Path

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from faceforward.callbacks.ema import EMA
from faceforward.callbacks.novel_views import NovelViews
from faceforward.callbacks.pipeline_export import PipelineExport
from faceforward.datamodules.synthetic_faces import SyntheticFaces
from faceforward.eg3d.checkpoint import load_generator, save_generator
from faceforward.errors import ConfigurationError
from faceforward.goae.checkpoint import read_published, save_part
from faceforward.goae.encoder import GoaeEncoder
from faceforward.goae.heads import GoaeHeads
from faceforward.goae.losses import LatentCritic, LossWeights
from faceforward.modules.goae_afa import GOAEAFA
from faceforward.modules.goae_encoder import GOAEEncoder
from tiny_crops import crops, write_crops
from tiny_goae import TINY_AFA, TINY_ENCODER, tiny_goae
from tiny_training import QUIET, tiny_trainer

pytestmark = [*QUIET, pytest.mark.usefixtures("one_thread")]
PLAIN = LossWeights(mirror=0, latent=0, offset=0)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    path = tmp_path_factory.mktemp("generator") / "generator.safetensors"
    save_generator(tiny_goae().generator, path)
    return str(path)


def fast(params):
    return torch.optim.Adam(params, lr=3e-3)


def module(generator, **kwargs):
    torch.manual_seed(0)
    settings = {"encoder": TINY_ENCODER, "stages": (1, 2, 3), "optimizer": fast, "critic_optimizer": fast}
    return GOAEEncoder(generator, **settings | kwargs)


def samples(generator, batch_size=2, size=16, **kwargs):
    return SyntheticFaces(generator, batch_size=batch_size, size=size, val_size=4, **kwargs)


class Watched(Callback):
    """Which parameters a step has given gradients to, and the figures."""

    def __init__(self):
        self.moved, self.steps, self.stages = [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.before = {name: value.detach().clone() for name, value in pl_module.named_parameters()}
        self.stages.append(getattr(pl_module, "stage", None))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        now = dict(pl_module.named_parameters())
        self.moved.append({name for name, value in self.before.items() if not torch.equal(value, now[name])})
        self.steps.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def test_each_stage_trains_what_it_reaches(tmp_path, generator):
    model, watched = module(generator), Watched()
    trainer = tiny_trainer(tmp_path, [watched], steps=8, limit_val_batches=0)
    trainer.fit(model, samples(generator))
    assert watched.stages == ["base", "coarse", "mid", "fine"]
    for stage, moved in zip(watched.stages, watched.moved, strict=True):
        reached = {id(parameter) for parameter in model.network.encoder.trained_at(stage)}
        named = {name for name, value in model.named_parameters() if id(value) in reached}
        others = {name for name in moved if not name.startswith("critic.")} - named
        # Adam goes on moving nothing that has no gradient: all that moves is reached, and nearly all moves.
        assert others == set()
        assert len(moved & named) > 0.9 * len(named)
        assert not any(name.startswith("network.generator") for name in moved)
        assert any(name.startswith("critic.") for name in moved)


def test_schedule_and_weights_survive_a_kill(tmp_path, generator):
    keep = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=2, save_top_k=-1, filename="{step}")
    whole = module(generator)
    trainer = tiny_trainer(tmp_path, [EMA(0.9, skip=["critic"]), keep], steps=8, enable_checkpointing=True,
                           limit_val_batches=0)  # fmt: skip
    trainer.fit(whole, samples(generator))
    resumed, watched = module(generator), Watched()
    trainer = tiny_trainer(
        tmp_path,
        [EMA(0.9, skip=["critic"]), keep, watched],
        steps=8,
        limit_val_batches=0,
        enable_checkpointing=True,
    )
    trainer.fit(resumed, samples(generator), ckpt_path=tmp_path / "kept" / "step=4.ckpt")
    assert watched.stages == ["mid", "fine"]
    mine, theirs = resumed.state_dict(), whole.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_two_ranks_are_one(tmp_path, generator):
    """Gradients of two ranks' halves, averaged, are those of the whole batch."""
    model = module(generator, stages=(0, 0, 0), jitter=False)
    data = samples(generator)
    data.setup("fit")
    whole = data.made([3, 4, 5, 6], torch.device("cpu")) | {"seed": torch.tensor([3, 4, 5, 6])}

    def gradients(batch):
        planes, ws = model.head(batch["image"], batch["camera"])
        losses = model.terms(model.generator.render(planes, batch["camera"], ws), batch["image"])
        losses |= model.seen_otherwise(batch, planes, ws, None) | model._of_codes(batch, planes, ws)
        losses["latent"] = model.critic.encoder_loss(ws)
        total = torch.stack(list(losses.values())).sum()
        return torch.autograd.grad(total, list(model.network.encoder.parameters()))

    halves = [{name: value[part] for name, value in whole.items()} for part in (slice(2), slice(2, 4))]
    one, (first, second) = gradients(whole), map(gradients, halves)
    for together, *parts in zip(one, first, second, strict=True):
        torch.testing.assert_close(together, sum(parts) / 2, rtol=1e-3, atol=1e-6)


def test_samples_follow_from_their_seeds(generator):
    data = samples(generator)
    data.setup("fit")
    alone = data.made([7], torch.device("cpu"))
    among = data.made([3, 7], torch.device("cpu"))
    for name, value in alone.items():
        torch.testing.assert_close(value[0], among[name][1], rtol=1e-4, atol=1e-5)
    known = load_generator(Path(generator))
    view = known.render(known.planes(alone["ws"]), alone["other_camera"], alone["ws"]).image.clamp(-1, 1)
    torch.testing.assert_close(view, alone["other_image"])
    with pytest.raises(ConfigurationError, match="truncation"):
        samples(generator, truncation=2.0)


def test_real_crops_train_and_are_looked_at(tmp_path, generator, astronaut):
    folder = write_crops(tmp_path / "faces", astronaut)
    model = module(generator)
    seen = NovelViews(count=2, every_n_steps=1, tile=16)
    watched = Watched()
    trainer = tiny_trainer(tmp_path, [watched, seen], steps=4)
    trainer.fit(model, crops(folder))
    assert {"train/pixel", "train/mirror", "train/latent", "train/critic"} <= watched.steps[-1].keys()
    assert "train/codes" not in watched.steps[-1]
    assert len(list((tmp_path / "novel_views").iterdir())) == 2


@pytest.mark.slow
def test_four_heads_are_learnt_by_heart(tmp_path, generator):
    model = module(generator, stages=(0, 0, 0), weights=PLAIN, jitter=False)
    watched = Watched()
    trainer = tiny_trainer(tmp_path, [watched], steps=200, limit_val_batches=0, max_epochs=-1)
    trainer.fit(model, samples(generator, batch_size=4, size=4, repeat=True))
    totals = [sum(v for name, v in step.items() if name.startswith("train/")) for step in watched.steps]
    assert sum(totals[-5:]) / 5 < 0.1 * totals[0]


def test_what_a_run_exports_turns_photographs(tmp_path, generator):
    model = module(generator)
    trainer = tiny_trainer(tmp_path, [PipelineExport("goae")], steps=2, limit_val_batches=0)
    trainer.fit(model, samples(generator))
    heads = GoaeHeads(load_generator(Path(generator)), tmp_path / "goae")
    mine, theirs = heads.network.encoder.state_dict(), model.network.encoder.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    state = torch.load(tmp_path / "goae" / "encoder.pt", weights_only=True)
    assert state.keys() == theirs.keys()
    with pytest.raises(ConfigurationError, match="another shape"):  # a tiny one is not the authors'
        read_published(tmp_path / "goae" / "encoder.pt")


def test_afa_learns_and_nothing_else(tmp_path, generator):
    torch.manual_seed(1)
    save_part(GoaeEncoder(TINY_ENCODER), tmp_path)
    torch.manual_seed(0)
    model, watched = GOAEAFA(str(tmp_path), generator, afa=TINY_AFA, optimizer=fast), Watched()
    trainer = tiny_trainer(tmp_path, [watched, PipelineExport("goae")], steps=4)
    trainer.fit(model, samples(generator))
    assert {name.split(".")[1] for moved in watched.moved for name in moved} == {"afa"}
    assert {"train/pixel", "train/view", "train/mirror", "train/hidden"} <= watched.steps[-1].keys()
    assert {"val/psnr", "val/psnr_new_view"} <= trainer.callback_metrics.keys()
    heads = GoaeHeads(load_generator(Path(generator)), tmp_path / "goae")
    assert heads.network.afa is not None
    again = GOAEAFA(str(tmp_path / "goae"), generator)
    mine, theirs = again.network.state_dict(), model.network.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_the_critic_learns_to_tell_codes_apart():
    torch.manual_seed(0)
    critic = LatentCritic(8)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    real, fake = torch.randn(64, 8) + 2, torch.randn(64, 1, 8)
    for _ in range(30):
        optimizer.zero_grad()
        (critic.loss(real, fake) + critic.penalty(real)).backward()
        optimizer.step()
    assert critic(real).mean() > critic(fake[:, 0]).mean() + 1


def test_wrong_settings_are_refused(generator):
    with pytest.raises(ConfigurationError, match="that rise"):
        module(generator, stages=(3, 2, 1))
    with pytest.raises(ConfigurationError, match="another generator"):
        module("face-eg3d-128")
