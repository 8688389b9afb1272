"""A generator of the real class at a size that tests can pay for."""

import pytest
import torch

from faceforward.eg3d.generator import TriPlaneGenerator
from tiny_crops import TINY

FRONTAL = [1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 2.7, 0, 0, 0, 1, 4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]
# Twenty degrees to the side, at the same distance.
ASIDE = [
    *(0.9397, 0, -0.3420, 0.9234, 0, -1, 0, 0, -0.3420, 0, -0.9397, 2.5372, 0, 0, 0, 1),
    *(4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1),
]


@pytest.fixture(scope="session")
def cameras():
    """`(2, 25)`: from the front and from the side."""
    return torch.tensor([FRONTAL, ASIDE])


@pytest.fixture(scope="session")
def tiny_config():
    """16 px planes of 4 channels, 8 px raw, 32 px in the end."""
    return TINY


@pytest.fixture
def tiny(tiny_config):
    """The generator, with noise that counts."""
    torch.manual_seed(0)
    generator = TriPlaneGenerator(tiny_config).eval()
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, 0.1)
    return generator
