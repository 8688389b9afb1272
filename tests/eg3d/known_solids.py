"""Planes whose density is known in closed form, and a generator of the real class that decodes them so."""

import torch

from faceforward.eg3d.generator import GeneratorConfig, TriPlaneGenerator
from faceforward.eg3d.renderer import RenderSettings

LEVEL = 10.0
STEEP = 4000.0  # change of density per squared unit


def solid(kind="ball", *, radius=0.25, centre=(0.0, 0.0, 0.0), side=64, **render):
    """A generator and `(1, 3, 4, side, side)` planes.

    ball: density is `LEVEL + STEEP * (radius ** 2 - r ** 2)`.
    shell: `LEVEL + STEEP * (0.02 - abs(radius ** 2 - r ** 2))`.
    wall: `LEVEL - STEEP * x`, solid at negative x.
    before a wall: the ball, and behind it all that has z below -0.3.
    The first three colours are `sigmoid(8 * x)`, `sigmoid(8 * y)` and `sigmoid(8 * z)`.
    """
    config = GeneratorConfig(
        z=8, w=8, plane_resolution=16, plane_channels=4, channel_base=128, channel_max=8, features=4,
        raw_resolution=16, resolution=64, sr_widths=(8, 4),
        render=RenderSettings(plane_axes="corrected", **render),
    )  # fmt: skip
    torch.manual_seed(0)
    generator = TriPlaneGenerator(config).eval()
    first, _, last = generator.decoder.net
    for layer in (first, last):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    with torch.no_grad():
        # softplus(a) - softplus(-a) = a, and their sum is |a| where a is large: each channel goes through so.
        factor = 1000.0
        for channel in range(4):
            first.weight[2 * channel, channel] = factor * 2  # of sqrt(4 inputs)
            first.weight[2 * channel + 1, channel] = -factor * 2
        density = torch.zeros(64)
        density[:2] = torch.tensor([1.0, 1.0 if kind == "shell" else -1.0]) * -STEEP / factor * 8
        if kind == "before a wall":  # the greater of two: the ball's, and what the wall's has more
            first.weight[8, 0], first.weight[8, 3], first.bias[8] = factor * 2, -factor * 2, -factor * 0.3
            density[8] = STEEP / factor * 8
        last.weight[0] = density
        last.bias[0] = LEVEL + (STEEP * 0.02 if kind == "shell" else 0)
        for colour in range(3):
            last.weight[1 + colour, 2 + 2 * colour] = 8.0 / factor * 8  # of sqrt(64 hidden)
            last.weight[1 + colour, 3 + 2 * colour] = -8.0 / factor * 8
    place = ((torch.arange(side) + 0.5) / side - 0.5) * config.render.box_warp
    planes = torch.zeros(1, 3, 4, side, side)
    for plane, (across, down) in enumerate(((0, 1), (0, 2), (2, 1))):
        first_axis, second_axis = place[None].expand(side, -1), place[:, None].expand(-1, side)
        if kind == "wall":
            planes[0, plane, 0] = 1.5 * first_axis if across == 0 else 0
        else:
            square = (first_axis - centre[across]) ** 2 + (second_axis - centre[down]) ** 2
            planes[0, plane, 0] = 1.5 * square - radius**2
        # Each axis lies in two of the three planes, and features are their mean.
        planes[0, plane, 1 + across] += 1.5 * first_axis
        planes[0, plane, 1 + down] += 1.5 * second_axis
    return generator, planes
