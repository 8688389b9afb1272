"""Exports: which weights, when, what plain diffusers makes of them, and what a full disk does to them."""

import json
import logging
import resource

import pytest
import torch
from diffusers import StableDiffusionPipeline
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from safetensors.torch import load_file

from faceforward.atomic import replace_folder
from faceforward.callbacks.age_editing import AgeEditing
from faceforward.callbacks.edit_plan import EditPlan
from faceforward.callbacks.ema import EMA
from faceforward.callbacks.pipeline_export import PipelineExport
from faceforward.diffusion.settings import EditChanges, EditSettings, saved_settings
from faceforward.errors import ConfigurationError, TrainingError
from tiny_training import QUIET, latents, specialization, tiny_arguments, tiny_trainer, train_py
from training_data import write_archive

pytestmark = QUIET
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def archive(tmp_path_factory, astronaut):
    return write_archive(tmp_path_factory.mktemp("archive") / "faces.zip", astronaut)


@pytest.fixture(scope="module")
def data(tmp_path_factory, archive, tiny_vae):
    return latents(archive, tiny_vae, tmp_path_factory.mktemp("cache"))


def unet_of(folder):
    return load_file(folder / UNET)


def same(exported, module, average=None):
    """Whether an exported UNet is the module's, or its average."""
    named = {n.removeprefix("unet."): p for n, p in module.named_parameters() if p.requires_grad}
    if average is not None:
        named = dict(zip(named, average.model.shadow_params, strict=True))
    return all(torch.equal(value, named[name]) for name, value in exported.items())


class Scores(Callback):
    def __init__(self):
        self.seen = []

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.seen.append((trainer.global_step, float(trainer.callback_metrics["val/loss_aged"])))


def test_best_and_last_of_average_and_raw_weights_load_in_plain_diffusers(tmp_path, data, tiny_sd):
    export = PipelineExport("out", live=True, monitor="val/loss_aged", mode="max")
    scores, ema, module = Scores(), EMA(0.5), specialization(tiny_sd)
    trainer = tiny_trainer(tmp_path, [export, scores, ema], steps=3, num_sanity_val_steps=1)
    trainer.fit(module, data)
    assert {p.name for p in tmp_path.iterdir()} == {"out", "out-live", "out-best", "out-best-live"}
    for folder in tmp_path.iterdir():
        pipeline = StableDiffusionPipeline.from_pretrained(folder)
        assert all(torch.isfinite(p).all() for p in pipeline.unet.parameters())
    assert same(unet_of(tmp_path / "out"), module, ema)
    assert same(unet_of(tmp_path / "out-live"), module)
    step, best = max(scores.seen, key=lambda pair: pair[1])
    facts = {name: json.loads((tmp_path / name / "training.json").read_text()) for name in
             ("out", "out-live", "out-best", "out-best-live")}  # fmt: skip
    assert (facts["out-best"]["step"], facts["out-best"]["monitor"]) == (step, "val/loss_aged")
    assert facts["out-best"]["score"] == export.best == pytest.approx(best)
    assert [facts[n]["weights"] for n in facts] == ["average", "live", "average", "live"]
    assert facts["out"]["step"] == 3
    assert not same(unet_of(tmp_path / "out-best-live"), module) or step == 3


@pytest.mark.parametrize("order", [1, -1])
def test_average_is_that_of_the_step_wherever_the_callbacks_stand(tmp_path, data, tiny_sd, order):
    module, ema = specialization(tiny_sd), EMA(0.5)
    export, copies = PipelineExport(every_n_steps=1), []

    class Watch(Callback):
        """What is exported in a step, before anything else follows."""

        def on_train_batch_end(self, *args):
            copies.append((unet_of(tmp_path / "pipeline"), [p.clone() for p in ema.model.shadow_params]))

    callbacks = [*[export, ema][::order], Watch()]
    tiny_trainer(tmp_path, callbacks, steps=3, limit_val_batches=0).fit(module, data)
    names = [n.removeprefix("unet.") for n, p in module.named_parameters() if p.requires_grad]
    for exported, average in copies:
        expected = dict(zip(names, average, strict=True))
        assert all(torch.equal(value, expected[name]) for name, value in exported.items())
    assert len(copies) == ema.model.optimization_step == 3
    assert not torch.equal(copies[0][0]["conv_in.weight"], copies[1][0]["conv_in.weight"])


