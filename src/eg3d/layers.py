"""Layers of StyleGAN2 (Karras et al., CVPR 2020, arXiv 1912.04958) without compiled operators.

Parameters have the names of the published checkpoints. Weights are stored with unit variance and scaled when
used (equalised learning rate); that is part of the function, not of the initialisation.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from faceforward.eg3d.resampling import low_pass, resample_filter, upsample, widened

Noise = Literal["const", "random", "none"]
LEAK = 0.2
GAIN = math.sqrt(2)  # keeps the variance through the leaky ReLU


def leaky_relu(
    x: torch.Tensor, bias: torch.Tensor, *, gain: float = GAIN, clamp: float | None = None
) -> torch.Tensor:
    """Bias, leaky ReLU, gain and clamp of a feature map or of rows."""
    bias = bias.to(x.dtype).reshape(1, -1, *[1] * (x.ndim - 2))
    if torch.is_grad_enabled():
        x = F.leaky_relu(x + bias, LEAK) * gain
        return x if clamp is None else x.clamp(-clamp, clamp)
    x = F.leaky_relu_((x + bias).mul_(gain), LEAK)  # one large tensor instead of four
    return x if clamp is None else x.clamp_(-clamp, clamp)


def unit_second_moment(x: torch.Tensor) -> torch.Tensor:
    """Rows scaled to a mean square of one."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class FullyConnected(nn.Module):
    """Linear layer with equalised learning rate.

    Args:
        inputs: Width in.
        outputs: Width out.
        activation: Leaky ReLU with its gain, or none.
        learning_rate: Factor of the learning rate, 0.01 in the mapping network.
        bias: Start of the bias.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        activation: bool = False,
        learning_rate: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / learning_rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.weight_gain = learning_rate / math.sqrt(inputs)
        self.bias_gain = learning_rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, inputs)` to `(N, outputs)`."""
        weight, bias = self.weight.to(x.dtype) * self.weight_gain, self.bias.to(x.dtype) * self.bias_gain
        if not self.activation:
            return F.linear(x, weight, bias)
        return leaky_relu(F.linear(x, weight), bias)


def modulated_convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    *,
    kernel: torch.Tensor | None = None,
    demodulate: bool = True,
) -> torch.Tensor:
    """Convolution whose weights every sample scales by its own styles (arXiv 1912.04958, equations 1 and 3).

    Scaling the activations before and after is the same as scaling the weights, so that one convolution
    serves samples of different styles; where all share one, the weights are scaled.

    Args:
        x: `(N, I, H, W)`.
        weight: `(O, I, k, k)`.
        styles: `(N, I)`, or `(1, I)` for all samples.
        kernel: Low-pass of an upsampling by two; None keeps the size.
        demodulate: Scale outputs to unit variance.
    """
    if demodulate and x.dtype in (torch.float16, torch.bfloat16):
        # Keeps products inside what half precision holds; both factors cancel out below.
        weight = weight * (weight[0].numel() ** -0.5 / weight.abs().amax(dim=(1, 2, 3), keepdim=True))
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
    scale = None
    if demodulate:
        energy = widened(styles).square() @ widened(weight).square().sum(dim=(2, 3)).T
        scale = (energy + 1e-8).rsqrt()
    if len(styles) == 1:
        weight = weight * styles[0, None, :, None, None]
        weight = weight if scale is None else weight * scale[0, :, None, None, None]
    else:
        x = x * styles.to(x.dtype)[:, :, None, None]
    weight = weight.to(x.dtype)
    if kernel is None:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    else:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        x = low_pass(x, kernel, padding=1, gain=4.0)
    return x if scale is None or len(scale) == 1 else x * scale.to(x.dtype)[:, :, None, None]


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias and leaky ReLU.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        style: Width of w.
        resolution: Side of the output.
        up: Double the side.
        clamp: Bound of the output; None is none.
    """

    resample_filter: torch.Tensor
    noise_const: torch.Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        style: int,
        resolution: int,
        *,
        up: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.up = up
        self.clamp = clamp
        self.affine = FullyConnected(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("resample_filter", resample_filter())
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: Noise = "const") -> torch.Tensor:
        """`(N, inputs, H, W)` and `(N, style)` to `(N, outputs, H', W')`."""
        x = modulated_convolution(
            x, self.weight, self.affine(w), kernel=self.resample_filter if self.up else None
        )
        if noise == "const":
            x = x + (self.noise_const * self.noise_strength).to(x.dtype)
        elif noise == "random":
            drawn = torch.randn(len(x), 1, *x.shape[2:], device=x.device, dtype=x.dtype)
            x = x + drawn * self.noise_strength.to(x.dtype)
        return leaky_relu(x, self.bias, clamp=self.clamp)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to picture channels, without demodulation."""

    def __init__(self, inputs: int, outputs: int, style: int, *, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = FullyConnected(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.weight_gain = 1 / math.sqrt(inputs)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """`(N, inputs, H, W)` and `(N, style)` to `(N, outputs, H, W)`."""
        styles = self.affine(w) * self.weight_gain
        x = modulated_convolution(x, self.weight, styles, demodulate=False)
        x = x + self.bias.to(x.dtype)[None, :, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class SynthesisBlock(nn.Module):
    """One resolution: two convolutions (one in the first block) and the picture's skip connection.

    Args:
        inputs: Channels in; 0 makes the first block, which begins with a learnt constant.
        outputs: Channels out.
        style: Width of w.
        resolution: Side of the output.
        picture: Channels of the picture.
        up: Double the side; False goes on at the side of what comes in.
        clamp: Bound of every convolution's output.
    """

    resample_filter: torch.Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        style: int,
        resolution: int,
        picture: int,
        *,
        up: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.up = up
        self.register_buffer("resample_filter", resample_filter())  # a name of the checkpoints
        if inputs:
            self.conv0 = SynthesisLayer(inputs, outputs, style, resolution, up=up, clamp=clamp)
        else:
            self.const = nn.Parameter(torch.randn(outputs, resolution, resolution))
        self.conv1 = SynthesisLayer(outputs, outputs, style, resolution, clamp=clamp)
        self.torgb = ToRGB(outputs, picture, style, clamp=clamp)
        self.first = not inputs

    @property
    def convolutions(self) -> int:
        """How many w's the block uses up; the picture's convolution shares the next block's first."""
        return 1 if self.first else 2

    def forward(
        self,
        x: torch.Tensor | None,
        picture: torch.Tensor | None,
        ws: torch.Tensor,
        noise: Noise = "const",
        *,
        dtype: torch.dtype | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and picture at the block's resolution.

        Args:
            x: `(N, inputs, H/2, W/2)`, or `(N, inputs, H, W)` without `up`; None in the first block.
            picture: Of the same side, `picture` channels; None in the first block.
            ws: `(N, convolutions + 1, style)`.
            noise: See `Noise`.
            dtype: Of the first block's features; later blocks go on in what they get.
        """
        if self.first:
            x = self.const.to(dtype or ws.dtype).expand(len(ws), -1, -1, -1)
        else:
            assert x is not None  # only the first block begins by itself
            # On CPUs the convolutions of this layout take half to nine tenths of the time.
            x = self.conv0(x.contiguous(memory_format=torch.channels_last), ws[:, 0], noise)
        x = self.conv1(x, ws[:, self.convolutions - 1], noise)
        # The picture is never summed in half precision: later blocks only add details to it.
        drawn = widened(self.torgb(x, ws[:, self.convolutions]))
        if picture is None:
            return x, drawn
        return x, (upsample(picture) if self.up else picture) + drawn
