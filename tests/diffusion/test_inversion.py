import dataclasses
import json
import shutil

import pytest
import torch

from faceforward.diffusion.editing import reconstruct
from faceforward.diffusion.inversion import (
    DDIMInversion,
    DirectInversion,
    NegativePromptInversion,
    Trajectory,
)
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.trajectory import ddim_latents

PROMPT = "photo of 32 year old man"
METHODS = (DDIMInversion, NegativePromptInversion, DirectInversion)


@pytest.fixture(scope="module")
def model(tiny_sd):
    return load_pipeline(tiny_sd)


@pytest.fixture(scope="module")
def latents():
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))


def with_prediction(folder, target, prediction):
    """The same model, its output read as something else."""
    shutil.copytree(folder, target)
    file = target / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "prediction_type": prediction}))
    return load_pipeline(target)


def sample(model, latents, steps, context):
    with torch.no_grad():
        for index, timestep in enumerate(steps.timesteps):
            latents = steps.denoise(index, latents, model.predict(latents, timestep, context))
    return latents


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_round_trip(tiny_sd, tmp_path, latents, prediction):
    """Inversion and sampling at guidance 1 meet again, the closer the more steps are taken."""
    model = with_prediction(tiny_sd, tmp_path / "model", prediction)
    context = model.encode_prompts([PROMPT])
    errors = []
    for count in (10, 40, 160):
        steps = model.schedule.steps(count)
        path = ddim_latents(model, steps, latents, context)
        errors.append(float((sample(model, path[-1], steps, context) - latents).norm() / latents.norm()))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < errors[0] / 4


def test_each_step_takes_the_output_at_the_cleaner_latents(model, latents):
    context = model.encode_prompts([PROMPT])
    steps = model.schedule.steps(4)
    path = ddim_latents(model, steps, latents, context)
    assert path.shape == (5, 1, 4, 8, 8)
    assert torch.equal(path[0], latents)
    with torch.no_grad():
        for done, index in enumerate((3, 2, 1, 0)):
            output = model.predict(path[done], steps.timesteps[index], context)
            torch.testing.assert_close(path[done + 1], steps.renoise(index, path[done], output))


@pytest.mark.parametrize("method", METHODS)
def test_what_a_trajectory_holds(model, latents, method):
    progress = []
    trajectory = method(steps=4).invert(model, latents, PROMPT, on_step=lambda *told: progress.append(told))
    assert trajectory.steps == 4
    assert trajectory.method == method.name
    assert trajectory.unet_evaluations == 4
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    prompt, empty = model.encode_prompts([PROMPT, ""]).split(1)
    assert torch.equal(trajectory.embedding, prompt)
    expected = prompt if method is NegativePromptInversion else empty
    assert torch.equal(trajectory.unconditional, expected)
    assert torch.equal(trajectory.unconditional_at(3), expected)
    assert (trajectory.known_path is trajectory.latents) == (method is DirectInversion)
    assert not trajectory.latents.is_inference()


def test_several_photographs_in_one_batch(model, latents):
    both = torch.cat([latents, 0.5 * latents])
    together = DirectInversion(steps=4).invert_all(model, both, [PROMPT, "photo of 8 year old girl"])
    for trajectory, alone in zip(together, both.split(1), strict=True):
        single = DirectInversion(steps=4).invert(model, alone, trajectory.prompt)
        torch.testing.assert_close(trajectory.latents, single.latents, rtol=1e-4, atol=1e-5)
        assert trajectory.unet_evaluations == 4


def test_reconstruction_of_each_inversion(model, latents):
    """What the source's own prompt gives without copying, and what it costs."""
    spent = {}
    for method in METHODS:
        trajectory = method(steps=4).invert(model, latents, PROMPT)
        result = reconstruct(model, trajectory)
        assert result.latents.shape == (0, 4, 8, 8)
        assert result.reconstruction.shape == (1, 4, 8, 8)
        spent[method.name] = result.unet_evaluations
    # negative-prompt: one pass a step. DDIM: two. Direct: two, and the source's while its maps are wanted.
    assert spent == {"ddim": 8, "negative-prompt": 4, "direct": 11}
    bare = reconstruct(model, trajectory, inject=False)
    assert bare.unet_evaluations == 8
    plain = reconstruct(model, DDIMInversion(steps=4).invert(model, latents, PROMPT))
    torch.testing.assert_close(bare.reconstruction, plain.reconstruction, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(result.reconstruction, bare.reconstruction)


def test_negative_prompt_is_sampling_at_guidance_one(model, latents):
    trajectory = NegativePromptInversion(steps=4).invert(model, latents, PROMPT)
    expected = sample(model, trajectory.latents[-1:], model.schedule.steps(4), trajectory.embedding)
    torch.testing.assert_close(reconstruct(model, trajectory).reconstruction, expected)


def test_refusals(model, latents):
    with pytest.raises(ValueError, match="latents of one photograph"):
        DirectInversion(steps=2).invert(model, latents.expand(2, -1, -1, -1), PROMPT)
    with pytest.raises(ValueError, match="2 prompts do not fit 1"):
        DirectInversion(steps=2).invert_all(model, latents, [PROMPT, PROMPT])
    with pytest.raises(FloatingPointError, match=r"DDIM inversion .* not finite"):
        DirectInversion(steps=2).invert(model, latents * torch.inf, PROMPT)


def test_trajectories_that_contradict_themselves(model, latents):
    trajectory = DirectInversion(steps=4).invert(model, latents, PROMPT)
    with pytest.raises(ValueError, match="only if, its source branch is replayed"):
        dataclasses.replace(trajectory, source="replayed")
    with pytest.raises(ValueError, match="2 unconditional embeddings do not fit 4 steps"):
        dataclasses.replace(trajectory, unconditional=trajectory.embedding.expand(2, -1, -1))
    assert isinstance(dataclasses.replace(trajectory, source="guided"), Trajectory)
