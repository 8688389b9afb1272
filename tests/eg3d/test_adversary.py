"""Adversarial losses against closed forms, and the blur."""

import pytest
import torch
from torch.nn import functional as F

from faceforward.eg3d.adversary import Adversary, gaussian_blur
from faceforward.eg3d.discriminator import DualDiscriminator, r1_penalty
from faceforward.eg3d.generator import View


@pytest.fixture(scope="module")
def adversary():
    torch.manual_seed(0)
    return Adversary(
        DualDiscriminator(16, channel_base=64, channel_max=8, mapping_layers=2),
        gamma=3,
        penalty_every=4,
        blur=0,
    )


@pytest.fixture
def pictures(cameras):
    torch.manual_seed(1)
    view = View(
        torch.rand(2, 3, 16, 16), torch.rand(2, 3, 8, 8), torch.ones(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    )
    return torch.rand(2, 3, 16, 16) * 2 - 1, view, cameras


def test_losses_are_those_of_the_paper(adversary, pictures):
    real, view, cameras = pictures
    small = F.interpolate(real, (8, 8), mode="bilinear", antialias=True)
    fake_logits = adversary.discriminator(view.image, view.raw, cameras)
    real_logits = adversary.discriminator(real, small, cameras)
    torch.testing.assert_close(
        adversary.generator_loss(view, cameras, 0), -torch.log(fake_logits.sigmoid()).mean()
    )
    loss, told_real, told_fake = adversary.discriminator_loss(real, cameras, view, cameras, 0)
    expected = -torch.log(real_logits.sigmoid()).mean() - torch.log(1 - fake_logits.sigmoid()).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(told_real, real_logits.mean().detach())
    torch.testing.assert_close(told_fake, fake_logits.mean().detach())
    torch.testing.assert_close(
        adversary.penalty(real, cameras, 8, 0),
        r1_penalty(adversary.discriminator, real, small, cameras).mean() * 3 / 2 * 4,
    )


def test_no_gradient_reaches_the_generator_from_the_discriminators_loss(adversary, pictures):
    real, view, cameras = pictures
    image = view.image.requires_grad_()
    adversary.discriminator_loss(real, cameras, view, cameras, 0)[0].backward()
    assert image.grad is None
    adversary.generator_loss(view, cameras, 0).backward()
    assert image.grad.abs().sum() > 0


def test_blur_fades(adversary):
    fading = Adversary(adversary.discriminator, blur=10, blur_fade=1000)
    assert [fading.sigma(seen) for seen in (0, 500, 1000, 5000)] == [10, 5, 0, 0]


def test_blur_is_a_gaussian_that_keeps_what_is_even():
    point = torch.zeros(1, 1, 41, 41)
    point[..., 20, 20] = 1
    seen = gaussian_blur(point, 3.0)[0, 0]
    assert seen.sum().item() == pytest.approx(1, abs=1e-4)
    offsets = torch.arange(41) - 20.0
    assert (seen.sum(0) * offsets**2).sum().item() ** 0.5 == pytest.approx(3, rel=0.02)
    torch.testing.assert_close(
        gaussian_blur(torch.full((1, 2, 9, 9), 0.3), 50.0), torch.full((1, 2, 9, 9), 0.3)
    )
    assert gaussian_blur(point, 0.2) is point
