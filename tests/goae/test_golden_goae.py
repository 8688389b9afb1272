"""The encoder and the whole inversion beside the numbers of the published implementation."""

import json

import numpy as np
import pytest
import torch

from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.goae.afa import Afa
from faceforward.goae.encoder import GoaeEncoder
from faceforward.goae.inversion import Goae
from golden_eg3d import away, fill_eg3d
from golden_goae import fill_goae
from golden_pipeline import ROOT

pytestmark = [
    pytest.mark.golden,
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "goae_net.npz").exists(), reason=f"no golden numbers under {ROOT}"),
]
NEAR = 1e-4  # the mask as well: no pixel of it lies so near the threshold that it falls on the other side


def golden(name):
    with np.load(ROOT / name) as numbers:
        return dict(numbers)


def shapes(name):
    return json.loads((ROOT / name).read_text())


@pytest.fixture(scope="module")
def network():
    salt = shapes("set.json")["salt"]
    generator = fill_eg3d(TriPlaneGenerator(), salt, shapes("eg3d_manifest.json"))
    encoder = fill_goae(GoaeEncoder(), salt, shapes("goae_encoder_manifest.json"))
    return Goae(generator, encoder, fill_goae(Afa(), salt, shapes("goae_afa_manifest.json"))).eval()


@pytest.fixture(scope="module")
def encoded(network):
    numbers = golden("goae_encoder.npz")
    picture = torch.from_numpy(numbers.pop("x256")).float()
    with torch.inference_mode():
        ws, base = network.encoder.codes(picture)
        last, (fine, mid, coarse, query) = network.encoder.swin_model(picture)
    found = {
        "ws": ws,
        "ws_base": base,
        "swin_last": last.transpose(1, 2)[:, ::16],
        "swin_query": query.transpose(1, 2)[:, ::16],
        "swin_coarse": coarse[:, ::16, ::8],
        "swin_mid": mid[:, ::64, ::8],
        "swin_fine": fine[:, ::128, ::8],
    }
    return numbers, found


@pytest.fixture(scope="module")
def inverted(network):
    numbers = golden("goae_net.npz")
    picture, camera = torch.from_numpy(numbers.pop("x512")).float(), torch.from_numpy(numbers.pop("c"))
    done = network.invert(picture, camera)
    found = {
        "rec_ws": done.ws,
        "image_sub": done.view.image[:, :, ::8, ::8],
        "w_image_sub": done.own.image[:, :, ::8, ::8],
        "depth_sub": done.view.depth[:, :, ::4, ::4],
        "mask": done.mask,
        "mix_sub": done.planes[:, :, ::8, ::32, ::32],
        "afa_feature_sub": done.feature[:, ::32],
        "gamma_mean": done.gamma.mean(dim=(2, 3)),
        "beta_mean": done.beta.mean(dim=(2, 3)),
        "render_image_sub": done.render(camera).image[:, :, ::8, ::8],
    }
    return numbers, found


def compare(numbers, found):
    assert set(found) == set(numbers)
    far = {name: away(found[name], numbers[name]) for name in numbers}
    assert {name: value for name, value in far.items() if not value <= NEAR} == {}


def test_encoder(encoded):
    compare(*encoded)


def test_whole_inversion(inverted):
    compare(*inverted)


@pytest.mark.parametrize("which", ["encoded", "inverted"])
def test_a_spoiled_number_is_noticed(which, request):
    numbers, found = request.getfixturevalue(which)
    for name, values in numbers.items():
        spoiled = values.copy()
        flat = spoiled.reshape(-1)
        flat[np.abs(flat).argmax()] *= 1.05
        with pytest.raises(AssertionError):
            compare(numbers | {name: spoiled}, found)
