"""GOAE as one network: photographs and cameras to heads of a generator (arXiv 2303.12326)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import nn

from faceforward.eg3d.cameras import LABEL
from faceforward.eg3d.generator import TriPlaneGenerator, View
from faceforward.errors import ConfigurationError
from faceforward.goae.afa import Afa
from faceforward.goae.encoder import GoaeEncoder, Stage
from faceforward.goae.fusion import mix, surface, visibility
from faceforward.goae.halves import Half, first_half, second_half


@dataclass(frozen=True, eq=False)
class Inversion:
    """Heads of photographs, which can be edited and rendered.

    Attributes:
        network: That found them.
        ws: `(N, num_ws, w)`, with the average w.
        planes: `(N, 3, C, S, S)`, mixed by visibility; render these.
        plain: `(N, 3, C, S, S)` of the codes alone.
        aligned: `(N, 3, C, S, S)` with AFA everywhere; `plain` again without AFA.
        mask: `(N, 1, S, S)` in [0, 1]: what the photograph has seen of the plane that faces the viewer.
        half: Of the backbone under these codes; None without AFA.
        feature: `(N, C', s, s)` that AFA made of it; None without AFA.
        gamma: `(N, C', s, s)`, its factor; None without AFA and after an edit.
        beta: `(N, C', s, s)`, its summand; None without AFA and after an edit.
        own: The photographs' views of `plain`; None after an edit.
        view: The photographs' views of `aligned`; None after an edit.
    """

    network: Goae
    ws: torch.Tensor
    planes: torch.Tensor
    plain: torch.Tensor
    aligned: torch.Tensor
    mask: torch.Tensor
    half: Half | None = None
    feature: torch.Tensor | None = None
    gamma: torch.Tensor | None = None
    beta: torch.Tensor | None = None
    own: View | None = None
    view: View | None = None

    def edit(self, delta_ws: torch.Tensor) -> Inversion:
        """The same heads with other codes.

        Planes come from the edited codes; AFA's feature is moved by as much as the codes' own feature. What
        the photographs have seen stays what it was.

        Args:
            delta_ws: `(num_ws, w)` or `(N, num_ws, w)`, added to `ws`.

        Raises:
            ValueError: It has another shape.
        """
        if delta_ws.shape not in (self.ws.shape, self.ws.shape[1:]):
            raise ValueError(
                f"an edit of {tuple(delta_ws.shape)} for codes of {tuple(self.ws.shape)}: give one for all "
                "heads or one for each"
            )
        generator, ws = self.network.generator, self.ws + delta_ws
        if self.half is None or self.feature is None:
            planes = generator.planes(ws)
            return dataclasses.replace(
                self, ws=ws, planes=planes, plain=planes, aligned=planes, own=None, view=None
            )
        half = first_half(generator, ws, self.half.feature.shape[-1])
        feature = self.feature + half.feature - self.half.feature
        plain = second_half(generator, ws, half)
        aligned = second_half(generator, ws, Half(feature, half.picture))
        return Inversion(
            self.network, ws, mix(aligned, plain, self.mask), plain, aligned, self.mask, half, feature
        )

    def render(self, cameras: torch.Tensor, head: int | None = None) -> View:
        """Views of the heads.

        Args:
            cameras: `(N, 25)`, one for each head; any number with `head`.
            head: Only this one.
        """
        chosen = slice(None) if head is None else slice(head, head + 1)
        return self.network.generator.render(self.planes[chosen], cameras, self.ws[chosen])


class Goae(nn.Module):
    """Encoder, AFA and generator.

    Args:
        generator: Of the codes' width and number; frozen or not is the caller's business.
        encoder: Photographs to codes.
        afa: What the codes have lost; None leaves it out, and the planes are those of the codes.

    Raises:
        ConfigurationError: They do not fit each other.
    """

    def __init__(self, generator: TriPlaneGenerator, encoder: GoaeEncoder, afa: Afa | None = None) -> None:
        super().__init__()
        self.generator, self.encoder, self.afa = generator, encoder, afa
        found, wanted = encoder.config, (generator.num_ws, generator.config.w)
        if (found.num_ws, found.w) != wanted:
            raise ConfigurationError(
                f"the encoder makes {found.num_ws} codes of {found.w} numbers, the generator takes "
                f"{wanted[0]} of {wanted[1]}: it was trained for another generator"
            )
        if afa is not None:
            synthesis, side = generator.backbone.synthesis, afa.config.side
            has = (
                synthesis.get_submodule(f"b{side}").conv1.bias.shape[0] if side in synthesis.sides[:-1] else 0
            )
            if has != afa.config.features:
                raise ConfigurationError(
                    f"AFA changes {afa.config.features} channels at {side}x{side}, the generator has {has} "
                    "there: it was trained for another generator"
                )

    def codes(self, images: torch.Tensor, stage: Stage = "fine") -> torch.Tensor:
        """`(N, 3, R, R)` in [-1, 1] to `(N, num_ws, w)`, with the average w."""
        return self.encoder(images, stage) + self.generator.backbone.mapping.w_avg

    def forward(self, images: torch.Tensor, cameras: torch.Tensor) -> Inversion:
        """See `invert`; with gradients."""
        return self.align(images, cameras, self.codes(images))

    @torch.no_grad()
    def invert(self, images: torch.Tensor, cameras: torch.Tensor) -> Inversion:
        """Heads of photographs.

        Args:
            images: `(N, 3, R, R)` in [-1, 1], 3D crops of the generator's side.
            cameras: `(N, 25)`.

        Raises:
            ConfigurationError: They have other shapes.
        """
        side = self.generator.config.resolution
        if images.shape[1:] != (3, side, side):
            raise ConfigurationError(
                f"photographs of {tuple(images.shape)}: give (N, 3, {side}, {side}), the generator's side"
            )
        if cameras.shape != (len(images), LABEL):
            raise ConfigurationError(
                f"cameras of {tuple(cameras.shape)} for {len(images)} photographs: "
                f"give ({len(images)}, {LABEL})"
            )
        return self(images, cameras)

    def align(self, images: torch.Tensor, cameras: torch.Tensor, ws: torch.Tensor) -> Inversion:
        """Heads of photographs whose codes `(N, num_ws, w)` are known."""
        generator = self.generator
        side = generator.config.plane_resolution
        settings = generator.config.render
        if self.afa is None:
            planes = generator.planes(ws)
            view = generator.render(planes, cameras, ws)
            mask = visibility(surface(view.depth, cameras), side, settings)
            return Inversion(self, ws, planes, planes, planes, mask, own=view, view=view)
        half = first_half(generator, ws, self.afa.config.side)
        plain = second_half(generator, ws, half)
        own = generator.render(plain, cameras, ws)
        feature, gamma, beta = self.afa(images, own.image, half.feature)
        aligned = second_half(generator, ws, Half(feature, half.picture))
        view = generator.render(aligned, cameras, ws)
        mask = visibility(surface(view.depth, cameras), side, settings)
        planes = mix(aligned, plain, mask)
        return Inversion(
            self, ws, planes, plain, aligned, mask, half, feature, gamma, beta, own=own, view=view
        )
