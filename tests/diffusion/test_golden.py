"""The numbers of the authors' own implementations, on weights that a formula rebuilds."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from faceforward.diffusion.blending import LocalBlend
from faceforward.diffusion.edit_batch import steps_within
from faceforward.diffusion.editing import edit, reconstruct
from faceforward.diffusion.inversion import DDIMInversion, NullTextInversion, Trajectory
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.prompts import PromptTemplate, PromptWords
from faceforward.diffusion.settings import EditSettings
from faceforward.diffusion.tokens import word_tokens
from golden_pipeline import ROOT, save_golden_pipeline

CASES = sorted(path.name for path in ROOT.glob("fading*") if (path / "fading.json").exists())

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.golden,
    pytest.mark.slow,
    pytest.mark.skipif(not CASES, reason=f"no golden numbers under {ROOT} (FACEFORWARD_GOLDEN)"),
]


class Golden:
    """One golden case: its model, its settings and its numbers."""

    def __init__(self, case, folder):
        salt = json.loads((ROOT / "set.json").read_text())["salt"]
        save_golden_pipeline(ROOT, case, folder, salt)
        self.model = load_pipeline(folder)
        self.says = json.loads((ROOT / case / "fading.json").read_text())
        self.prompt = self.says["prompt"]
        self.targets = self.says["targets"]
        with (
            np.load(ROOT / case / "fading.npz") as numbers,
            np.load(ROOT / case / "intermediate.npz") as steps,
        ):
            self.numbers = {**numbers, **steps}
        blend = self.says["local_blend"]
        self.settings = EditSettings(
            guidance_scale=self.says["guidance_scale"],
            cross_replace=self.says["cross_replace_steps"],
            self_replace=self.says["self_replace_steps"],
            local_blend=LocalBlend(start=blend["start_blend"], threshold=blend["threshold"]),
        )
        self.unblended = dataclasses.replace(self.settings, local_blend=None)
        split = self.prompt.split()
        age, person = str(self.says["initial_age"]), self.says["person"]
        self.words = PromptWords((split.index(age),), (split.index(person),))

    def null_text(self):
        return NullTextInversion(
            steps=self.says["steps"],
            guidance_scale=self.says["guidance_scale"],
            inner_steps=self.says["max_inner_steps"],
            lr=self.says["lr"],
            lr_decay=self.says["lr_decay"],
            early_stop=self.says["early_stop_epsilon"],
            early_stop_increment=self.says["early_stop_increment"],
            checkpointing=False,
        )

    def given(self):
        """The trajectory as the golden numbers have it, its source branch still to be walked."""
        return Trajectory(
            prompt=self.prompt,
            method="golden",
            latents=torch.from_numpy(self.numbers["ddim_latents"]),
            embedding=torch.from_numpy(self.numbers["text_embedding_full"]),
            unconditional=torch.from_numpy(self.numbers["null_embeddings_full"]),
            source="guided",
        )

    def edits(self, trajectory, settings):
        """Target age -> latents, and the source branch's; targets of one weight run in one batch."""
        found = {}
        for weight in {target["equalizer"]["values"][0] for target in self.targets}:
            group = [target for target in self.targets if target["equalizer"]["values"][0] == weight]
            weighted = dataclasses.replace(settings, age_weight=weight)
            prompts = [target["prompt"] for target in group]
            result = edit(self.model, trajectory, prompts, weighted, words=self.words)
            found |= dict(zip((target["age"] for target in group), result.latents.split(1), strict=True))
        return found, result.source


@pytest.fixture(scope="module", params=CASES)
def golden(request, tmp_path_factory):
    return Golden(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def optimised(golden):
    """Null-text inversion of the photograph, from its pixels on."""
    latents = golden.model.encode_image(golden.numbers["image"])
    return golden.null_text().invert(golden.model, latents, golden.prompt)


def relative_rms(ours, theirs):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    return np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2))


def test_latent_and_text_embedding(golden):
    assert relative_rms(golden.model.encode_image(golden.numbers["image"]), golden.numbers["latent0"]) < 1e-4
    embedding, empty = golden.model.encode_prompts([golden.prompt, ""]).split(1)
    assert relative_rms(embedding, golden.numbers["text_embedding_full"]) < 1e-5
    assert relative_rms(embedding[0, :12], golden.numbers["text_embedding"]) < 1e-5
    assert relative_rms(empty, golden.numbers["uncond_start"]) < 1e-5


