import pytest
import torch

from faceforward.diffusion.blending import LocalBlend
from faceforward.diffusion.edit_batch import steps_within
from faceforward.diffusion.editing import edit, edit_all, reconstruct
from faceforward.diffusion.inversion import (
    DDIMInversion,
    DirectInversion,
    NegativePromptInversion,
    NullTextInversion,
)
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.prompts import PromptTemplate, PromptWords
from faceforward.diffusion.settings import EditSettings
from faceforward.errors import ConfigurationError

PROMPT = "photo of 32 year old man"
TARGETS = ("photo of 60 year old man", "photo of 8 year old boy", "photo of 45 year old man")
WORDS = PromptTemplate().words
METHODS = (DDIMInversion, NegativePromptInversion, DirectInversion, NullTextInversion)
STEPS = 5


@pytest.fixture(scope="module")
def model(tiny_sd):
    return load_pipeline(tiny_sd)


@pytest.fixture(scope="module")
def latents():
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def trajectories(model, latents):
    few = {NullTextInversion: {"inner_steps": 2}}
    return {
        method.name: method(steps=STEPS, **few.get(method, {})).invert(model, latents, PROMPT)
        for method in METHODS
    }


@pytest.fixture(scope="module")
def direct(trajectories):
    return trajectories["direct"]


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_targets_in_one_batch_are_single_runs(model, trajectories, method):
    trajectory = trajectories[method.name]
    together = edit(model, trajectory, TARGETS, words=WORDS)
    assert together.latents.shape == (3, 4, 8, 8)
    for index, target in enumerate(TARGETS):
        alone = edit(model, trajectory, [target], words=WORDS)
        close(together.latents[index : index + 1], alone.latents)
        assert torch.equal(together.masks[index : index + 1], alone.masks)
        close(together.source, alone.source)


@pytest.mark.parametrize("method", METHODS)
def test_a_bounded_batch_gives_the_same(model, trajectories, method):
    trajectory = trajectories[method.name]
    progress = []
    whole = edit(model, trajectory, TARGETS, words=WORDS, reconstruct=True)
    parts = edit(
        model,
        trajectory,
        TARGETS,
        words=WORDS,
        reconstruct=True,
        max_batch=6,
        on_step=lambda *told: progress.append(told),
    )
    close(parts.latents, whole.latents)
    close(parts.reconstruction, whole.reconstruction)
    assert torch.equal(parts.masks, whole.masks)
    assert parts.unet_evaluations > whole.unet_evaluations
    assert progress == [(step, 2 * STEPS) for step in range(1, 2 * STEPS + 1)]


def test_evaluations(model, trajectories):
    """1 for the source and 2 per target and step; the first step's unconditional rows are one."""
    spent = {
        name: edit(model, given, TARGETS, words=WORDS).unet_evaluations
        for name, given in trajectories.items()
    }
    least = STEPS * (1 + 2 * 3)
    assert spent == {
        "ddim": least + STEPS - 3,
        "negative-prompt": least - 2,
        "direct": least - 2,
        "null-text": least - 2,
    }
    trajectory = trajectories["direct"]
    unblended = EditSettings(local_blend=None)
    assert (
        edit(model, trajectory, TARGETS, unblended).unet_evaluations == least - 2 - 1
    )  # last step: no maps wanted
    assert edit(model, trajectory, TARGETS, reconstruct=True).unet_evaluations == least - 2 + 2 * STEPS - 1


def test_the_counts_are_true(model, direct, monkeypatch):
    rows = []
    original = type(model).predict
    monkeypatch.setattr(type(model), "predict", lambda *args: (rows.append(len(args[1])), original(*args))[1])
    result = edit(model, direct, TARGETS, words=WORDS)
    assert sum(rows) == result.unet_evaluations
    assert len(rows) == STEPS  # one call of the UNet a step


def test_direct_inversions_source_is_exact(model, direct, latents):
    result = edit(model, direct, TARGETS, words=WORDS)
    assert torch.equal(result.source, latents)


