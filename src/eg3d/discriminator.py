"""EG3D's dual discriminator: the residual one of StyleGAN2 over final and raw picture, told the camera."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from faceforward.eg3d.backbone import Mapping, widths_by_side
from faceforward.eg3d.layers import GAIN, FullyConnected, leaky_relu
from faceforward.eg3d.resampling import low_pass, resample_filter, resized

RESIDUAL = math.sqrt(0.5)  # of each of two branches, so that their sum keeps its variance


class Convolution(nn.Module):
    """Convolution with equalised learning rate; halves the side behind a low-pass where asked to.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the kernel, 1 or 3.
        down: Halve the side.
        activation: Bias and leaky ReLU; without it neither.
        gain: Of the output, behind the activation.
        clamp: Bound of the output; None is none.
    """

    resample_filter: torch.Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        down: bool = False,
        activation: bool = True,
        gain: float = GAIN,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.down, self.gain, self.clamp = down, gain, clamp
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if activation else None
        self.weight_gain = 1 / math.sqrt(inputs * kernel**2)
        self.register_buffer("resample_filter", resample_filter())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, inputs, H, W)` to `(N, outputs, H, W)`, or half of each side."""
        weight = self.weight.to(x.dtype) * self.weight_gain
        padding = weight.shape[-1] // 2
        if not self.down:
            x = F.conv2d(x, weight, padding=padding)
        elif padding:
            x = F.conv2d(low_pass(x, self.resample_filter, padding=2), weight, stride=2)
        else:
            x = F.conv2d(low_pass(x, self.resample_filter, padding=1, stride=2), weight)
        if self.bias is None:
            return x * self.gain
        return leaky_relu(x, self.bias, gain=self.gain, clamp=self.clamp)


