"""GOAE's files: what is theirs is read, all else is refused."""

import dataclasses
import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from faceforward.__main__ import main
from faceforward.eg3d import cameras as cam
from faceforward.eg3d.resampling import resized
from faceforward.errors import ConfigurationError
from faceforward.goae import checkpoint
from faceforward.goae.afa import Afa
from faceforward.goae.heads import GoaeHeads
from tiny_goae import TINY_ENCODER, tiny_goae


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file of AFA in its real shapes, as the authors write it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("published") / "afa_FFHQ.pt"
    checkpoint.save_published(Afa(), path)
    return path


def test_a_published_file_is_converted_and_loaded(published, tmp_path, capsys):
    assert main(["convert", "goae", str(published), str(tmp_path / "goae")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'goae'}\n"
    found, wanted = checkpoint.load_afa(tmp_path / "goae"), torch.load(published, weights_only=True)
    assert found.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in found.state_dict().items())
    assert main(["convert", "goae", str(published), str(tmp_path / "goae")]) == 2
    assert "exists" in capsys.readouterr().err


def test_what_is_not_goae_is_refused(published, tmp_path, capsys):
    state = torch.load(published, weights_only=True)
    first = next(iter(state))
    cases = {
        "cut": published.read_bytes()[:-5000],
        "other": {"a": torch.zeros(2)},
        "missing": {name: value for name, value in state.items() if name != first},
        "extra": state | {"more": torch.zeros(2)},
        "shape": state | {first: torch.zeros(64, 4, 3, 3)},
        "nan": state | {first: torch.full_like(state[first], float("nan"))},
        "swin": {"swin_model.norm.weight": torch.zeros(1024)},
    }
    words = {"other": "neither", "missing": "1 missing", "extra": "1 unknown", "shape": "another shape",
             "nan": "nan", "swin": "missing"}  # fmt: skip
    for name, content in cases.items():
        path = tmp_path / f"{name}.pt"
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        assert main(["convert", "goae", str(path), str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert str(path) in said
        assert words.get(name, "") in said
    assert not (tmp_path / "out").exists()
    (tmp_path / "run.pt").write_bytes(pickle.dumps(print))
    assert main(["convert", "goae", str(tmp_path / "run.pt"), str(tmp_path / "out")]) == 2
    assert main(["convert", "goae", str(tmp_path / "none.pt"), str(tmp_path / "out")]) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_small_one_is_saved_and_gives_heads(tmp_path, dtype):
    network = tiny_goae()
    for part in (network.encoder, network.afa):
        checkpoint.save_part(part, tmp_path, dtype=dtype)
    heads = GoaeHeads(network.generator, tmp_path)
    assert heads.network.encoder.config == TINY_ENCODER
    images, cameras = torch.rand(2, 3, 48, 48), cam.labels(cam.look_at([0.0, 10.0]))
    found = heads.encode(images, cameras)
    assert len(found) == 2
    assert found[0].planes.shape == (1, 3, 4, 16, 16)
    if dtype == torch.float32:
        wanted = network.invert(resized(images, 32), cameras).planes[1]
        torch.testing.assert_close(found[1].planes[0], wanted)


def test_a_folder_without_an_encoder_says_how_to_get_it(tmp_path):
    with pytest.raises(ConfigurationError, match="faceforward convert goae"):
        checkpoint.load_encoder(tmp_path)
    (tmp_path / checkpoint.ENCODER).write_bytes(b"nothing")
    with pytest.raises(ConfigurationError, match="no part of GOAE"):
        checkpoint.load_encoder(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"codes": [1, 2]},
        {"codes": 3},
        {"hidden": 2**40},
        {"swin": [1]},
        {"swin": {"depths": [1, 1, 1]}},
        {"swin": {"depths": [60000, 1, 1, 1]}},
        {"swin": {"heads": [1, 2]}},
        {"swin": {"pretrained": [1]}},
        {"swin": {"resolution": 65536, "patch": 1, "window": 65536}},
    ],
)
def test_a_configuration_of_nonsense_is_refused_before_it_is_built(tmp_path, change):
    said = dataclasses.asdict(TINY_ENCODER)
    swin = change.get("swin", {})
    said |= change | {"swin": said["swin"] | swin if isinstance(swin, dict) else swin}
    tensors = {name: value.contiguous() for name, value in tiny_goae().encoder.state_dict().items()}
    save_file(tensors, tmp_path / checkpoint.ENCODER, {checkpoint.SHAPES: json.dumps(said)})
    with pytest.raises(ConfigurationError, match=checkpoint.ENCODER):
        checkpoint.load_encoder(tmp_path)


def test_tables_of_other_windows_are_refused(tmp_path):
    encoder = tiny_goae().encoder
    encoder.swin_model.layers[0].blocks[0].attn.relative_coords_table.mul_(1.5)
    checkpoint.save_part(encoder, tmp_path)
    with pytest.raises(ConfigurationError, match="other windows"):
        checkpoint.load_encoder(tmp_path)
