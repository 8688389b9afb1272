"""The generator beside the numbers of the published implementation."""

import json

import numpy as np
import pytest
import torch

from faceforward.eg3d.generator import TriPlaneGenerator
from golden_eg3d import away, fill_eg3d
from golden_pipeline import ROOT

pytestmark = [
    pytest.mark.golden,
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "eg3d.npz").exists(), reason=f"no golden numbers under {ROOT}"),
]


@pytest.fixture(scope="module")
def golden():
    with np.load(ROOT / "eg3d.npz") as numbers:
        return dict(numbers)


@pytest.fixture(scope="module")
def generator():
    salt = json.loads((ROOT / "set.json").read_text())["salt"]
    shapes = json.loads((ROOT / "eg3d_manifest.json").read_text())
    return fill_eg3d(TriPlaneGenerator(), salt, shapes).eval()


@torch.inference_mode()
def test_whole_way(generator, golden):
    camera = torch.from_numpy(golden["c"])
    ws = generator.map(torch.from_numpy(golden["z"]), camera, truncation=0.7, cutoff=14)
    assert away(ws, golden["ws"]) < 1e-5
    planes = generator.planes(ws)
    flat = planes.flatten(1, 2)
    assert away(flat[:, ::6, ::16, ::16], golden["planes_sub"]) < 1e-5
    assert away(flat.mean(dim=(2, 3)), golden["planes_mean"]) < 1e-5
    view = generator.render(planes, camera, ws)
    assert away(view.raw, golden["image_raw"]) < 1e-5
    assert away(view.depth, golden["depth"]) < 1e-5
    assert away(view.image[:, :, ::4, ::4], golden["image_sub"]) < 1e-5
