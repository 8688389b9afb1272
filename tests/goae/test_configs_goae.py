"""The small experiments' networks fit the generator that comes with the package, and 32 MB at most."""

from pathlib import Path

import pytest
import torch
import yaml

from faceforward.eg3d.pair import load_pair
from faceforward.goae.afa import Afa
from faceforward.goae.checkpoint import _afa_config, _encoder_config, save_part
from faceforward.goae.encoder import GoaeEncoder
from faceforward.goae.inversion import Goae

EXPERIMENTS = Path(__file__).parents[2] / "configs" / "experiment"


def arguments(name):
    return yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())["model"]["init_args"]


def test_small_networks_fit_their_generator(tmp_path):
    encoder = GoaeEncoder(_encoder_config(arguments("goae_encoder_small")["encoder"]))
    afa = Afa(_afa_config(arguments("goae_afa_small")["afa"]))
    Goae(load_pair("face-eg3d-128")[0], encoder, afa)
    written = [save_part(part, tmp_path, dtype=torch.float16) for part in (encoder, afa)]
    assert sum(path.stat().st_size for path in written) < 32e6


@pytest.mark.parametrize("name", ["goae_encoder", "goae_afa"])
def test_large_ones_have_the_published_shapes(name):
    assert not {"encoder", "afa"} & {key for key, value in arguments(name).items() if isinstance(value, dict)}