def test_overwriting_is_adding_the_difference_back(model, direct):
    """Direct inversion as published: guided source branch, its loss against z* added at every step."""
    settings = EditSettings(local_blend=None)
    steps = model.schedule.steps(STEPS)
    source = direct.latents[-1:]
    with torch.no_grad():
        for index, timestep in enumerate(steps.timesteps):
            unconditional = model.predict(source, timestep, direct.unconditional)
            conditional = model.predict(source, timestep, direct.embedding)
            walked = steps.denoise(
                index, source, torch.lerp(unconditional, conditional, settings.guidance_scale)
            )
            wanted = direct.latents[STEPS - 1 - index].unsqueeze(0)
            source = walked + (wanted - walked)
            close(source, wanted)
    close(source, edit(model, direct, TARGETS, settings).source)


def test_same_prompt_is_the_source_branch(model, trajectories):
    """A target with the source's prompt walks with it, unless the source branch is corrected."""
    for name in ("ddim", "negative-prompt", "null-text"):
        trajectory = trajectories[name]
        result = edit(model, trajectory, [PROMPT], EditSettings(local_blend=None))
        close(result.latents, result.source)
        close(result.source, reconstruct(model, trajectory).reconstruction)
    result = edit(model, trajectories["direct"], [PROMPT], EditSettings(local_blend=None))
    close(result.latents, reconstruct(model, trajectories["direct"]).reconstruction)
    assert not torch.allclose(result.latents, result.source, atol=1e-3)


def test_reconstruction_beside_the_targets(model, trajectories):
    for trajectory in trajectories.values():
        alone = reconstruct(model, trajectory)
        beside = edit(model, trajectory, TARGETS, words=WORDS, reconstruct=True)
        close(beside.reconstruction, alone.reconstruction)
        close(beside.latents, edit(model, trajectory, TARGETS, words=WORDS).latents)
        assert beside.masks.shape == (3, 8, 8)


def test_no_control_is_plain_guidance(model, direct):
    settings = EditSettings(cross_replace=0, self_replace=0, local_blend=None, guidance_scale=3.0)
    ours = edit(model, direct, TARGETS[:1], settings)
    steps = model.schedule.steps(STEPS)
    latents = direct.latents[-1:]
    empty, target = model.encode_prompts(["", TARGETS[0]]).split(1)
    with torch.no_grad():
        for index, timestep in enumerate(steps.timesteps):
            unconditional = model.predict(latents, timestep, empty)
            output = unconditional + 3 * (model.predict(latents, timestep, target) - unconditional)
            latents = steps.denoise(index, latents, output)
    close(ours.latents, latents)
    assert ours.unet_evaluations == 2 * STEPS
    assert ours.masks is None


def test_the_blend_keeps_the_source_outside_its_mask(model, direct):
    blend = LocalBlend(threshold=0.9, pool=1, side=1)
    result = edit(model, direct, TARGETS, EditSettings(local_blend=blend), words=WORDS)
    assert 0 < result.masks.float().mean() < 1
    for latents, mask in zip(result.latents, result.masks, strict=True):
        assert torch.equal(latents[:, ~mask], result.source[0][:, ~mask])
        assert not torch.equal(latents[:, mask], result.source[0][:, mask])


def test_the_blend_starts_when_told(model, direct):
    late = edit(model, direct, TARGETS, EditSettings(local_blend=LocalBlend(start=1.0)), words=WORDS)
    close(late.latents, edit(model, direct, TARGETS, EditSettings(local_blend=None), words=WORDS).latents)
    assert late.masks is None


def test_words_default_to_those_that_differ(model, direct):
    blend = EditSettings(local_blend=LocalBlend(threshold=0.9, pool=1, side=1))
    given = edit(model, direct, TARGETS, blend, words=PromptWords(age=(2, 5)))
    close(edit(model, direct, TARGETS, blend).latents, given.latents)


