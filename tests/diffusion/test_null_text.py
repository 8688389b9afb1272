import pytest
import torch

from faceforward.diffusion.editing import edit, reconstruct
from faceforward.diffusion.inversion import DDIMInversion, NullTextInversion
from faceforward.diffusion.null_text import frozen
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.errors import ConfigurationError

PROMPT = "photo of 32 year old man"


@pytest.fixture
def model(tiny_sd):
    return load_pipeline(tiny_sd)


@pytest.fixture(scope="module")
def latents():
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))


def test_guidance_comes_back_to_the_photograph(model, latents):
    """At guidance 7.5 plain DDIM drifts off; the optimised embeddings hold it."""
    method = NullTextInversion(steps=3, inner_steps=15, early_stop=0, early_stop_increment=0)
    trajectory = method.invert(model, latents, PROMPT)
    drifted = reconstruct(model, DDIMInversion(steps=3).invert(model, latents, PROMPT))
    held = reconstruct(model, trajectory)
    assert held.unet_evaluations == 0
    assert (held.reconstruction - latents).norm() < 0.8 * (drifted.reconstruction - latents).norm()
    assert trajectory.inner_steps == (15,) * 3
    for step in range(3):  # every step improves on where it started
        losses = trajectory.losses[15 * step : 15 * step + 15]
        assert losses[-1] < losses[0]


def test_the_path_is_the_guided_sampling(model, latents):
    trajectory = NullTextInversion(steps=3, inner_steps=2).invert(model, latents, PROMPT)
    steps = model.schedule.steps(3)
    current = trajectory.latents[-1:]
    with torch.no_grad():
        for index, timestep in enumerate(steps.timesteps):
            assert torch.equal(trajectory.path[3 - index], current[0])
            unconditional = model.predict(current, timestep, trajectory.unconditional_at(index))
            conditional = model.predict(current, timestep, trajectory.embedding)
            output = unconditional + 7.5 * (conditional - unconditional)
            current = steps.denoise(index, current, output)
            torch.testing.assert_close(trajectory.path[2 - index], current[0], rtol=1e-4, atol=1e-5)
            current = trajectory.path[2 - index].unsqueeze(0)


def test_early_stop(model, latents):
    """A step ends with the first loss below its bound, which rises by the increment from step to step."""
    free = NullTextInversion(steps=3, inner_steps=6, early_stop=0, early_stop_increment=0)
    losses = free.invert(model, latents, PROMPT).losses
    assert len(losses) == 18
    bound = (losses[2] + losses[3]) / 2  # of the first step: reached by its fourth loss
    assert losses[2] > bound > losses[3]
    stopped = NullTextInversion(steps=3, inner_steps=6, early_stop=bound, early_stop_increment=0)
    trajectory = stopped.invert(model, latents, PROMPT)
    assert trajectory.inner_steps[0] == 4
    assert trajectory.losses[:4] == pytest.approx(losses[:4])
    # DDIM, the conditional pass, the inner steps three times, the walk on
    assert trajectory.unet_evaluations == 3 + 3 + 3 * len(trajectory.losses) + 3
    rising = NullTextInversion(steps=3, inner_steps=6, early_stop=0, early_stop_increment=1e3)
    assert rising.invert(model, latents, PROMPT).inner_steps == (6, 1, 1)


def test_checkpointing_changes_memory_only(model, latents):
    plain = NullTextInversion(steps=3, inner_steps=3, checkpointing=False).invert(model, latents, PROMPT)
    spared = NullTextInversion(steps=3, inner_steps=3, checkpointing=True).invert(model, latents, PROMPT)
    assert spared.losses == pytest.approx(plain.losses, rel=1e-4)
    torch.testing.assert_close(spared.unconditional, plain.unconditional, rtol=1e-3, atol=1e-3)


def test_checkpointing_gives_the_same_gradient_for_less(model, latents):
    gradients, kept = [], []
    embedding = model.encode_prompts([PROMPT])
    for checkpointing in (False, True):
        null = embedding.clone().requires_grad_(True)
        saved = {}

        def keep(tensor, saved=saved):
            saved[tensor.data_ptr()] = tensor.numel()
            return tensor

        with frozen(model.unet, checkpointing=checkpointing):
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                output = model.predict(latents, 501, null)
            output.square().sum().backward()
        gradients.append(null.grad)
        kept.append(sum(saved.values()))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
    assert kept[1] < 0.8 * kept[0]


def test_the_network_is_left_as_it_was(model, latents):
    model.unet.requires_grad_(True)
    model.unet.enable_gradient_checkpointing()
    before = {name: weight.clone() for name, weight in model.unet.named_parameters()}
    NullTextInversion(steps=2, inner_steps=2, checkpointing=False).invert(model, latents, PROMPT)
    assert all(weight.requires_grad for weight in model.unet.parameters())
    assert all(weight.grad is None for weight in model.unet.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in model.unet.named_parameters())
    assert model.unet.is_gradient_checkpointing
    with frozen(model.unet, checkpointing=False):
        assert not model.unet.is_gradient_checkpointing
    with pytest.raises(RuntimeError, match="halfway"), frozen(model.unet, checkpointing=False):
        raise RuntimeError("halfway")
    assert model.unet.is_gradient_checkpointing
    assert all(weight.requires_grad for weight in model.unet.parameters())


def test_an_edit_replays_the_path(model, latents):
    """The source branch needs its conditional pass alone: 1 + 2 per target, and 1 unconditional at first."""
    trajectory = NullTextInversion(steps=3, inner_steps=2).invert(model, latents, PROMPT)
    result = edit(
        model, trajectory, ["photo of 60 year old man", "photo of 8 year old boy"], reconstruct=True
    )
    assert result.unet_evaluations == 3 * (1 + 2 * 2) - 1
    assert torch.equal(result.source, trajectory.path[:1])
    assert torch.equal(result.reconstruction, trajectory.path[:1])


def test_inference_mode_is_refused_early(model, tiny_sd, latents):
    with torch.inference_mode(), pytest.raises(ConfigurationError, match=r"trainer\.inference_mode to false"):
        NullTextInversion(steps=2).invert(model, latents, PROMPT)
    with torch.inference_mode():
        loaded_inside = load_pipeline(tiny_sd)
    with pytest.raises(ConfigurationError, match="load the model outside"):
        NullTextInversion(steps=2).invert(loaded_inside, latents, PROMPT)


def test_no_grad_around_it_is_fine(model, latents):
    with torch.no_grad():
        assert NullTextInversion(steps=2, inner_steps=1).invert(model, latents, PROMPT).inner_steps == (1, 1)


def test_refusals(model, latents):
    with pytest.raises(ConfigurationError, match="at least the number of steps, 200"):
        NullTextInversion(steps=200)
    with pytest.raises(ConfigurationError, match="inner_steps is 0"):
        NullTextInversion(inner_steps=0)
    with pytest.raises(ValueError, match="one photograph"):
        NullTextInversion(steps=2).invert(model, latents.expand(2, -1, -1, -1), PROMPT)