def test_timesteps_prompts_and_blend_words(golden):
    says = golden.says
    assert list(golden.model.schedule.steps(says["steps"]).timesteps) == says["timesteps"]
    assert (
        steps_within(golden.settings.local_blend.start, says["steps"])
        == says["local_blend"]["first_blended_step"]
    )
    template = PromptTemplate()
    gender = says["gender"] if says["gender"] in ("female", "male") else None
    assert template.prompt(says["initial_age"], gender) == golden.prompt
    for target in golden.targets:
        assert template.prompt(target["age"], gender) == target["prompt"]
        for prompt, words in zip((golden.prompt, target["prompt"]), target["blend_words"], strict=True):
            assert [prompt.split()[position] for position in template.words.blended] == words
            age = word_tokens(golden.model.tokenizer, prompt)[template.words.age[0]]
            assert len(age) == len(words[0])  # a token for each digit


def test_ddim_inversion(golden):
    latents = torch.from_numpy(golden.numbers["latent0"])
    inversion = DDIMInversion(steps=golden.says["steps"])
    trajectory = inversion.invert(golden.model, latents, golden.prompt)
    for ours, theirs in zip(trajectory.latents, golden.numbers["ddim_latents"], strict=True):
        assert relative_rms(ours, theirs) < 1e-4
    assert relative_rms(trajectory.latents[-1:], golden.numbers["latent_T"]) < 1e-4


def test_optimisation_alone(golden):
    """From the golden DDIM latents on."""
    given = golden.given()
    trajectory = golden.null_text().optimise(
        golden.model,
        golden.model.schedule.steps(golden.says["steps"]),
        given.latents,
        golden.prompt,
        given.embedding,
        torch.from_numpy(golden.numbers["uncond_start"]),
    )
    assert list(trajectory.inner_steps) == golden.says["inner_steps"]
    assert relative_rms(trajectory.losses, golden.numbers["null_losses"]) < 3e-4
    assert relative_rms(trajectory.unconditional, golden.numbers["null_embeddings_full"]) < 2e-2


def test_null_text_from_the_pixels(golden, optimised):
    assert relative_rms(optimised.latents[-1:], golden.numbers["latent_T"]) < 1e-4
    assert list(optimised.inner_steps) == golden.says["inner_steps"]
    assert relative_rms(optimised.losses, golden.numbers["null_losses"]) < 3e-4
    assert relative_rms(optimised.unconditional, golden.numbers["null_embeddings_full"]) < 2e-2
    assert relative_rms(optimised.unconditional[:, :8], golden.numbers["null_embeddings"]) < 2e-2
    back = reconstruct(golden.model, optimised, golden.settings).reconstruction
    assert relative_rms(back, golden.numbers["reconstruction_latent"]) < 1e-2


def test_reconstruction_alone(golden):
    back = reconstruct(golden.model, golden.given(), golden.settings).reconstruction
    assert relative_rms(back, golden.numbers["reconstruction_latent"]) < 1e-3


def same_but_for_a_mask_cell(ours, theirs, tolerance):
    """Whether edits with LocalBlend agree.

    Rounding turns a cell of the mask over where its attention lies at the threshold: among 256 cells, four
    steps and three masks one within 1e-4 is common. A cell is 4 x 4 of 64 x 64 positions and touches its
    surroundings through the following steps; everything else must agree.
    """
    error = np.sqrt(np.mean((np.asarray(ours) - theirs) ** 2, axis=1) / np.mean(theirs**2))
    return np.median(error) < tolerance and np.quantile(error, 0.8) < 3 * tolerance


def test_edits_alone(golden):
    """From the golden latents and embeddings on; the source branch is walked beside the targets."""
    edits, source = golden.edits(golden.given(), golden.unblended)
    for age, latents in edits.items():
        assert relative_rms(latents, golden.numbers[f"edit_noblend_latent_{age}"]) < 1e-3
        assert relative_rms(source, golden.numbers[f"edit_source_latent_{age}"]) < 1e-3
    edits, source = golden.edits(golden.given(), golden.settings)
    for age, latents in edits.items():
        assert same_but_for_a_mask_cell(latents, golden.numbers[f"edit_latent_{age}"], 1e-3)
        assert relative_rms(source, golden.numbers[f"edit_source_latent_{age}"]) < 1e-3


def test_edits_from_the_pixels(golden, optimised):
    edits, source = golden.edits(optimised, golden.unblended)
    for age, latents in edits.items():
        assert relative_rms(latents, golden.numbers[f"edit_noblend_latent_{age}"]) < 1e-2
        assert relative_rms(source, golden.numbers[f"edit_source_latent_{age}"]) < 1e-2
    edits, _ = golden.edits(optimised, golden.settings)
    for age, latents in edits.items():
        assert same_but_for_a_mask_cell(latents, golden.numbers[f"edit_latent_{age}"], 1e-2)


def test_decoded_pictures(golden):
    for target in golden.targets:
        latents = torch.from_numpy(golden.numbers[f"edit_latent_{target['age']}"])
        ours = golden.model.decode_latents(latents)[0, ::4, ::4].astype(int)
        difference = ours - golden.numbers[f"edit_image_sub_{target['age']}"]
        assert difference.min() >= -1  # the reference cuts off where we round
        assert difference.max() <= 1
