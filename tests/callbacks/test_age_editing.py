"""Grids of edits while training: what is on them, when they come, and that training does not notice."""

import logging
import random
import re
import shutil

import numpy as np
import pytest
import torch
from lightning import Callback, LightningDataModule
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import ModelParallelStrategy
from PIL import Image
from torch.utils.data import DataLoader

from faceforward.callbacks.age_editing import AgeEditing
from faceforward.callbacks.edit_plan import EditPlan
from faceforward.callbacks.edits import ValidationEdits
from faceforward.callbacks.ema import EMA
from faceforward.datamodules.draws import FixedDraws
from faceforward.diffusion.blending import LocalBlend
from faceforward.diffusion.editing import edit
from faceforward.diffusion.inversion import DirectInversion
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.prompts import PromptTemplate
from faceforward.diffusion.settings import EditChanges, EditSettings
from faceforward.errors import ConfigurationError
from faceforward.modules.autoencoder import Autoencoder
from tiny_training import QUIET, latents, specialization, tiny_trainer
from training_data import write_archive

pytestmark = QUIET
PLAN = EditPlan(target_ages=(20, 60), photos=3, steps=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory, astronaut, tiny_vae):
    folder = tmp_path_factory.mktemp("data")
    return latents(write_archive(folder / "faces.zip", astronaut, val=5), tiny_vae, folder / "cache")


def made(trainer, module, plan=PLAN):
    edits = ValidationEdits(plan)
    return edits, edits.make(trainer, module)


@pytest.fixture
def fitted(tmp_path, data, tiny_sd):
    """A trainer and a module after one step, with the data module attached."""
    module = specialization(tiny_sd)
    trainer = tiny_trainer(tmp_path, [], steps=1)
    trainer.fit(module, data)
    return trainer, module


def test_edits_are_those_of_the_exported_model(fitted, tmp_path, data):
    trainer, module = fitted
    edits, edited = made(trainer, module)
    assert [photo.place for photo in edited] == [0, 1, 2]
    assert edits.count == 3
    module.export(tmp_path / "model")
    model = load_pipeline(tmp_path / "model")
    template = PromptTemplate("photo of a {age} year old person")  # what the module learns
    labels, moments = data.datasets["val"].labels, data.datasets["val"].moments
    order = [draw.index for draw in FixedDraws(len(labels))]
    for photo, row in zip(edited, (order[place] for place in (0, 2, 4)), strict=True):
        assert photo.age == labels[row].age
        mean = moments[row, 0].float().chunk(2)[0][None] * model.vae.config.scaling_factor
        trajectory = DirectInversion(steps=4).invert(model, mean, template.prompt(photo.age, None))
        prompts = [template.prompt(age, None) for age in (20, 60)]
        result = edit(model, trajectory, prompts, words=template.words)
        expected = model.decode_latents(torch.cat([mean, result.latents]))
        for mine, picture in zip((photo.source, *photo.images.values()), expected, strict=True):
            assert np.abs(mine.astype(int) - picture).max() <= 1
    assert list(edited[0].images) == [20, 60]


def test_module_is_left_as_it_was(fitted):
    trainer, module = fitted
    module.train()
    module.unet.mid_block.eval()
    modes = [part.training for part in module.modules()]
    processors = dict(module.unet.attn_processors)
    weights = [p.detach().clone() for p in module.parameters()]
    for enabled in (True, False):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
        with torch.set_grad_enabled(enabled):
            made(trainer, module)
            assert torch.is_grad_enabled() == enabled
        drawn = torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002
        torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
        assert drawn == (torch.rand(1).item(), np.random.rand(), random.random())  # noqa: NPY002
    assert [part.training for part in module.modules()] == modes
    assert module.unet.attn_processors == processors
    assert all(torch.equal(a, b) for a, b in zip(weights, module.parameters(), strict=True))
    batch = torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.randn(1, 24, 64)
    module.unet(*batch).sample.sum().backward()  # nothing that is cached was made without gradients


def test_half_precision_autoencoder_is_used_in_float32(fitted):
    trainer, module = fitted
    _, (photo, *_) = made(trainer, module)
    module.vae.to(torch.bfloat16)
    _, (coarse, *_) = made(trainer, module)
    assert module.vae.dtype == torch.bfloat16
    assert np.abs(photo.source.astype(int) - coarse.source).mean() < 3


