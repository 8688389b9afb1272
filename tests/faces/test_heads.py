"""Heads of photographs: what is behind a relief comes from any encoder of heads, and results say which."""

import json

import numpy as np
import pytest
import torch

from faceforward.eg3d.cameras import INTRINSICS, labels, look_at, project
from faceforward.eg3d.checkpoint import save_generator
from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.eg3d.image_encoder import ImageEncoder
from faceforward.eg3d.pair import PairEncoder, save_pair
from faceforward.errors import ConfigurationError
from faceforward.faces.heads import ReliefHeads
from faceforward.faces.mean_face import mean_face
from faceforward.faces.pose import WORLD_ORIGIN, WORLD_SCALE
from faceforward.goae import checkpoint
from faceforward.goae.heads import GoaeHeads
from tiny_crops import TINY
from tiny_goae import tiny_goae

SIDE = 128


@pytest.fixture
def pair(tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "secret" / "pair"
    folder.mkdir(parents=True)
    save_pair(TriPlaneGenerator(TINY), ImageEncoder(TINY.w, resolution=8, widths=(4, 8), hidden=8), folder)
    return str(folder)


@pytest.fixture
def photograph(astronaut):
    """A crop, its camera from the front, and a mesh of the mean face in it."""
    label = labels(look_at(0.0))[0]
    space = torch.from_numpy(mean_face().points * WORLD_SCALE + WORLD_ORIGIN).float()
    flat = project(space, label[None])[0].numpy() * SIDE
    deep = -(space[:, 2:].numpy() - space[:, 2].mean().item()) * INTRINSICS[0] * SIDE / 2.7
    crop = np.ascontiguousarray(astronaut[20 : 20 + SIDE, 160 : 160 + SIDE])
    return crop, label, np.hstack([flat, deep]).astype(np.float64)


def test_an_encoder_and_its_name_are_the_same_head(pair, photograph):
    camera = labels(look_at(30.0))
    shown = [ReliefHeads(behind).build(*photograph).render(camera, 64)[0].image for behind in (pair, None)]
    given = ReliefHeads(encoder=PairEncoder(pair)).build(*photograph).render(camera, 64)[0].image
    assert (given == shown[0]).all()
    assert (shown[0] != shown[1]).any()


def test_results_know_the_weights_and_no_folder(pair):
    heads = ReliefHeads(pair)
    assert "secret" not in json.dumps(heads.settings()) + heads.why
    assert "(pair)" in heads.why
    assert len(heads.settings()["behind"]["weights"]) == 2
    assert ReliefHeads().settings() == {"behind": None}


def test_no_pair_is_said_at_once(tmp_path):
    with pytest.raises(ConfigurationError, match="none-such"):
        ReliefHeads(str(tmp_path / "none-such"))


def test_two_heads_behind_are_one_too_many(pair):
    with pytest.raises(ConfigurationError, match="give one of them"):
        ReliefHeads(pair, encoder=PairEncoder(pair))


def test_goae_stands_behind_a_relief(tmp_path, photograph):
    network = tiny_goae()
    save_generator(network.generator, tmp_path / "generator.safetensors")
    for part in (network.encoder, network.afa):
        checkpoint.save_part(part, tmp_path)
    encoder = GoaeHeads(str(tmp_path / "generator.safetensors"), str(tmp_path))
    heads = ReliefHeads(encoder=encoder)
    assert "(goae)" in heads.why
    assert json.loads(json.dumps(heads.settings())) == {"behind": encoder.settings()}
    camera = labels(look_at(30.0))
    filled = heads.build(*photograph).render(camera, 64)[0].image
    assert (filled != ReliefHeads().build(*photograph).render(camera, 64)[0].image).any()
    other = tiny_goae(seed=1)
    for part in (other.encoder, other.afa):
        checkpoint.save_part(part, tmp_path)
    assert GoaeHeads(network.generator, tmp_path).settings() != encoder.settings()
