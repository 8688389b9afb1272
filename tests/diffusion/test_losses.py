import pytest
import torch

from faceforward.diffusion.losses import denoising_loss, diffuse


class Oracle(torch.nn.Module):
    """A UNet that answers with a fixed tensor."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, latents, timesteps, context):
        return type("Output", (), {"sample": self.answer})


NO_TEXT = torch.zeros(4, 1, 1)
ALPHAS = torch.tensor([0.9, 0.5, 0.1])


def draw():
    torch.manual_seed(0)
    return torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3), torch.tensor([0, 2])


def test_diffuse_keeps_unit_variance():
    torch.manual_seed(0)
    mixed = diffuse(torch.randn(1, 1, 300, 300), torch.randn(1, 1, 300, 300), torch.tensor([0.3]))
    assert mixed.var().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_true_answer_has_no_loss(kind):
    z, e, t = draw()
    a = ALPHAS[t].view(-1, 1, 1, 1)
    answer = e if kind == "epsilon" else a.sqrt() * e - (1 - a).sqrt() * z
    loss = denoising_loss(Oracle(answer), z, NO_TEXT, t, e, ALPHAS, prediction_type=kind)
    torch.testing.assert_close(loss, torch.zeros(2))


def test_min_snr_weights_are_those_of_the_paper():
    z, e, t = draw()
    plain = denoising_loss(Oracle(e + 1), z, NO_TEXT, t, e, ALPHAS)
    weighted = denoising_loss(Oracle(e + 1), z, NO_TEXT, t, e, ALPHAS, min_snr_gamma=5)
    torch.testing.assert_close(weighted / plain, torch.tensor([5 / 9, 1.0]))


def test_padding_has_no_part_in_the_loss():
    """The mean over what is photograph; a cell that is half padding counts half."""
    z, e, t = draw()
    answer = e.clone()
    answer[0, :, 0] += 2  # squared error 4 in the first row
    answer[0, :, 1] += 1
    padding = torch.zeros(2, 3, 3)
    plain = denoising_loss(Oracle(answer), z, NO_TEXT, t, e, ALPHAS)
    torch.testing.assert_close(plain, torch.tensor([5 / 3, 0.0]))
    torch.testing.assert_close(
        denoising_loss(Oracle(answer), z, NO_TEXT, t, e, ALPHAS, padding=padding), plain
    )
    padding[0, 0], padding[0, 1], padding[1] = 1, 0.5, 1
    masked = denoising_loss(Oracle(answer + 0), z, NO_TEXT, t, e, ALPHAS, padding=padding)
    torch.testing.assert_close(masked, torch.tensor([0.5 / 1.5, 0.0]))


def test_no_gradient_comes_from_padding():
    z, e, t = draw()
    answer = torch.zeros_like(e, requires_grad=True)
    padding = torch.zeros(2, 3, 3)
    padding[:, :, 0] = 1
    denoising_loss(Oracle(answer), z, NO_TEXT, t, e, ALPHAS, padding=padding).sum().backward()
    assert not answer.grad[..., 0].any()
    assert answer.grad[..., 1:].all()


def test_unknown_prediction_type_is_refused():
    z, e, t = draw()
    with pytest.raises(ValueError, match="sample"):
        denoising_loss(Oracle(e), z, NO_TEXT, t, e, ALPHAS, prediction_type="sample")
