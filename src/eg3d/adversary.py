"""What the dual discriminator and a generator want of each other (arXiv 2112.07945, 4.3 and supplement)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from faceforward.eg3d.discriminator import DualDiscriminator, r1_penalty
from faceforward.eg3d.generator import View
from faceforward.eg3d.resampling import resized


class Adversary(nn.Module):
    """Non-saturating losses with lazy R1 (arXiv 1912.04958, appendix B) and pictures blurred at the start.

    Args:
        discriminator: The network.
        gamma: Weight of R1; small batches want more.
        penalty_every: Steps of the discriminator from one R1 to the next.
        blur: Standard deviation of the blur at the start, pixels of the final picture; 0 is none.
        blur_fade: Real pictures over which it goes to nothing.
    """

    def __init__(
        self,
        discriminator: DualDiscriminator,
        *,
        gamma: float = 1.0,
        penalty_every: int = 16,
        blur: float = 10.0,
        blur_fade: int = 200_000,
    ) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.gamma = gamma
        self.penalty_every = penalty_every
        self.blur = blur
        self.blur_fade = blur_fade

    def sigma(self, seen: int) -> float:
        """Standard deviation of the blur after so many real pictures, pixels."""
        return self.blur * max(1 - seen / self.blur_fade, 0.0) if self.blur_fade else 0.0

    def generator_loss(self, view: View, cameras: torch.Tensor, seen: int) -> torch.Tensor:
        """How little a view is taken for real, a mean over the batch."""
        sigma = self.sigma(seen)
        logits = self.discriminator(
            gaussian_blur(view.image, sigma),
            gaussian_blur(view.raw, _at(view.raw, view.image, sigma)),
            cameras,
        )
        return F.softplus(-logits).mean()

    def discriminator_loss(
        self,
        real: torch.Tensor,
        cameras: torch.Tensor,
        view: View,
        view_cameras: torch.Tensor,
        seen: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """How badly real pictures and views are told apart.

        Args:
            real: `(N, 3, R, R)` in [-1, 1].
            cameras: `(N, 25)` of them.
            view: Of the generator; no gradient reaches it.
            view_cameras: `(M, 25)`.
            seen: Real pictures so far.

        Returns:
            The loss, and the mean logits of real pictures and views, without gradients.
        """
        sigma = self.sigma(seen)
        raw = view.raw.detach()
        fake_logits = self.discriminator(
            gaussian_blur(view.image.detach(), sigma),
            gaussian_blur(raw, _at(raw, view.image, sigma)),
            view_cameras,
        )
        image, small = self.pair(real, raw.shape[-1], sigma)
        real_logits = self.discriminator(image, small, cameras)
        loss = F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()
        return loss, real_logits.detach().mean(), fake_logits.detach().mean()

    def penalty(self, real: torch.Tensor, cameras: torch.Tensor, raw_side: int, seen: int) -> torch.Tensor:
        """R1, weighted for a step in `penalty_every`."""
        image, small = self.pair(real, raw_side, self.sigma(seen))
        norm = r1_penalty(self.discriminator, image, small, cameras).mean()
        return norm * (self.gamma / 2 * self.penalty_every)

    def pair(self, real: torch.Tensor, raw_side: int, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        """A real picture as the discriminator sees it: itself, and as small as raw views are."""
        small = resized(real, raw_side)
        return gaussian_blur(real, sigma), gaussian_blur(small, _at(small, real, sigma))


def _at(small: torch.Tensor, large: torch.Tensor, sigma: float) -> float:
    """The same blur in the pixels of a smaller picture."""
    return sigma * small.shape[-1] / large.shape[-1]


def gaussian_blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur `(N, C, H, W)` with a Gaussian of a standard deviation in pixels; nothing below a third of one."""
    reach = min(math.ceil(3 * sigma), min(images.shape[2:]) - 1)
    if sigma < 1 / 3 or not reach:
        return images
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    channels = images.shape[1]
    row = (kernel / kernel.sum()).expand(channels, 1, 1, -1)
    padded = F.pad(images, (reach, reach, reach, reach), mode="reflect")
    return F.conv2d(F.conv2d(padded, row, groups=channels), row.mT, groups=channels)
