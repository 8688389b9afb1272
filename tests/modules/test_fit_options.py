"""What a fit changes and what it leaves, and that its options change nothing but cost."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from lightning import Callback
from lightning.pytorch.plugins import MixedPrecision

from faceforward.callbacks.ema import EMA
from faceforward.cli import FaceforwardCLI
from faceforward.train import main
from tiny_training import QUIET, latents, specialization, tiny_trainer
from training_data import write_archive

CONFIG = Path(__file__).parents[2] / "configs" / "experiment" / "specialize_faces128.yaml"
EIGHT_BIT = "bitsandbytes.optim.AdamW8bit"
HERE = find_spec("bitsandbytes") is not None
pytestmark = QUIET


@pytest.fixture(scope="module")
def data(tmp_path_factory, astronaut, tiny_vae):
    """Makes the data module, of eight photographs, with a batch size."""
    folder = tmp_path_factory.mktemp("data")
    archive = write_archive(folder / "faces.zip", astronaut)
    return lambda batch_size=4: latents(archive, tiny_vae, folder / "cache", batch_size)


class Gradients(Callback):
    """Those that each step of the optimizer took."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append(gradients(pl_module))


def gradients(module):
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def contents(module):
    """Every parameter and buffer, to the bit."""
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


def fit(tmp_path, module, data, callbacks=(), steps=1, **kwargs):
    """The trainer after a fit without validation, unless `kwargs` say otherwise."""
    trainer = tiny_trainer(tmp_path, [*callbacks], steps=steps, **{"limit_val_batches": 0, **kwargs})
    trainer.fit(module, data)
    return trainer


def assert_same(found, expected, **tolerances):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **tolerances)


@pytest.mark.parametrize(
    ("train", "parts"),
    [("unet", {"unet"}), ("unet+text_encoder", {"unet", "text_encoder"}), ("lora", {"unet"})],
)
def test_frozen_parts_stay_bit_identical(tiny_sd, data, tmp_path, train, parts):
    """Through validations with the average, which takes the place of the weights for a while."""
    module = specialization(tiny_sd, train=train)
    learns = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert {"lora_" in name for name in learns} == {train == "lora"}
    before = contents(module)
    fit(tmp_path, module, data(), [EMA(0.5)], steps=2, limit_val_batches=1)
    after = contents(module)
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= learns
    # not all: a norm over single channels takes out what a bias before it adds; a LoRA's A follows its B
    assert len(changed) >= len(learns) / 2
    assert {name.partition(".")[0] for name in changed} == parts


def test_accumulated_batches_are_one_batch(tiny_sd, data, tmp_path):
    """Four batches of one, accumulated by the trainer, against one of four, and against a sum by hand."""
    runs = []
    for size, batches in ((4, 1), (1, 4)):
        callback, module = Gradients(), specialization(tiny_sd)
        trainer = fit(tmp_path, module, data(size), [callback], steps=2, accumulate_grad_batches=batches)
        assert trainer.global_step == len(callback.seen) == 2
        runs.append((callback.seen, dict(module.named_parameters())))
    (whole, weights), (accumulated, accumulated_weights) = runs
    for found, expected in zip(accumulated, whole, strict=True):
        assert_same(found, expected, rtol=1e-4, atol=1e-6)
    assert_same(accumulated_weights, weights, rtol=0, atol=1e-6)

    module, singles = specialization(tiny_sd), data(1)
    module.log_dict = lambda *args, **kwargs: None  # there is no trainer
    singles.prepare_data()
    singles.setup("fit")
    for index, batch in zip(range(4), singles.train_dataloader(), strict=False):
        module.training_step(batch, index).backward()
    total = {name: value / 4 for name, value in gradients(module).items()}
    assert_same(accumulated[0], total, rtol=1e-4, atol=1e-6)


def half(scale):
    """What `trainer.precision: 16-mixed` makes on GPUs, on the CPU, where Lightning makes bfloat16 of it."""
    return [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))]