class DiscriminatorBlock(nn.Module):
    """Two convolutions that halve the side, and a linear way around them (arXiv 1912.04958, figure 7).

    Args:
        inputs: Channels in.
        outputs: Channels out.
        picture: Channels of the picture that the first block begins with; 0 in later blocks.
        clamp: Bound of every convolution's output.
    """

    def __init__(self, inputs: int, outputs: int, *, picture: int = 0, clamp: float | None = None) -> None:
        super().__init__()
        self.register_buffer("resample_filter", resample_filter())
        self.fromrgb = Convolution(picture, inputs, 1, clamp=clamp) if picture else None
        self.conv0 = Convolution(inputs, inputs, 3, clamp=clamp)
        bound = None if clamp is None else clamp * RESIDUAL
        self.conv1 = Convolution(inputs, outputs, 3, down=True, gain=1.0, clamp=bound)  # GAIN * RESIDUAL is 1
        self.skip = Convolution(inputs, outputs, 1, down=True, activation=False, gain=RESIDUAL)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, inputs or picture, H, W)` to `(N, outputs, H/2, W/2)`."""
        if self.fromrgb is not None:
            x = self.fromrgb(x)
        return self.skip(x) + self.conv1(self.conv0(x))


class DiscriminatorEnd(nn.Module):
    """Features at 4 x 4 to as many numbers as the camera's code has.

    Args:
        channels: In and out.
        group: Samples whose deviation is compared.
        clamp: Bound of the convolution's output.
    """

    def __init__(self, channels: int, *, group: int, clamp: float | None = None) -> None:
        super().__init__()
        self.group = group
        self.conv = Convolution(channels + 1, channels, 3, clamp=clamp)
        self.fc = FullyConnected(channels * 16, channels, activation=True)
        self.out = FullyConnected(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, channels, 4, 4)` to `(N, channels)`."""
        x = self.conv(with_deviation(x, self.group))
        return self.out(self.fc(x.flatten(1)))


class DualDiscriminator(nn.Module):
    """Tells whether two pictures are real, agree and are seen from the camera (arXiv 2112.07945, 4.3).

    Args:
        resolution: Side of the final picture, a power of two from 8.
        condition: Width of the camera label.
        channel_base: Channels at side r are `min(channel_base / r, channel_max)`.
        channel_max: See there.
        mapping_layers: Fully connected layers of the camera's mapping network.
        group: Samples whose deviation is compared; a batch is smaller, or a multiple of it.
        clamp: Bound of every convolution's output: 256 in the release, which trained it in float16.
    """

    def __init__(
        self,
        resolution: int = 512,
        *,
        condition: int = 25,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 8,
        group: int = 4,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        rising = widths_by_side(resolution, channel_base, channel_max, whose="discriminator")
        self.register_buffer("resample_filter", resample_filter())
        (*self.sides, _), widths = reversed(rising), list(reversed(rising.values()))
        for side, inputs, outputs in zip(self.sides, widths, widths[1:], strict=False):
            picture = 6 if side == resolution else 0
            self.add_module(f"b{side}", DiscriminatorBlock(inputs, outputs, picture=picture, clamp=clamp))
        self.b4 = DiscriminatorEnd(widths[-1], group=group, clamp=clamp)
        self.mapping = Mapping(0, condition, widths[-1], 0, layers=mapping_layers)

    def forward(self, image: torch.Tensor, raw: torch.Tensor, cameras: torch.Tensor) -> torch.Tensor:
        """Logits `(N, 1)`, high for real pictures.

        Args:
            image: `(N, 3, resolution, resolution)` in about [-1, 1]; real ones as they are.
            raw: `(N, 3, r, r)`; of a real picture itself, made smaller.
            cameras: `(N, condition)`.

        Raises:
            ValueError: The picture has another size, or the batch cannot be cut into groups.
        """
        side = self.sides[0]
        if image.shape[1:] != (3, side, side):
            raise ValueError(
                f"the discriminator takes pictures of (3, {side}, {side}): {tuple(image.shape[1:])}"
            )
        x = torch.cat([image, resized(raw, side)], dim=1)
        for side in self.sides:
            x = self.get_submodule(f"b{side}")(x)
        x, code = self.b4(x), self.mapping(None, cameras)
        return (x * code).sum(dim=1, keepdim=True) / math.sqrt(code.shape[1])


def with_deviation(x: torch.Tensor, group: int) -> torch.Tensor:
    """Append the standard deviation within each group as a channel, so that lack of variety shows.

    Minibatch standard deviation of arXiv 1710.10196, section 3. Samples `n`, `n + N/G`, ... are a group of G.

    Args:
        x: `(N, C, H, W)`.
        group: G; a smaller batch is one group.

    Returns:
        `(N, C + 1, H, W)`.

    Raises:
        ValueError: N is no multiple of G.
    """
    count, _, height, width = x.shape
    size = min(group, count)
    if count % size:
        raise ValueError(f"a batch of {count} has no groups of {size}: give a multiple, or another `group`")
    deviation = (x.reshape(size, -1, *x.shape[1:]).var(dim=0, correction=0) + 1e-8).sqrt()
    deviation = deviation.mean(dim=(1, 2, 3)).repeat(size)
    return torch.cat([x, deviation[:, None, None, None].expand(-1, 1, height, width)], dim=1)


def r1_penalty(
    discriminator: DualDiscriminator, image: torch.Tensor, raw: torch.Tensor, cameras: torch.Tensor
) -> torch.Tensor:
    """Squared norm of the logits' gradient at real pictures, over both pictures (R1 of arXiv 1801.04406).

    Args:
        discriminator: Its parameters get gradients of the result.
        image: See `DualDiscriminator`.
        raw: See there.
        cameras: See there.

    Returns:
        `(N,)`, not weighted.
    """
    image, raw = image.detach().requires_grad_(), raw.detach().requires_grad_()
    logits = discriminator(image, raw, cameras)
    gradients = torch.autograd.grad(logits.sum(), [image, raw], create_graph=True)
    return gradients[0].square().sum(dim=(1, 2, 3)) + gradients[1].square().sum(dim=(1, 2, 3))