def test_settings_matter(model, direct):
    """Each setting changes the outcome; the age's weight does while cross-attention is replaced."""
    base = edit(model, direct, TARGETS, EditSettings(local_blend=None), words=WORDS).latents
    for change in (
        {"cross_replace": 0.2},
        {"self_replace": 0.0},
        {"self_side": 1.0},
        {"age_weight": 3.0},
        {"tail": "aligned"},
        {"guidance_scale": 5.0},
    ):
        other = edit(model, direct, TARGETS, EditSettings(local_blend=None, **change), words=WORDS).latents
        assert not torch.allclose(other, base, atol=1e-5), change
    unreplaced = [
        edit(
            model, direct, TARGETS, EditSettings(local_blend=None, cross_replace=0, age_weight=weight)
        ).latents
        for weight in (1.0, 3.0)
    ]
    assert torch.equal(*unreplaced)


def test_the_processors_are_taken_out_when_an_edit_fails(model, direct):
    former = dict(model.unet.attn_processors)

    def stop(done, planned):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edit(model, direct, TARGETS, words=WORDS, on_step=stop)
    assert model.unet.attn_processors == former


def test_results_are_ordinary_tensors(model, trajectories):
    for trajectory in trajectories.values():
        result = edit(model, trajectory, TARGETS, reconstruct=True)
        for tensor in (result.latents, result.source, result.reconstruction, result.masks):
            assert not tensor.is_inference()


@pytest.mark.parametrize(
    ("share", "steps", "whole"), [(0.8, 50, 40), (0.5, 5, 2), (0.2, 5, 1), (0.29, 100, 29), (1.0, 7, 7)]
)
def test_shares_of_steps(share, steps, whole):
    assert steps_within(share, steps) == whole


def test_refusals(model, direct):
    with pytest.raises(ValueError, match="at least one target"):
        edit(model, direct, [])
    with pytest.raises(ConfigurationError, match="one target needs 3"):
        edit(model, direct, TARGETS, max_batch=2)
    with pytest.raises(ConfigurationError, match="the same number"):
        edit(model, direct, ["photo of an 60 year old man"])
    broken = EditSettings(guidance_scale=1e38)
    with pytest.raises(FloatingPointError, match=r"the edit .* not finite"):
        edit(model, direct, TARGETS, broken)
    guided = DDIMInversion(steps=2).invert(model, direct.latents[:1], PROMPT)
    with pytest.raises(FloatingPointError, match="the reconstruction"):
        reconstruct(model, guided, broken)


@pytest.mark.parametrize("max_batch", [None, 9, 4])
@pytest.mark.parametrize("method", METHODS)
def test_several_photographs_in_one_batch_are_single_runs(model, latents, trajectories, method, max_batch):
    few = {NullTextInversion: {"inner_steps": 2}}
    other_prompt = "photo of 7 year old girl"
    other = method(steps=STEPS, **few.get(method, {})).invert(model, latents.flip(3), other_prompt)
    first = trajectories[method.name]
    prompts = [TARGETS, ["photo of 50 year old woman", other_prompt]]
    several = edit_all(model, [first, other], prompts, EditSettings(), words=WORDS, max_batch=max_batch)
    for trajectory, targets, result in zip((first, other), prompts, several, strict=True):
        alone = edit(model, trajectory, targets, words=WORDS)
        close(result.latents, alone.latents)
        close(result.source, alone.source)
        assert torch.equal(result.masks, alone.masks)
    if max_batch is None:
        spent = sum(
            edit(model, t, p, words=WORDS).unet_evaluations
            for t, p in zip((first, other), prompts, strict=True)
        )
        assert sum(result.unet_evaluations for result in several) == spent


def test_batches_of_several_photographs_are_refused_where_they_cannot_work(model, latents, direct):
    shorter = DirectInversion(steps=STEPS - 1).invert(model, latents, PROMPT)
    with pytest.raises(ConfigurationError, match="inverted differently"):
        edit_all(model, [direct, shorter], [TARGETS, TARGETS], EditSettings(), words=WORDS)
    with pytest.raises(ValueError, match="2 lists"):
        edit_all(model, [direct], [TARGETS, TARGETS], EditSettings(), words=WORDS)
    with pytest.raises(ValueError, match="at least one"):
        edit_all(model, [direct], [[]], EditSettings(), words=WORDS)
