"""What GOAE's networks are trained by (arXiv 2303.12326, 3.4; the latent terms of e4e, arXiv 2102.02766)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from faceforward.checks import at_least
from faceforward.eg3d.layers import FullyConnected
from faceforward.eg3d.resampling import resized
from faceforward.modules.autoencoder import gradient_loss


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; one of 0 is not computed.

    The release has no training code; these are starting values, those of TriPlaneNetV2 (arXiv 2303.13497)
    and e4e where they have the term.

    Attributes:
        pixel: Mean square of the difference at the photograph's own view.
        edges: `gradient_loss` there: a perceptual term without weights.
        perceptual: Of the perceptual network's distance, where one is given.
        identity: Of 1 - cosine of the recogniser's descriptors, where one is given.
        latent: Of the latent discriminator's word on the codes.
        offset: Of the length of the offsets from the base code.
        mirror: Of the picture terms at the mirrored camera against the mirrored photograph.
        codes: Mean square of the distance to known codes, on the generator's own samples.
        planes: The same of planes.
        view: Of the picture terms at another camera, on the generator's own samples.

    Raises:
        ConfigurationError: One is negative.
    """

    pixel: float = 1.0
    edges: float = 0.0
    perceptual: float = 0.8
    identity: float = 0.1
    latent: float = 0.1
    offset: float = 2e-4
    mirror: float = 0.1
    codes: float = 0.1
    planes: float = 0.1
    view: float = 1.0

    def __post_init__(self) -> None:
        """Refuse negative weights."""
        at_least(0, **vars(self))


class LatentCritic(nn.Module):
    """Tells codes of the mapping network from codes of an encoder, one w at a time.

    Args:
        w: Width of w.
        layers: Fully connected layers before the logit.
    """

    def __init__(self, w: int, layers: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(FullyConnected(w, w, activation=True) for _ in range(layers)))
        self.out = FullyConnected(w, 1)

    def forward(self, ws: torch.Tensor) -> torch.Tensor:
        """`(M, w)` to logits `(M,)`."""
        return self.out(self.layers(ws))[:, 0]

    def encoder_loss(self, ws: torch.Tensor) -> torch.Tensor:
        """How little codes `(N, num_ws, w)` are taken for the mapping network's, a mean."""
        return F.softplus(-self(ws.flatten(0, 1))).mean()

    def loss(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """How badly w's of the mapping network `(N, w)` and codes `(N, num_ws, w)` are told apart."""
        return F.softplus(-self(real)).mean() + F.softplus(self(fake.detach().flatten(0, 1))).mean()

    def penalty(self, real: torch.Tensor) -> torch.Tensor:
        """R1 at w's `(N, w)` (arXiv 1801.04406), a mean, not weighted."""
        real = real.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self(real).sum(), real, create_graph=True)
        return gradient.square().sum(dim=1).mean()


def offset_length(ws: torch.Tensor, reached: int) -> torch.Tensor:
    """Mean length of the offsets of `(N, num_ws, w)` from their first code, summed over the layers reached.

    Args:
        ws: Codes; the first layer is the base.
        reached: Layers that have offsets, the first not counted.
    """
    if not reached:
        return ws.new_zeros(())
    return (ws[:, 1 : 1 + reached] - ws[:, :1]).norm(dim=2).sum(dim=1).mean()


class PictureLoss(nn.Module):
    """Terms that compare pictures.

    Args:
        weights: Of the terms.
        perceptual: `(N, 3, S, S)` twice to a distance `(N,)`; None leaves the term out.
        identity: `(N, 3, S, S)` to descriptors `(N, D)`; None leaves the term out.
    """

    def __init__(
        self, weights: LossWeights, perceptual: nn.Module | None = None, identity: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.weights = weights
        self.perceptual = None if perceptual is None else perceptual.eval().requires_grad_(False)
        self.identity = None if identity is None else identity.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> PictureLoss:
        """Its networks judge and do not learn: they stay in evaluation mode."""
        return super().train(False)

    def forward(self, pictures: list[torch.Tensor], target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Weighted terms.

        Args:
            pictures: `(N, 3, s, s)` each, the final one first; pixels and edges are those of all of them.
            target: `(N, 3, S, S)`.
        """
        weights = self.weights
        wanted = [resized(target, picture.shape[-1]) for picture in pictures]
        pairs = list(zip([picture.float() for picture in pictures], wanted, strict=True))
        found = {"pixel": weights.pixel * _mean([F.mse_loss(*pair) for pair in pairs])}
        if weights.edges:
            found["edges"] = weights.edges * _mean([gradient_loss(*pair) for pair in pairs])
        if self.perceptual is not None and weights.perceptual:
            found["perceptual"] = weights.perceptual * self.perceptual(*pairs[0]).mean()
        if self.identity is not None and weights.identity:
            alike = F.cosine_similarity(self.identity(pairs[0][0]), self.identity(pairs[0][1]), dim=1)
            found["identity"] = weights.identity * (1 - alike).mean()
        return found


def _mean(values: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(values).mean()