@pytest.mark.parametrize("kwargs", [{}, {"attention": "plain"}, {"train": "lora"}], ids=str)
def test_half_precision_learns_what_full_precision_learns(tiny_sd, data, tmp_path, kwargs):
    losses, found, types = [], [], set()
    for plugins in ([], half(2.0**10)):
        callback = Gradients()
        torch.manual_seed(0)  # of a LoRA's first weights
        module = specialization(tiny_sd, **kwargs)
        if plugins:
            module.unet.conv_in.register_forward_hook(lambda module, inputs, output: types.add(output.dtype))
        trainer = fit(tmp_path, module, data(), [callback], plugins=plugins)
        losses.append(float(trainer.callback_metrics["train/loss"]))
        found.append(torch.cat([value.flatten() for value in callback.seen[0].values()]))
        assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
    assert types == {torch.float16}
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert (found[1] - found[0]).norm() < 0.05 * found[0].norm()


def test_a_step_that_overflows_in_half_precision_is_left_out(tiny_sd, data, tmp_path):
    plugins = half(2.0**40)
    module = specialization(tiny_sd)
    before = contents(module)
    fit(tmp_path, module, data(), plugins=plugins)
    assert contents(module) == before
    assert plugins[0].scaler.get_scale() == 2.0**39


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_compiled_step_is_the_plain_one(tiny_sd, data, tmp_path, monkeypatch):
    """The compiler's own warnings are let through."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    runs = []
    for compiled in (False, True):
        callback, module = Gradients(), specialization(tiny_sd, compile=compiled)
        trainer = fit(tmp_path, module, data(), [callback])
        runs.append((float(trainer.callback_metrics["train/loss"]), callback.seen[0]))
    (loss, plain), (compiled_loss, found) = runs
    assert compiled_loss == pytest.approx(loss, rel=1e-5)
    assert_same(found, plain, rtol=1e-3, atol=1e-5)
    assert list((tmp_path / "compiled").rglob("*.so"))  # it was compiled indeed


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(EIGHT_BIT, marks=pytest.mark.skipif(HERE, reason="it is here")),
        "no_such_package.optim.AdamW",
    ],
)
def test_an_optimizer_whose_package_is_missing_says_what_to_install(optimizer, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "-c", str(CONFIG), f"--model.init_args.optimizer={optimizer}"])
    assert stopped.value.code == 2
    package = optimizer.partition(".")[0]
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert last.startswith(f"There is no package {package} here: ")
    assert last.endswith(f"pip install {package}")


def test_eight_bit_adamw_is_one_line_of_yaml(tiny_sd, tmp_path):
    pytest.importorskip("bitsandbytes")
    (tmp_path / "optimizer.yaml").write_text(
        f"model: {{init_args: {{optimizer: {{class_path: {EIGHT_BIT}, init_args: {{lr: 3.0e-5}}}}}}}}\n"
    )
    cli = FaceforwardCLI(
        args=[
            "--model=faceforward.modules.specialization.Specialization",
            f"--model.init_args.init_from={tiny_sd}", "--config", str(tmp_path / "optimizer.yaml"),
            "--data=faceforward.datamodules.labelled_folder.LabelledFolder",
            "--data.init_args.root=faces.zip", f"--data.init_args.vae={tiny_sd}",
        ],
        run=False,
    )  # fmt: skip
    optimizer = cli.model.optimizer([p for p in cli.model.parameters() if p.requires_grad])
    assert f"{type(optimizer).__module__}.{type(optimizer).__name__}".startswith("bitsandbytes.optim.")
    assert optimizer.param_groups[0]["lr"] == 3e-5


def test_one_batch_can_be_overfitted(tiny_sd, data, tmp_path):
    trainer = tiny_trainer(tmp_path, [], steps=2, overfit_batches=1)
    with pytest.warns(UserWarning, match="overfit"):
        trainer.fit(specialization(tiny_sd), data())
    assert trainer.global_step == 2
