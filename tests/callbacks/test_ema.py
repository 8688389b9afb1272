"""The average: what it is, where it is, and that the raw weights come back whatever happens."""

import pytest
import torch
from lightning import Callback, LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy

from faceforward.callbacks.ema import EMA, average_of
from faceforward.errors import ConfigurationError
from tiny_training import QUIET, latents, specialization, tiny_trainer
from training_data import write_archive

pytestmark = QUIET


@pytest.fixture(scope="module")
def data(tmp_path_factory, astronaut, tiny_vae):
    folder = tmp_path_factory.mktemp("data")
    return latents(write_archive(folder / "faces.zip", astronaut), tiny_vae, folder / "cache")


def weights(module):
    return [p.detach().clone() for p in module.parameters() if p.requires_grad]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class Watcher(Callback):
    """Notes the weights after each step and those that validation sees."""

    def __init__(self):
        self.steps, self.validated, self.saved = [], [], None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append(weights(pl_module))

    def on_validation_epoch_end(self, trainer, pl_module):
        self.validated.append(weights(pl_module))
        if self.saved is None and not trainer.sanity_checking:
            path = f"{trainer.default_root_dir}/in-validation.ckpt"
            trainer.save_checkpoint(path)  # as at a cluster's signal
            self.saved = torch.load(path, weights_only=True)


def test_average_is_validated_and_the_raw_weights_trained_on(tmp_path, data, tiny_sd):
    watcher, ema = Watcher(), EMA(0.9)
    module = specialization(tiny_sd)
    first = weights(module)
    trainer = tiny_trainer(tmp_path, [watcher, ema], steps=3, num_sanity_val_steps=1)
    trainer.fit(module, data)
    assert equal(watcher.validated[0], first)  # the sanity check
    expected = first
    for step, (raw, seen) in enumerate(zip(watcher.steps, watcher.validated[1:], strict=True)):
        decay = min(0.9, 1 - (1 + step) ** -0.75) if step else 0.0
        expected = [decay * a + (1 - decay) * r for a, r in zip(expected, raw, strict=True)]
        for a, b in zip(expected, seen, strict=True):
            torch.testing.assert_close(a, b)
    assert not equal(watcher.validated[-1], watcher.steps[-1])
    assert equal(watcher.steps[-1], weights(module))
    assert average_of(trainer) is ema


def test_a_checkpoint_in_the_middle_of_a_validation_holds_both(tmp_path, data, tiny_sd):
    watcher = Watcher()
    tiny_trainer(tmp_path, [watcher, EMA(0.9)], steps=2).fit(specialization(tiny_sd), data)
    state = watcher.saved["state_dict"]
    assert equal(list(state.values()), watcher.steps[0])
    assert equal(watcher.saved["callbacks"]["EMA"]["shadow_params"], watcher.validated[0])


def test_steps_of_the_optimizer_are_counted_not_batches(tmp_path, data, tiny_sd):
    ema = EMA(0.9)
    trainer = tiny_trainer(tmp_path, [ema], steps=2, accumulate_grad_batches=2, max_epochs=-1)
    trainer.fit(specialization(tiny_sd), data)
    assert trainer.global_step == ema.model.optimization_step == 2


class Interrupted(Callback):
    def on_validation_epoch_end(self, trainer, pl_module):
        raise RuntimeError("in the middle")


def test_an_interrupted_validation_leaves_the_raw_weights(tmp_path, data, tiny_sd):
    watcher, module = Watcher(), specialization(tiny_sd)
    trainer = tiny_trainer(tmp_path, [EMA(0.9), watcher, Interrupted()], val_check_interval=2)
    with pytest.raises(RuntimeError, match="in the middle"):
        trainer.fit(module, data)
    assert not equal(watcher.validated[-1], watcher.steps[-1])
    assert equal(weights(module), watcher.steps[-1])


def test_saved_and_resumed(tmp_path, data, tiny_sd):
    whole, broken = EMA(0.9), EMA(0.9)
    tiny_trainer(tmp_path / "whole", [whole], steps=4).fit(specialization(tiny_sd), data)
    trainer = tiny_trainer(tmp_path / "broken", [broken], steps=2)
    trainer.fit(specialization(tiny_sd), data)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed, watcher = EMA(0.9), Watcher()
    trainer = tiny_trainer(tmp_path / "broken", [resumed, watcher], steps=4)
    trainer.fit(specialization(tiny_sd), data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert resumed.model.optimization_step == 4
    assert equal(resumed.model.shadow_params, whole.model.shadow_params)

    trainer.save_checkpoint(tmp_path / "end.ckpt")
    seen = Watcher()
    trainer = tiny_trainer(tmp_path / "validate", [EMA(0.9), seen])
    module = specialization(tiny_sd)
    trainer.validate(module, data, ckpt_path=tmp_path / "end.ckpt", verbose=False, weights_only=True)
    assert equal(seen.validated[0], whole.model.shadow_params)
    assert equal(weights(module), watcher.steps[-1])

    other = specialization(tiny_sd, train="unet+text_encoder")
    with pytest.raises(ConfigurationError, match="another model"):
        tiny_trainer(tmp_path, [EMA()]).fit(other, data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)


class Plain(LightningModule):
    def __init__(self, size=3):
        super().__init__()
        self.layer = torch.nn.Linear(size, size, bias=False)


def test_average_of_another_model_is_refused():
    ema = EMA()
    ema.on_fit_start(None, Plain())
    other = EMA()
    other.load_state_dict(ema.state_dict())
    with pytest.raises(ConfigurationError, match="1 weights that are not the 1"):
        other.on_fit_start(None, Plain(4))


def test_small_steps_are_not_lost_in_bfloat16():
    module = Plain().to(torch.bfloat16)
    ema = EMA(0.999, warmup=False)
    ema.on_fit_start(None, module)
    ema.model.optimization_step = 10**6
    before = module.layer.weight.detach().float().clone()
    with torch.no_grad():
        module.layer.weight += 0.25
    raw = module.layer.weight.detach().clone()
    for _ in range(1000):
        ema.model.step([module.layer.weight])
    expected = raw + 0.999**1000 * (before - raw)
    torch.testing.assert_close(ema.model.shadow_params[0], expected, rtol=0, atol=1e-3)
    with ema.averaged(module):
        assert module.layer.weight.dtype == torch.bfloat16
        torch.testing.assert_close(module.layer.weight.float(), expected, rtol=0, atol=2e-2)
    assert torch.equal(module.layer.weight, raw)


def test_average_and_raw_weights_can_be_asked_for_anywhere():
    module, ema = Plain(), EMA()
    with ema.averaged(module), ema.live(module):  # nothing is averaged yet
        pass
    ema.on_fit_start(None, module)
    average = weights(module)
    with torch.no_grad():
        module.layer.weight += 1
    raw = weights(module)
    with ema.averaged(module):
        assert equal(weights(module), average)
        with ema.averaged(module):
            assert equal(weights(module), average)
        assert equal(weights(module), average)
        with ema.live(module):
            assert equal(weights(module), raw)
        assert equal(weights(module), average)
    with ema.live(module):
        assert equal(weights(module), raw)
    assert equal(weights(module), raw)


def test_shared_out_weights_are_refused(tmp_path):
    trainer = tiny_trainer(tmp_path, [], strategy=ModelParallelStrategy())
    with pytest.raises(ConfigurationError, match=r"EMA needs the whole weights.*ddp\.yaml"):
        EMA().setup(trainer, Plain(), "fit")
