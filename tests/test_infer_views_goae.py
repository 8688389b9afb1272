"""`infer views` with GOAE's weights: tiny networks of the real classes in a cache of their own."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from faceforward.eg3d.checkpoint import save_generator
from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.eg3d.pair import PairEncoder
from faceforward.errors import ConfigurationError
from faceforward.faces.heads import GeneratedHeads, ReliefHeads, default_heads
from faceforward.goae.checkpoint import save_part
from faceforward.goae.heads import GoaeHeads
from faceforward.infer import main
from tiny_crops import TINY
from tiny_goae import tiny_goae

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]

FEW = ("--model.init_args.yaws=[-20,20]", "--model.init_args.size=64", "--model.init_args.frames=2")
GENERATOR = "eg3d/ffhqrebalanced512-128.safetensors"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A user's cache with a generator and GOAE over it."""
    folder = tmp_path_factory.mktemp("cache") / "faceforward"
    for part in ("eg3d", "goae"):
        (folder / part).mkdir(parents=True)
    network = tiny_goae()
    save_generator(network.generator, folder / GENERATOR)
    save_part(network.encoder, folder / "goae")
    save_part(network.afa, folder / "goae")
    return folder


@pytest.fixture
def cached(cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    return cache


@pytest.fixture(scope="module")
def photos(tmp_path_factory, astronaut):
    """A portrait, two faces side by side, and a picture without any."""
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(astronaut).save(folder / "a.png")
    Image.fromarray(np.hstack([astronaut[:, 60:400], astronaut[:, 60:400]])).save(folder / "b.png")
    Image.new("RGB", (300, 300), "white").save(folder / "c.png")
    return folder


def views_of(output, case):
    return json.loads((output / "cases" / case / "views" / "photograph" / "views.json").read_text("utf-8"))


def test_goae_is_taken_where_its_weights_are_and_keeps_the_photograph(cached, photos, tmp_path):
    assert main(["views", f"--photos={photos}", f"--output={tmp_path}", *FEW]) == 1
    record = views_of(tmp_path, "a")
    assert record["head"] == "goae"
    assert "the photograph's own" in record["why"]
    assert record["psnr"] > 28  # the photograph's own view is the photograph
    assert record["own_share"] > 0.3
    assert views_of(tmp_path, "b")["head"] == "goae"
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert {line["id"]: line["status"] for line in lines} == {"a": "done", "b": "done", "c": "skipped"}


def test_every_pixel_may_be_the_network_s_and_says_so(cached, photos, tmp_path):
    heads = "--model.init_args.heads"
    chosen = [
        f"{heads}=faceforward.faces.heads.GeneratedHeads",
        f"{heads}.init_args.encoder=faceforward.goae.heads.GoaeHeads",
        f"{heads}.init_args.encoder.init_args.generator={cached / GENERATOR}",
        f"{heads}.init_args.encoder.init_args.folder={cached / 'goae'}",
        f"{heads}.init_args.photograph=false",
    ]
    assert main(["views", f"--photos={photos / 'a.png'}", f"--output={tmp_path}", *FEW, *chosen]) == 0
    record = views_of(tmp_path, "a")
    assert (record["head"], record["own_share"]) == ("goae", 0)
    with Image.open(tmp_path / "cases" / "a" / "views" / "photograph" / "yaw-20_pitch+0.png") as picture:
        assert "digitalsourcetype/trainedAlgorithmicMedia" in picture.text["XML:com.adobe.xmp"]
    # The same photograph and weights give the same bytes.
    again = tmp_path / "again"
    assert main(["views", f"--photos={photos / 'a.png'}", f"--output={again}", *FEW, *chosen]) == 0
    for name in ("yaw-20_pitch+0.png", "depth.png", "turntable.mp4"):
        one, two = (root / "cases" / "a" / "views" / "photograph" / name for root in (tmp_path, again))
        assert one.read_bytes() == two.read_bytes()


def test_without_goae_the_photograph_is_turned_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert isinstance(default_heads(), ReliefHeads)


def test_the_small_pair_is_named_so():
    heads = GeneratedHeads(PairEncoder(), photograph=False)
    assert heads.name == "small"
    assert heads.settings()["photograph"] is False


def test_weights_that_do_not_fit_end_the_run_in_a_sentence(cached, photos, tmp_path, capsys, monkeypatch):
    other = tmp_path / "cache" / "faceforward"
    for part in ("eg3d", "goae"):
        (other / part).mkdir(parents=True)
    network = tiny_goae()
    save_part(network.encoder, other / "goae")
    save_part(network.afa, other / "goae")
    torch.manual_seed(1)
    save_generator(TriPlaneGenerator(dataclasses.replace(TINY, w=16)), other / GENERATOR)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["views", f"--photos={photos / 'a.png'}", f"--output={tmp_path / 'out'}", *FEW]) == 2
    assert "generator" in capsys.readouterr().err
    cut = other / "goae" / "goae_encoder.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    assert main(["views", f"--photos={photos / 'a.png'}", f"--output={tmp_path / 'out'}", *FEW]) == 2
    assert "goae_encoder.safetensors" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="goae_encoder"):
        GoaeHeads(str(cached / GENERATOR), tmp_path)