def test_compiled_unet_runs_as_written(fitted):
    trainer, module = fitted
    _, (photo, *_) = made(trainer, module)

    def refuse(graph, inputs):
        raise AssertionError("an edit must not compile anything")

    module.unet.compile(backend=refuse)
    _, (same, *_) = made(trainer, module)
    assert np.array_equal(photo.images[60], same.images[60])


class States(Callback):
    """The states of random numbers after each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(torch.get_rng_state())


def grids(root):
    return sorted(path.name for path in (root / "age_editing").iterdir())


def test_a_run_with_edits_learns_what_one_without_learns(tmp_path, data, tiny_sd):
    plain, watched, ema = specialization(tiny_sd), specialization(tiny_sd), EMA(0.5)
    states = States(), States()
    torch.manual_seed(3)
    tiny_trainer(tmp_path / "plain", [EMA(0.5), states[0]]).fit(plain, data)
    torch.manual_seed(3)
    trainer = tiny_trainer(
        tmp_path / "watched", [AgeEditing(PLAN, tile=32), ema, states[1]], num_sanity_val_steps=1
    )
    trainer.fit(watched, data)
    for a, b in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(a, b) for a, b in zip(states[0].seen, states[1].seen, strict=True))
    assert grids(tmp_path / "watched") == ["step-00000001.png", "step-00000002.png"]  # no sanity check
    with Image.open(tmp_path / "watched" / "age_editing" / "step-00000002.png") as picture:
        assert "compositeWithTrainedAlgorithmicMedia" in picture.text["XML:com.adobe.xmp"]
        assert picture.text["Disclaimer"].startswith("Synthetic pictures")
        assert np.asarray(picture).std() > 10


def test_average_or_raw_weights_at_steps_or_epochs(tmp_path, data, tiny_sd):
    module, ema = specialization(tiny_sd, lr=0.5), EMA(0.999, power=1e-6)
    callbacks = [
        ema,
        AgeEditing(PLAN, every_n_steps=2, name="average"),
        AgeEditing(EditPlan((20, 60), photos=3, steps=4, weights="live"), every_n_steps=2, name="live"),
        AgeEditing(PLAN, every_n_epochs=2, name="epochs"),
    ]
    trainer = tiny_trainer(tmp_path, callbacks, steps=4, limit_train_batches=1, max_epochs=4)
    trainer.fit(module, data)
    files = {name: sorted(p.name for p in (tmp_path / name).iterdir()) for name in
             ("average", "live", "epochs")}  # fmt: skip
    assert set(map(tuple, files.values())) == {("step-00000002.png", "step-00000004.png")}
    average, live, epochs = (np.asarray(Image.open(tmp_path / name / "step-00000004.png")) for name in files)
    assert not np.array_equal(average, live)
    assert np.array_equal(average, epochs)
    assert callbacks[1].edits is callbacks[3].edits  # one plan, one object


def test_validate_alone_names_the_step_of_the_checkpoint(tmp_path, data, tiny_sd):
    ema = EMA(0.5)
    trainer = tiny_trainer(tmp_path, [ema], steps=3)
    trainer.fit(specialization(tiny_sd), data)
    trainer.save_checkpoint(tmp_path / "three.ckpt")
    checkpoint = {"ckpt_path": tmp_path / "three.ckpt", "weights_only": True}
    callback = AgeEditing(PLAN, tile=32, every_n_steps=500)  # of the fit: a validation alone draws at once
    other = tiny_trainer(tmp_path, [EMA(0.5), callback])
    other.validate(specialization(tiny_sd), data, verbose=False, **checkpoint)
    assert other.global_step == 0
    assert grids(tmp_path) == ["step-00000003.png"]
    other.validate(specialization(tiny_sd), data, verbose=False)  # without one, the weights are the start's
    assert grids(tmp_path) == ["step-00000000.png", "step-00000003.png"]
    pictures = [np.asarray(Image.open(tmp_path / "age_editing" / name))[30:] for name in grids(tmp_path)]
    assert not np.array_equal(*pictures)


def test_edits_follow_the_settings_beside_the_model_that_was_started_from(tmp_path, data, tiny_sd):
    shutil.copytree(tiny_sd, tmp_path / "sd")
    (tmp_path / "sd" / "edit_settings.json").write_text('{"guidance_scale": 1.5, "local_blend": null}')
    chosen = EditSettings(guidance_scale=1.5, local_blend=None)
    pictures = []
    for sd, settings in (
        (tmp_path / "sd", EditChanges()),
        (tiny_sd, EditChanges(guidance_scale=1.5, local_blend="none")),
        (tmp_path / "sd", EditChanges(guidance_scale=7.5, local_blend=LocalBlend())),
        (tiny_sd, EditChanges()),
    ):
        module = specialization(sd)
        assert module.edit_settings == (EditSettings() if sd == tiny_sd else chosen)
        trainer = tiny_trainer(tmp_path, [], steps=1)
        trainer.fit(module, data)
        plan = EditPlan(target_ages=(60,), photos=1, steps=4, settings=settings)
        (photo,) = made(trainer, module, plan)[1]
        pictures.append(photo.images[60])
    assert np.array_equal(pictures[0], pictures[1])
    assert np.array_equal(pictures[2], pictures[3])
    assert not np.array_equal(pictures[0], pictures[2])
    (tmp_path / "sd" / "edit_settings.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"edit_settings\.json holds no settings"):
        specialization(tmp_path / "sd")


def test_photographs_can_come_from_files(tmp_path, data, tiny_sd, astronaut, caplog):
    Image.fromarray(astronaut).save(tmp_path / "eileen.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    Image.fromarray(astronaut).save(tmp_path / "unknown.png")
    (tmp_path / "photos.csv").write_text("file,age,gender\neileen.png,37,female\nblack.png,20,\n")
    plan = EditPlan(target_ages=(20,), photos=9, steps=2, files=str(tmp_path))
    callback = AgeEditing(plan, tile=32, every_n_steps=1)
    with caplog.at_level(logging.WARNING):
        trainer = tiny_trainer(tmp_path / "run", [callback], limit_val_batches=0, steps=1)
        trainer.fit(specialization(tiny_sd), data)
        (photo,) = callback.edits.make(trainer, trainer.lightning_module)
    assert (photo.age, photo.source.shape, callback.edits.count) == (37, (32, 32, 3), 3)
    assert grids(tmp_path / "run") == ["step-00000001.png"]
    assert "nothing to do" not in caplog.text
    assert "black.png is not edited: No face" in caplog.text
    assert "unknown.png is not edited: The age in the photograph is not known" in caplog.text


def test_diverged_weights_cost_the_grid_only(fitted, tmp_path, caplog):
    trainer, module = fitted
    with torch.no_grad():
        module.unet.conv_in.weight.fill_(torch.nan)
    callback = AgeEditing(PLAN)
    callback.setup(trainer, module, "fit")
    callback.on_validation_epoch_end(trainer, module)
    assert "not finite" in caplog.text
    assert "no photograph could be edited" in caplog.text
    assert not (tmp_path / "age_editing").exists()


def test_full_disk_costs_the_grid_only(fitted, tmp_path, caplog):
    trainer, module = fitted
    (tmp_path / "taken").touch()
    callback = AgeEditing(PLAN, name="taken", tile=32)
    callback.setup(trainer, module, "fit")
    callback.on_validation_epoch_end(trainer, module)
    assert "could not be written" in caplog.text


def test_pictures_reach_loggers_only_when_asked_for(tmp_path, data, tiny_sd, caplog):
    for asked in (False, True):
        board = TensorBoardLogger(tmp_path / f"board-{asked}")
        callback = AgeEditing(PLAN, tile=32, log_images=asked)
        trainer = tiny_trainer(tmp_path / str(asked), [callback], steps=1, logger=board)
        trainer.fit(specialization(tiny_sd), data)
        written = b"".join(p.read_bytes() for p in (tmp_path / f"board-{asked}").rglob("events*"))
        assert (b"val/age_editing" in written) == (b"PNG" in written) == asked
        assert grids(tmp_path / str(asked)) == ["step-00000001.png"]
    assert "no logger of this run takes pictures" not in caplog.text
    callback.setup(tiny_trainer(tmp_path, [], logger=CSVLogger(tmp_path)), trainer.lightning_module, "fit")
    assert "no logger of this run takes pictures" in caplog.text


class Pictures(LightningDataModule):
    """Without latents."""

    def __init__(self, archive):
        super().__init__()
        self.archive = archive

    def val_dataloader(self):
        return [DataLoader([{"image": torch.zeros(3, 32, 32), "age": 3}])]


def test_what_cannot_be_edited_is_refused(tmp_path, fitted, tiny_vae, caplog):
    trainer, module = fitted
    with pytest.raises(ConfigurationError, match="Autoencoder trains none"):
        AgeEditing().setup(trainer, Autoencoder(str(tiny_vae)), "fit")
    with pytest.raises(ConfigurationError, match="AgeEditing needs the whole weights"):
        AgeEditing().setup(tiny_trainer(tmp_path, [], strategy=ModelParallelStrategy()), module, "fit")
    trainer.datamodule = Pictures(None)
    with pytest.raises(ConfigurationError, match=r"Pictures hold no moments.*edits\.files"):
        made(trainer, module)
    blind = tiny_trainer(tmp_path, [], limit_val_batches=0)
    callback = AgeEditing(PLAN, every_n_steps=1)
    callback.setup(blind, module, "fit")
    assert "AgeEditing has nothing to do" in caplog.text
    callback.on_train_batch_end(trainer=blind, pl_module=module, outputs=None, batch=None, batch_idx=0)
    assert not (tmp_path / "age_editing").exists()


def test_average_is_that_of_the_step_wherever_the_callbacks_stand(tmp_path, data, tiny_sd):
    """An EMA that is listed after has not followed the weights yet when the step's grid is made."""
    pixels = []
    for order in (1, -1):
        callbacks = [AgeEditing(PLAN, every_n_steps=2, tile=32), EMA(0.5)][::order]
        root = tmp_path / str(order)
        tiny_trainer(root, callbacks, limit_val_batches=1).fit(specialization(tiny_sd, lr=1.0), data)
        (grid,) = (root / "age_editing").iterdir()
        pixels.append(np.asarray(Image.open(grid)))
    assert np.array_equal(*pixels)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"val_check_interval": 3}, r"2 batches .* after 3\. Set trainer.val_check_interval to at most 2"),
        (
            {"val_check_interval": 1.0, "check_val_every_n_epoch": 1, "limit_train_batches": 5},
            "within the 2 batches .* after 5. Set .* with trainer.check_val_every_n_epoch: null",
        ),
        (
            {"val_check_interval": 1.0, "check_val_every_n_epoch": 3, "limit_train_batches": 1},
            "within the 2 batches .* after 3.",
        ),
        (
            {"val_check_interval": 1.0, "check_val_every_n_epoch": 3, "max_epochs": 2, "max_steps": -1,
             "limit_train_batches": 1},
            "within the 2 batches .* after 3.",
        ),
        ({"val_check_interval": 3, "accumulate_grad_batches": 2, "max_epochs": -1}, None),
        ({"val_check_interval": 2}, None),
        ({"val_check_interval": 1.0, "check_val_every_n_epoch": 2, "limit_train_batches": 1}, None),
    ],
)  # fmt: skip
def test_a_run_without_a_validation_says_so(tmp_path, data, tiny_sd, tiny_vae, caplog, limits, words):
    callbacks = [AgeEditing(PLAN, tile=32)]
    tiny_trainer(tmp_path, callbacks, **limits).fit(specialization(tiny_sd), latents(
        data.root, tiny_vae, data.cache_dir, batch_size=1))  # fmt: skip
    assert (tmp_path / "age_editing").exists() == (words is None)
    if words is None:
        assert "none falls within" not in caplog.text
    else:
        assert re.search(
            f"AgeEditing works at validations, .*{words}.*or every_n_steps of AgeEditing", caplog.text
        )


def test_grids_by_steps_need_no_validation(tmp_path, data, tiny_sd, caplog):
    callbacks = [AgeEditing(PLAN, every_n_steps=2, tile=32)]
    tiny_trainer(tmp_path, callbacks, val_check_interval=3).fit(specialization(tiny_sd), data)
    assert "none falls within" not in caplog.text


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"target_ages": ()}, "no target age"),
        ({"target_ages": (140,)}, "whole years from 0 to 100"),
        ({"photos": 0}, r"edits\.photos is 0"),
        ({"steps": 0}, r"edits\.steps is 0"),
        ({"max_batch": 2}, r"edits\.max_batch is 2"),
    ],
)
def test_plan_that_cannot_work_is_refused(kwargs, message):
    with pytest.raises(ConfigurationError, match=message):
        EditPlan(**kwargs)
