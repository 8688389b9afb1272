import json

import numpy as np
import pytest
import torch

from faceforward.eg3d.discriminator import DualDiscriminator, r1_penalty, with_deviation
from faceforward.eg3d.resampling import low_pass, resample_filter
from golden_eg3d import away, fill_eg3d
from golden_pipeline import ROOT, draw

NUMBERS = ROOT / "eg3d_discriminator.npz"


def tiny(side=16, **settings):
    torch.manual_seed(0)
    discriminator = DualDiscriminator(
        side, channel_base=4 * side, channel_max=6, mapping_layers=2, group=2, **settings
    )
    for name, parameter in discriminator.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return discriminator


def pictures(count=2, dtype=torch.float32, side=16):
    torch.manual_seed(1)
    return (
        torch.randn(count, 3, side, side, dtype=dtype),
        torch.randn(count, 3, side // 2, side // 2, dtype=dtype),
        torch.randn(count, 25, dtype=dtype),
    )


def same_but_around_kinks(found, expected):
    """Whether gradients agree.

    Rounding turns a few leaky ReLUs over, where their input is zero to seven digits, and each changes the
    gradient around it. In float64 this network is 2.6e-4 from the golden gradient by root mean square for
    that reason, and 7e-7 by median.
    """
    error = np.abs(found.numpy() - expected) / np.sqrt(np.mean(expected**2))
    return np.median(error) < 1e-5 and np.quantile(error, 0.8) < 1e-4 and away(found, expected) < 3e-3


@pytest.mark.golden
@pytest.mark.slow
@pytest.mark.skipif(not NUMBERS.exists(), reason=f"no golden numbers under {ROOT} (FACEFORWARD_GOLDEN)")
def test_numbers_of_the_published_implementation():
    salt = json.loads((ROOT / "set.json").read_text())["salt"]
    shapes = json.loads((ROOT / "eg3d_discriminator_manifest.json").read_text())
    with np.load(NUMBERS) as numbers:
        golden = dict(numbers)
    discriminator = fill_eg3d(DualDiscriminator(group=2), salt, shapes).requires_grad_(False)
    image = 0.5 * draw(salt, "d_image", (2, 3, 512, 512))
    raw = 0.5 * draw(salt, "d_image_raw", (2, 3, 128, 128))
    cameras = torch.from_numpy(golden["c"])
    with torch.no_grad():
        assert away(discriminator(image, raw, cameras.flip(0)), golden["logits_swapped_c"]) < 1e-4
    image.requires_grad_()
    raw.requires_grad_()
    logits = discriminator(image, raw, cameras)
    assert away(logits, golden["logits"]) < 1e-4
    gradients = torch.autograd.grad(logits.sum(), [image, raw])
    assert away(sum(gradient.square().sum(dim=(1, 2, 3)) for gradient in gradients), golden["r1"]) < 1e-4
    assert same_but_around_kinks(gradients[0][:, :, ::16, ::16], golden["grad_image_sub"])
    assert same_but_around_kinks(gradients[1][:, :, ::4, ::4], golden["grad_raw_sub"])


def test_r1_is_the_squared_norm_of_the_gradient():
    discriminator = tiny(8).double()
    image, raw, cameras = pictures(dtype=torch.float64, side=8)
    penalty = r1_penalty(discriminator, image, raw, cameras)
    step, squares = 1e-6, torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for sample in range(2):
            for source in (image, raw):
                flat = source[sample].reshape(-1)
                for index in range(len(flat)):
                    value = flat[index].item()
                    flat[index] = value + step
                    above = discriminator(image, raw, cameras).sum()
                    flat[index] = value - step
                    below = discriminator(image, raw, cameras).sum()
                    flat[index] = value
                    squares[sample] += ((above - below) / (2 * step)) ** 2
    torch.testing.assert_close(penalty.detach(), squares, rtol=1e-6, atol=0)


def test_double_backward_of_r1_beside_finite_differences():
    discriminator = tiny().double()
    image, raw, cameras = pictures(dtype=torch.float64)
    names, parameters = zip(*discriminator.named_parameters(), strict=True)
    gradients = torch.autograd.grad(
        r1_penalty(discriminator, image, raw, cameras).sum(), parameters, allow_unused=True
    )
    torch.manual_seed(2)
    step = 1e-6
    for name, parameter, gradient in zip(names, parameters, gradients, strict=True):
        if gradient is None:  # an offset of the logit, which no gradient sees
            gradient = torch.zeros_like(parameter)
        towards = torch.randn_like(parameter)
        differences = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * step * towards
            differences.append(r1_penalty(discriminator, image, raw, cameras).sum().item())
            with torch.no_grad():
                parameter -= sign * step * towards
        numeric = (differences[0] - differences[1]) / (2 * step)
        assert (gradient * towards).sum().item() == pytest.approx(numeric, rel=1e-4, abs=1e-8), name


def test_every_parameter_learns_from_the_logits():
    discriminator = tiny()
    discriminator(*pictures()).sum().backward()
    for name, parameter in discriminator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_sees_both_pictures_and_the_camera():
    discriminator = tiny()
    given = pictures()
    logits = discriminator(*given)
    assert logits.shape == (2, 1)
    for place in range(3):
        other = list(given)
        other[place] = other[place] + 0.5
        assert not torch.allclose(discriminator(*other), logits, atol=1e-5)


def test_raw_picture_of_the_same_size_is_left_as_it_is():
    discriminator = tiny()
    image, _, cameras = pictures()
    seen = []
    discriminator.b16.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    discriminator(image, image, cameras)
    torch.testing.assert_close(seen[0], torch.cat([image, image], dim=1))


def test_halving_keeps_every_second_sample_of_the_low_pass():
    torch.manual_seed(0)
    x, kernel = torch.randn(2, 3, 8, 8), resample_filter()
    torch.testing.assert_close(
        low_pass(x, kernel, padding=1, stride=2), low_pass(x, kernel, padding=1)[:, :, ::2, ::2]
    )


def test_deviation_is_taken_within_groups():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 2, 2)
    x[2] = x[0]  # samples 0 and 2 are a group, 1 and 3 another
    deviation = with_deviation(x, 2)[:, 3]
    assert with_deviation(x, 2).shape == (4, 4, 2, 2)
    assert deviation[0].max() < 1e-3
    torch.testing.assert_close(deviation[0], deviation[2])
    expected = ((x[1] - x[3]).abs() / 2).mean()
    torch.testing.assert_close(deviation[1], torch.full((2, 2), expected.item()), rtol=1e-4, atol=1e-4)


def test_a_batch_smaller_than_the_group_is_one_group():
    torch.manual_seed(0)
    x = torch.randn(3, 2, 2, 2)
    torch.testing.assert_close(with_deviation(x, 4), with_deviation(x, 3))


def test_clamp_bounds_the_features():
    image, raw, cameras = pictures()
    discriminator = tiny(clamp=1.0)
    seen = []
    discriminator.b16.conv0.register_forward_hook(lambda *given: seen.append(given[-1]))
    discriminator(image * 100, raw, cameras)
    assert seen[0].abs().max() == 1


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="power of two"):
        DualDiscriminator(48)
    discriminator = tiny()
    _, raw, cameras = pictures()
    with pytest.raises(ValueError, match=r"\(3, 16, 16\)"):
        discriminator(raw, raw, cameras)
    with pytest.raises(ValueError, match="batch of 3"):
        discriminator(*pictures(3))
