"""The tri-plane autoencoder: it learns, each part when it is its turn, and a killed run goes on."""

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from faceforward.callbacks.ema import EMA
from faceforward.callbacks.novel_views import NovelViews
from faceforward.callbacks.pipeline_export import PipelineExport
from faceforward.eg3d.pair import load_pair
from faceforward.eg3d.resampling import resized
from faceforward.errors import ConfigurationError, TrainingError
from faceforward.modules.triplane_autoencoder import TriPlaneAutoencoder
from tiny_crops import TINY, crops, write_crops
from tiny_training import QUIET, tiny_trainer

pytestmark = [*QUIET, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, astronaut):
    return write_crops(tmp_path_factory.mktemp("crops") / "faces", astronaut)


def adam(params):
    return torch.optim.Adam(params, lr=2e-3, betas=(0.9, 0.99))


def module(**kwargs):
    torch.manual_seed(0)
    settings = {"coarse": 8, "fine_from": 8, "optimizer": adam, "discriminator_base": 64}
    return TriPlaneAutoencoder(TINY, **settings | kwargs)


class Losses(Callback):
    """The figures and the state of each step."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def fit(root, model, folder, steps, *callbacks, **kwargs):
    losses = Losses()
    trainer = tiny_trainer(root, [losses, *callbacks], steps=steps, limit_val_batches=0, **kwargs)
    trainer.fit(model, crops(folder), ckpt_path=kwargs.pop("resume", None))
    return losses.steps


def test_it_learns_its_pictures(tmp_path, folder):
    model = module(fine_from=10**6, prior_weight=0.0, prior_floor=0.0, mirror_share=0.0, gradient_weight=0.0)
    steps = fit(tmp_path, model, folder, 40)
    assert sum(step["train/pixel"] for step in steps[-4:]) / 4 < 0.8 * steps[0]["train/pixel"]
    assert steps[-1]["seen"] == 160


def test_density_is_held_to_a_head_less_and_less(tmp_path, folder):
    steps = fit(tmp_path, module(prior_weight=1.0, prior_floor=0.0, prior_fade=8, fine_from=99), folder, 4)
    assert steps[0]["train/prior"] > 1.5 * steps[1]["train/prior"] > 0 == steps[2]["train/prior"]


def test_super_resolution_learns_when_its_turn_comes(tmp_path, folder):
    model = module(fine_from=8)
    before = {name: value.clone() for name, value in model.generator.superresolution.named_parameters()}
    fit(tmp_path, model, folder, 2)
    assert all(torch.equal(before[n], v) for n, v in model.generator.superresolution.named_parameters())
    assert model.is_fine
    fit(tmp_path, model, folder, 2)
    changed = [not torch.equal(before[n], v) for n, v in model.generator.superresolution.named_parameters()]
    assert sum(changed) > len(changed) / 2


def test_first_final_picture_is_the_raw_one_enlarged(folder):
    model = module(fine_from=0).eval()
    data = crops(folder)
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    with torch.no_grad():
        ws, planes = model(batch["image"], batch["camera"])
        view = model.view(planes, batch["camera"], ws)
    small = resized(view.image, view.raw.shape[-1])
    assert (small - view.raw).abs().mean() < 0.2 * view.raw.std()  # two low-passes more


def test_adversary_enters_and_both_networks_step(tmp_path, folder):
    model = module(fine_from=0, adversarial_from=8)
    first = [p.detach().clone() for p in model.adversary.parameters()]
    steps = fit(tmp_path / "a", model, folder, 2)
    assert "train/adversarial" not in steps[-1]
    assert all(torch.equal(a, b) for a, b in zip(first, model.adversary.parameters(), strict=True))
    steps = fit(tmp_path / "b", model, folder, 4)
    assert {"train/adversarial", "train/cycle", "train/real", "train/fake"} <= steps[-1].keys()
    assert any(not torch.equal(a, b) for a, b in zip(first, model.adversary.parameters(), strict=True))
    assert all(p.requires_grad for p in model.adversary.parameters())


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, folder):
    kwargs = {"fine_from": 0, "adversarial_from": 0}
    keep = ModelCheckpoint(
        tmp_path / "kept", every_n_train_steps=2, save_top_k=-1, monitor="seen", filename="{step}"
    )
    whole = module(**kwargs)
    trainer = tiny_trainer(tmp_path, [EMA(0.9, skip=["adversary"]), keep], steps=8, enable_checkpointing=True,
                           limit_val_batches=0)  # fmt: skip
    trainer.fit(whole, crops(folder))
    resumed, average = module(**kwargs), EMA(0.9, skip=["adversary"])
    trainer = tiny_trainer(tmp_path, [average, keep], steps=8, limit_val_batches=0, enable_checkpointing=True)
    trainer.fit(resumed, crops(folder), ckpt_path=tmp_path / "kept" / "step=4.ckpt")
    mine, theirs = resumed.state_dict(), whole.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    learners = [*whole.generator.parameters(), *whole.encoder.parameters()]
    assert len(average.model.shadow_params) == len(learners)


def test_export_starts_the_next_stage(tmp_path, folder):
    model = module()
    fit(tmp_path, model, folder, 2, PipelineExport("pair"))
    generator, encoder = load_pair(str(tmp_path / "pair"))
    again = TriPlaneAutoencoder(TINY, init_from=str(tmp_path / "pair"), adversarial_from=0)
    for one, other in (
        (generator, model.generator),
        (encoder, model.encoder),
        (again.encoder, model.encoder),
    ):
        state = other.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())
    with pytest.raises(ConfigurationError, match="no generator"):
        TriPlaneAutoencoder(TINY, init_from=str(tmp_path))


def test_psnr_is_that_of_the_view(tmp_path, folder):
    model = module(fine_from=0)
    data = crops(folder, batch_size=8)
    (figures,) = tiny_trainer(tmp_path, []).validate(model, data, verbose=False)
    batch = next(iter(data.val_dataloader()))
    with torch.no_grad():
        ws, planes = model.eval()(batch["image"], batch["camera"])
        view = model.generator.render(planes, batch["camera"], ws).image.clamp(-1, 1)
    mse = (view - batch["image"]).square().mean(dim=(1, 2, 3))
    assert figures["val/psnr"] == pytest.approx((10 * torch.log10(4 / mse)).mean().item(), rel=1e-4)


def test_pictures_from_the_side(tmp_path, folder):
    from PIL import Image

    model = module(fine_from=0)
    fit(tmp_path, model, folder, 2, NovelViews(count=2, every_n_steps=1, tile=16))
    (first, _) = sorted((tmp_path / "novel_views").iterdir())
    with Image.open(first) as picture:
        assert picture.size == (16 * 8, 32)
        assert "Synthetic" in picture.text["Description"]
    assert model.training


def test_divergence_is_said(tmp_path, folder):
    model = module()
    with torch.no_grad():
        model.encoder.out.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="no number at step 0"):
        fit(tmp_path, model, folder, 1)
