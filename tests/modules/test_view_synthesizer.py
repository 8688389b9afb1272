"""When a view is doubted, and in which words."""

import numpy as np
import pytest
import torch

from faceforward.faces.relief import ReliefView
from faceforward.modules.view_synthesizer import SeenView

LIMIT = 0.45
VIEW = ReliefView(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32), np.ones((4, 4), np.float32))


@pytest.mark.parametrize(
    ("within", "distance", "error", "words"),
    [
        (True, 0.2, 3.0, ()),
        (True, 0.2, None, ()),
        (False, 0.2, 3.0, ("farther",)),
        (True, None, None, ("no face",)),
        (True, LIMIT + 0.01, 3.0, ("stranger",)),
        (False, 0.7, 14.0, ("farther", "stranger", "turned 14 degrees")),
    ],
)
def test_doubts(within, distance, error, words):
    doubts = SeenView((0.0, 0.0), torch.zeros(25), VIEW, within, distance, error, LIMIT).doubts
    assert len(doubts) == len(words)
    assert all(word in doubt for word, doubt in zip(words, doubts, strict=True))
