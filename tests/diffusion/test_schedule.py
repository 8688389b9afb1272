import pytest
import torch
from diffusers import DDIMScheduler

from faceforward.diffusion.schedule import NoiseSchedule
from faceforward.errors import ConfigurationError

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("spacing", "count"), [("leading", 50), ("leading", 7), ("trailing", 50)])
def test_steps_are_those_of_diffusers(prediction, spacing, count):
    config = {**NOISE, "prediction_type": prediction, "timestep_spacing": spacing}
    reference = DDIMScheduler(**config, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    reference.set_timesteps(count)
    steps = NoiseSchedule.from_config(config).steps(count)
    assert steps.timesteps == tuple(reference.timesteps.tolist())
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    output = torch.randn(1, 4, 8, 8, generator=generator)
    for index, timestep in enumerate(steps.timesteps):
        expected = reference.step(output, timestep, latents).prev_sample
        torch.testing.assert_close(steps.denoise(index, latents, output), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_going_back_is_the_exact_inverse(prediction):
    steps = NoiseSchedule.from_config({**NOISE, "prediction_type": prediction}).steps(20)
    latents, output = torch.randn(
        2, 1, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    for index in range(20):
        back = steps.denoise(index, steps.renoise(index, latents, output), output)
        torch.testing.assert_close(back, latents)


def test_a_perfect_prediction_leads_to_the_image():
    """With the true noise in every step, the steps walk the exact diffusion of one picture."""
    schedule = NoiseSchedule.from_config(NOISE)
    steps = schedule.steps(10)
    image, noise = torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alpha = schedule.alphas_cumprod[steps.timesteps[0]]
    latents = alpha**0.5 * image + (1 - alpha) ** 0.5 * noise
    for index in range(10):
        latents = steps.denoise(index, latents, noise)
    last = schedule.alphas_cumprod[0]
    torch.testing.assert_close(latents, last**0.5 * image + (1 - last) ** 0.5 * noise)


def test_another_schedulers_file_is_read():
    """Stable Diffusion 1.5 ships a PNDM file; the sampling settings in it are not ours."""
    config = {
        **NOISE,
        "_class_name": "PNDMScheduler",
        "skip_prk_steps": True,
        "clip_sample": True,
        "steps_offset": 0,
    }
    assert NoiseSchedule.from_config(config) == NoiseSchedule.from_config(NOISE)


def test_pure_noise_at_the_end():
    config = {**NOISE, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    steps = NoiseSchedule.from_config({**config, "prediction_type": "v_prediction"}).steps(5)
    assert steps.timesteps[0] == 999
    with pytest.raises(ConfigurationError, match="pure noise"):
        NoiseSchedule.from_config(config).steps(5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "does not say which noise"),
        ({**NOISE, "prediction_type": "flow"}, "prediction_type 'flow'"),
        ({**NOISE, "timestep_spacing": "odd"}, "timestep_spacing 'odd'"),
    ],
)
def test_unknown_files(config, message):
    with pytest.raises(ConfigurationError, match=message):
        NoiseSchedule.from_config(config)


@pytest.mark.parametrize("count", [0, 1000])
def test_impossible_numbers_of_steps(count):
    with pytest.raises(ConfigurationError, match="give 1 to 999"):
        NoiseSchedule.from_config(NOISE).steps(count)