def test_without_an_average_the_raw_weights_are_exported(tmp_path, data, tiny_sd):
    module = specialization(tiny_sd)
    tiny_trainer(tmp_path, [PipelineExport(every_n_steps=1)], limit_val_batches=0).fit(module, data)
    assert same(unet_of(tmp_path / "pipeline"), module)
    assert json.loads((tmp_path / "pipeline" / "training.json").read_text())["weights"] == "live"


def test_lora_exports_what_diffusers_reads(tmp_path, data, tiny_sd):
    module = specialization(tiny_sd, train="lora", lora_rank=2)
    callbacks = [EMA(0.5), PipelineExport("lora", live=True)]
    tiny_trainer(tmp_path, callbacks, limit_val_batches=0).fit(module, data)
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
    pipeline.load_lora_weights(tmp_path / "lora")
    files = [tmp_path / name / "pytorch_lora_weights.safetensors" for name in ("lora", "lora-live")]
    average, raw = (load_file(file) for file in files)
    assert average.keys() == raw.keys()
    assert any(not torch.equal(average[name], raw[name]) for name in raw)


class Limit(Callback):
    """Sets how large files may grow from here on in a step, as a full disk does."""

    def __init__(self, size):
        self.size = size

    def set(self, *args, **kwargs):
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, hard))

    on_train_batch_end = on_train_end = set


@pytest.fixture
def full():
    yield Limit(50_000)
    Limit(resource.RLIM_INFINITY).set()


