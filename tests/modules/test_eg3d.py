"""EG3D's GAN: schedules, conditions, both networks' turns, and a killed run that goes on."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

from faceforward.callbacks.ema import EMA
from faceforward.callbacks.novel_views import NovelViews
from faceforward.callbacks.pipeline_export import PipelineExport
from faceforward.eg3d.checkpoint import load_generator
from faceforward.errors import ConfigurationError
from faceforward.modules.eg3d import EG3D
from tiny_crops import TINY, crops, write_crops
from tiny_training import QUIET, tiny_trainer

pytestmark = [*QUIET, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, astronaut):
    return write_crops(tmp_path_factory.mktemp("crops") / "faces", astronaut)


def module(**kwargs):
    torch.manual_seed(0)
    settings = {
        "discriminator_base": 64,
        "discriminator_max": 8,
        "raw_start": 8,
        "penalty_every": 2,
        "blur": 2.0,
    }
    return EG3D(TINY, **settings | kwargs)


def test_raw_pictures_grow_in_even_steps():
    model = module(raw_start=4, raw_fade=(100, 200))
    sides = []
    for seen in (0, 100, 130, 150, 200, 900):
        model.seen.fill_(seen)
        sides.append(model.raw_side)
    assert sides == [4, 4, 6, 6, 8, 8]
    assert module(raw_start=6).raw_side == 6
    assert module(raw_start=64).raw_side == 8


def test_cameras_are_swapped_less_and_less(cameras_of_four):
    model = module(swap=0.25, swap_start=1.0, swap_fade=1000)
    told = model.conditions(cameras_of_four, torch.Generator().manual_seed(0))
    assert torch.equal(told, cameras_of_four.roll(1, dims=0))
    model.seen.fill_(2000)
    assert model.swap_probability == pytest.approx(0.25)
    many = cameras_of_four.repeat(500, 1)
    told = model.conditions(many, torch.Generator().manual_seed(0))
    share = (told != many).any(dim=1).float().mean().item()
    assert share == pytest.approx(0.25, abs=0.03)


@pytest.fixture
def cameras_of_four():
    from faceforward.eg3d import cameras

    return cameras.labels(cameras.look_at([-20, 0, 20, 40]))


def test_both_networks_learn_and_the_generator_is_exported(tmp_path, folder):
    model = module()
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer = tiny_trainer(
        tmp_path, [EMA(0.5, skip=["adversary"]), PipelineExport("generator")], steps=6, limit_val_batches=0
    )
    trainer.fit(model, crops(folder))
    assert trainer.global_step == 6
    assert int(model.seen) == 12
    moved = {name for name, value in model.named_parameters() if not torch.equal(before[name], value)}
    for part in ("generator.backbone.mapping", "generator.decoder", "generator.superresolution", "adversary"):
        assert any(name.startswith(part) for name in moved), part
    assert not torch.equal(model.generator.backbone.mapping.w_avg, torch.zeros(8))
    found = load_generator(tmp_path / "generator" / "generator.safetensors")
    again = EG3D(TINY, init_from=str(tmp_path / "generator" / "generator.safetensors"), discriminator_base=64)
    state = again.generator.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in found.state_dict().items())


def test_the_same_heads_are_looked_at(tmp_path, folder):
    model = module()
    views = NovelViews(count=2, yaws=(-20.0, 20.0), every_n_steps=2, tile=16)
    tiny_trainer(tmp_path, [views], steps=2).fit(model, crops(folder))
    (path,) = (tmp_path / "novel_views").iterdir()
    with Image.open(path) as picture:
        assert picture.size == (16 * 3, 32)
    data = crops(folder)
    data.setup("fit")
    first, again = (next(model.heads(data.datasets["val"], 1)) for _ in range(2))
    assert torch.equal(first.ws, again.ws)
    assert not first.shown


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, folder):
    keep = ModelCheckpoint(
        tmp_path / "kept", every_n_train_steps=2, save_top_k=-1, monitor="seen", filename="{step}"
    )
    whole, resumed = module(), module()
    settings = {"limit_val_batches": 0, "steps": 8}
    tiny_trainer(tmp_path, [keep], enable_checkpointing=True, **settings).fit(whole, crops(folder))
    tiny_trainer(tmp_path, [keep], enable_checkpointing=True, **settings).fit(
        resumed, crops(folder), ckpt_path=tmp_path / "kept" / "step=4.ckpt"
    )
    mine, theirs = resumed.state_dict(), whole.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_validation_looks_at_held_out_photographs(tmp_path, folder):
    (figures,) = tiny_trainer(tmp_path, []).validate(module(), crops(folder, batch_size=8), verbose=False)
    assert "val/real" in figures


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"penalty_every": 0}, "penalty_every is 0"),
        ({"variation_every": 0}, "variation_every is 0"),
        ({"raw_start": 0}, "raw_start is 0"),
        ({"gamma": -1.0}, "gamma is -1"),
        ({"swap": 7.0}, "swap is 7"),
        ({"raw_fade": (10, 5)}, "raw_fade is"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, told):
    with pytest.raises(ConfigurationError, match=told):
        module(**wrong)


def test_photographs_of_another_size_are_refused(tmp_path, folder):
    data = crops(folder)
    data.size = 16
    with pytest.raises(ConfigurationError, match=r"at 16 pixels .* --data.init_args.size 32"):
        tiny_trainer(tmp_path, [], steps=2, limit_val_batches=0).fit(module(), data)
