"""The mapping network learns the distribution of w's, free of cameras."""

import pytest
import torch

from faceforward.eg3d import cameras
from faceforward.eg3d.backbone import Mapping
from faceforward.eg3d.mapping_fit import energy_distance, fit_mapping

pytestmark = pytest.mark.usefixtures("one_thread")


def test_energy_distance_is_none_between_equal_distributions():
    rng = torch.Generator().manual_seed(0)
    one, other = (torch.randn(2000, 3, generator=rng) for _ in range(2))
    assert abs(energy_distance(one, other).item()) < 0.01
    assert energy_distance(one, other + 1).item() > 0.3
    # In one dimension: 2 E|X - Y| - E|X - X'| - E|Y - Y'| of two points and one.
    assert energy_distance(torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [5.0]])).item() == 6


def test_samples_are_distributed_as_the_photographs():
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(1)
    base = torch.randn(3000, 2, generator=rng) @ torch.tensor([[1.0, 0.5, 0, 0.2], [0, 0.7, 0.4, -0.3]])
    ws = torch.nn.functional.leaky_relu(base + torch.tensor([0.5, -0.2, 1, 0]), 0.2) * 2**0.5
    labels = cameras.labels(cameras.look_at(torch.rand(3000, generator=rng) * 60 - 30))
    mapping = Mapping(8, 25, 4, 3)
    told = []
    fit_mapping(mapping, ws, labels, steps=400, batch=256, progress=lambda step, loss: told.append(loss))
    with torch.no_grad():
        made = mapping(torch.randn(3000, 8, generator=rng), labels)[:, 0]
    assert told[-1] < 0.1 * told[0]
    assert energy_distance(made, ws).item() < 0.03
    torch.testing.assert_close(torch.cov(made.T), torch.cov(ws.T), atol=0.25, rtol=0.15)
    torch.testing.assert_close(mapping.w_avg, ws.mean(dim=0))