def test_full_disk_costs_neither_the_old_export_nor_the_training(tmp_path, data, tiny_sd, full, caplog):
    tiny_trainer(tmp_path, [PipelineExport()], steps=1).fit(specialization(tiny_sd), data)
    old = (tmp_path / "pipeline" / UNET).read_bytes()
    checkpoints = ModelCheckpoint(tmp_path / "checkpoints", every_n_train_steps=1, save_last=True)
    room = Limit(resource.RLIM_INFINITY)
    export = PipelineExport(every_n_steps=1, monitor="val/loss_aged")
    trainer = tiny_trainer(tmp_path, [full, export, room, checkpoints], steps=2, enable_checkpointing=True)
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(
            TrainingError,
            match=r"pipeline: .*too large.*MB free.*unharmed\. Make room.*--ckpt_path \S+last.ckpt,",
        ),
    ):
        trainer.fit(specialization(tiny_sd), data)
    assert trainer.global_step == 2
    assert [r for r in caplog.records if "the training goes on" in r.message]
    assert (tmp_path / "pipeline" / UNET).read_bytes() == old
    assert {p.name for p in tmp_path.iterdir()} == {"pipeline", "pipeline-best", "checkpoints"}

    module = specialization(tiny_sd)  # there is room again: the finished run is exported
    again = ModelCheckpoint(tmp_path / "checkpoints", every_n_train_steps=1)
    trainer = tiny_trainer(tmp_path, [PipelineExport(), again], steps=2, enable_checkpointing=True)
    trainer.fit(module, data, ckpt_path=tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert same(unet_of(tmp_path / "pipeline"), module)
    assert (tmp_path / "pipeline" / UNET).read_bytes() != old


def test_full_disk_without_a_checkpoint_promises_none(tmp_path, data, tiny_sd, full):
    trainer = tiny_trainer(tmp_path, [full, PipelineExport()], limit_val_batches=0)
    with pytest.raises(
        TrainingError, match=r"left no checkpoint, .* lost: run it again with a ModelCheckpoint"
    ):
        trainer.fit(specialization(tiny_sd), data)


def test_resumed_run_remembers_its_best(tmp_path, data, tiny_sd):
    def run(steps, **kwargs):
        export = PipelineExport(monitor="val/loss_aged")
        trainer = tiny_trainer(tmp_path, [export], steps=steps)
        trainer.fit(specialization(tiny_sd), data, **kwargs)
        return trainer, export

    trainer, export = run(1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    facts = tmp_path / "pipeline-best" / "training.json"
    first = json.loads(facts.read_text())
    assert first["score"] == export.best
    resume = {"ckpt_path": tmp_path / "half.ckpt", "weights_only": True}
    facts.write_text(json.dumps(first | {"score": -1.0}))  # exported after the checkpoint: better than all
    assert run(2, **resume)[1].best == -1.0
    assert json.loads(facts.read_text())["score"] == -1.0
    facts.write_text("{")  # unreadable: the checkpoint's own counts
    assert run(2, **resume)[1].best <= first["score"]
    assert run(1)[1].best == first["score"]  # a new run begins anew


def test_what_cannot_work_is_said_before_training(tmp_path, data, tiny_sd):
    module = specialization(tiny_sd)
    with pytest.raises(ConfigurationError, match="there is no EMA"):
        tiny_trainer(tmp_path, [PipelineExport(live=True)]).fit(module, data)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        tiny_trainer(tmp_path / "file", [PipelineExport()]).fit(module, data)
    with pytest.raises(
        ConfigurationError, match=r"monitors val/x, which validation did not give.*val/loss_aged"
    ):
        tiny_trainer(tmp_path, [PipelineExport(monitor="val/x")]).fit(module, data)
    trainer = tiny_trainer(tmp_path, [], strategy=ModelParallelStrategy())
    with pytest.raises(ConfigurationError, match="PipelineExport needs the whole weights"):
        PipelineExport().setup(trainer, module, "fit")


def test_fault_of_the_module_is_not_taken_for_a_full_disk(tmp_path, data, tiny_sd):
    module = specialization(tiny_sd)
    module.export = lambda folder: folder.does_not_exist
    with pytest.raises(AttributeError, match="does_not_exist"):
        tiny_trainer(tmp_path, [PipelineExport()], limit_val_batches=0).fit(module, data)


def test_a_trial_run_leaves_exports_alone(tmp_path, data, tiny_sd):
    tiny_trainer(tmp_path, [PipelineExport()], fast_dev_run=True).fit(specialization(tiny_sd), data)
    assert not (tmp_path / "pipeline").exists()


@pytest.mark.parametrize("killed", ["between the renames", "before the old one was removed"])
def test_kill_between_two_renames_loses_nothing(tmp_path, data, tiny_sd, killed):
    old = tmp_path / ".pipeline.faceforward-old"
    old.mkdir()
    (old / "kept").touch()
    if killed == "before the old one was removed":
        (tmp_path / "pipeline").mkdir()
    PipelineExport().setup(tiny_trainer(tmp_path, []), specialization(tiny_sd), "fit")
    assert (tmp_path / "pipeline" / "kept").exists() == (killed == "between the renames")
    assert not old.exists()


def test_folder_is_replaced_as_a_whole(tmp_path):
    for name in ("new", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace_folder(tmp_path / "new", tmp_path / "there")
    assert [p.name for p in tmp_path.rglob("*")] == ["there", "new"]


@pytest.mark.slow
def test_no_rank_waits_for_a_first_rank_whose_disk_is_full(tmp_path, archive, data, tiny_sd, tiny_vae):
    data.prepare_data()
    arguments = tiny_arguments(archive, tiny_sd, tiny_vae, data.cache_dir)
    callback = (
        "{class_path: faceforward.callbacks.pipeline_export.PipelineExport, init_args: {every_n_steps: 1}}"
    )
    run = train_py(
        *arguments, "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_steps=2",
        f"--trainer.callbacks=[{callback}]", "--trainer.enable_checkpointing=false", "--trainer.logger=false",
        f"--trainer.default_root_dir={tmp_path}", cwd=tmp_path, ok=False, largest_file=50_000,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr[-3000:]
    assert "train: step 2 could not be exported" in run.stderr
    assert "step 1 could not be exported" in run.stderr
    assert not (tmp_path / "pipeline").exists()


def test_an_export_carries_the_settings_that_its_validation_used(tmp_path, data, tiny_sd):
    plan = EditPlan(target_ages=(20,), photos=1, steps=2, settings=EditChanges(guidance_scale=2.5, steps=9))
    trainer = tiny_trainer(tmp_path, [PipelineExport(), AgeEditing(plan)], steps=1)
    module = specialization(tiny_sd)
    trainer.fit(module, data)
    assert saved_settings(tmp_path / "pipeline") == EditSettings(guidance_scale=2.5, steps=9)
    assert module.edit_settings == EditSettings()  # another plan starts from the model's own
