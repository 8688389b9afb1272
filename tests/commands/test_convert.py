"""`faceforward convert`: a file and 0, or nothing and 2."""

import os
import pickle

import pytest
import torch

from eg3d.official_layout import official, write_official
from faceforward.__main__ import main
from faceforward.datamodules.camera_labels import read_labels, write_labels
from faceforward.eg3d import cameras
from faceforward.eg3d.checkpoint import load_generator
from faceforward.eg3d.generator import GeneratorConfig, TriPlaneGenerator

TINY = GeneratorConfig(
    z=8, w=8, plane_resolution=16, plane_channels=4, channel_base=128, channel_max=8, features=4,
    raw_resolution=8, resolution=32, sr_widths=(8, 4), clamp=256.0,
)  # fmt: skip


@pytest.fixture
def source(tmp_path):
    torch.manual_seed(0)
    return write_official(tmp_path / "in.pkl", official(TriPlaneGenerator(TINY)))


def test_an_official_file_becomes_safetensors(source, tmp_path, capsys):
    output = tmp_path / "cache" / "eg3d" / "out.safetensors"  # as on a fresh machine: nothing of it is there
    assert main(["convert", "eg3d", str(source), str(output)]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    one, other = load_generator(source), load_generator(output)
    assert one.config == other.config == TINY
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    assert list(output.parent.iterdir()) == [output]
    assert output.stat().st_mode & 0o777 == source.stat().st_mode & 0o777  # others may read it as any file


@pytest.mark.parametrize("output", ["out.pt", "there.safetensors", "there.safetensors/o.safetensors"])
def test_where_nothing_can_be_written_nothing_is(source, tmp_path, output, capsys):
    (tmp_path / "there.safetensors").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert main(["convert", "eg3d", str(source), str(tmp_path / output)]) == 2
    assert output in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "there.safetensors").read_text() == "mine"


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_hostile_file_leaves_nothing(tmp_path, capsys):
    source = tmp_path / "in.pkl"
    source.write_bytes(pickle.dumps({"G_ema": Touch(tmp_path / "canary")}))
    assert main(["convert", "eg3d", str(source), str(tmp_path / "out.safetensors")]) == 2
    assert "posix.system" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [source]


def test_labels_become_another_form(tmp_path, capsys):
    label = cameras.labels(cameras.look_at(20.0))[0]
    write_labels({"a.png": label}, tmp_path / "dataset.json")
    for source, output in (("dataset.json", "new/cameras.json"), ("new/cameras.json", "arrays")):
        assert main(["convert", "labels", str(tmp_path / source), str(tmp_path / output)]) == 0
    torch.testing.assert_close(read_labels(tmp_path / "arrays")["a"], label)
    assert main(["convert", "labels", str(tmp_path / "arrays"), str(tmp_path / "arrays")]) == 2
    assert main(["convert", "labels", str(tmp_path / "none"), str(tmp_path / "other.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_command_explains_itself(capsys):
    assert main(["convert", "--help"]) == 0
    assert "eg3d" in capsys.readouterr().out
    assert main(["convert", "other", "a", "b"]) == 2
