"""A tiny autoencoder's generator becomes one that can be sampled."""

import pytest
import torch

from faceforward.__main__ import main
from faceforward.eg3d.checkpoint import load_generator
from faceforward.eg3d.pair import load_pair
from faceforward.modules.triplane_autoencoder import TriPlaneAutoencoder
from tiny_crops import TINY, write_crops

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def given(tmp_path_factory, astronaut):
    root = tmp_path_factory.mktemp("fit")
    torch.manual_seed(0)
    (root / "pair").mkdir()
    TriPlaneAutoencoder(TINY).export(root / "pair")
    return root / "pair", write_crops(root / "crops", astronaut)


def fit(pair, crops, output, *extra):
    return main(["fit-mapping", "--pair", str(pair), "--crops", str(crops), "--output", str(output), *extra])


def test_only_the_mapping_network_changes(given, tmp_path):
    assert fit(*given, tmp_path / "g.safetensors", "--steps", "20") == 0
    before, after = (
        load_pair(str(given[0]))[0].state_dict(),
        load_generator(tmp_path / "g.safetensors").state_dict(),
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("backbone.mapping.") for name in changed)
    assert "backbone.mapping.w_avg" in changed


def test_wrong_usage(given, tmp_path, capsys):
    pair, crops = given
    (tmp_path / "g.safetensors").write_text("mine")
    assert fit(pair, crops, tmp_path / "g.safetensors") == 2
    assert "exists" in capsys.readouterr().err
    assert (tmp_path / "g.safetensors").read_text() == "mine"
    assert fit(crops, crops, tmp_path / "new.safetensors") == 2
    assert fit(pair, pair, tmp_path / "new.safetensors") == 2
    assert fit(pair, crops, tmp_path / "new.ckpt", "--steps", "1") == 2
    assert "safetensors" in capsys.readouterr().err
    assert main(["fit-mapping"]) == 2
