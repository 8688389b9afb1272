"""Generators from NVIDIA's layout and other files, and that nothing in a file runs."""

import dataclasses
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from eg3d.hostile import corpus
from eg3d.official_layout import EasyDict, official, persistent, their_modules, write_official
from faceforward.eg3d import checkpoint, unpickle
from faceforward.eg3d.checkpoint import load_generator, save_generator
from faceforward.eg3d.configs import config_from
from faceforward.eg3d.generator import GeneratorConfig, TriPlaneGenerator
from faceforward.eg3d.pickled_values import read_values
from faceforward.errors import ConfigurationError

CORPUS = corpus("")


def same(one, other):
    assert one.config == other.config
    state = other.state_dict()
    assert list(one.state_dict()) == list(state)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def read(data):
    return read_values(io.BytesIO(data), len(data))


def pickled(value, protocol=4):
    with their_modules():
        return pickle.dumps(value, protocol)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_an_official_file_gives_equal_pictures(tmp_path, tiny, cameras, protocol):
    path = write_official(tmp_path / "tiny.pkl", official(tiny), protocol=protocol)
    loaded = load_generator(path)
    same(loaded, tiny)
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    z = torch.randn(2, tiny.config.z, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = loaded(z, cameras), tiny(z, cameras)
    for name in ("image", "raw", "depth", "opacity"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize(
    "changes",
    [
        {"clamp": 256, "sr_clamp": None, "condition_zero": True, "condition_scale": 0.5},
        {"mapping_layers": 3, "decoder_learning_rate": 2, "sr_antialias": False, "raw_resolution": 4},
        {"render": {"plane_axes": "corrected", "white_back": True, "ray_start": 0.1, "box_warp": 1.6}},
    ],
)
def test_settings_of_an_official_file_are_kept(tmp_path, tiny_config, changes):
    config = config_from(dataclasses.asdict(tiny_config) | changes)
    generator = TriPlaneGenerator(config)
    same(load_generator(write_official(tmp_path / "tiny.pkl", official(generator))), generator)


def test_arguments_by_position_and_no_axes_are_the_release(tmp_path, tiny):
    theirs = official(tiny)
    names = ("z_dim", "c_dim", "w_dim")
    theirs._init_args = tuple(theirs._init_kwargs.pop(name) for name in names)
    del theirs.renderer.plane_axes
    same(load_generator(write_official(tmp_path / "tiny.pkl", theirs)), tiny)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_arrays_and_numbers_are_read(protocol):
    wide = np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3))
    value = {"a": wide, "b": np.float64(0.5), "c": {1, 2}, "d": EasyDict(x=[None, True, b"b", -3, 2**40])}
    found = read(pickled(value, protocol))
    np.testing.assert_array_equal(found.pop("a"), wide)
    assert found == {name: value[name] for name in "bcd"}
    big = np.arange(3, dtype=">i4")
    with pytest.raises(pickle.UnpicklingError, match="little-endian"):
        read(pickled(big))
    with pytest.raises(pickle.UnpicklingError, match="does not fit its bytes"):
        read(pickled(wide).replace(b"K\x02K\x03", b"K\x02K\x04"))


def test_tensors_of_every_kind_are_read():
    for dtype in (torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool):
        value = torch.tensor([[1, 0, 1], [0, 1, 1]]).to(dtype).T
        assert torch.equal(read(pickled(value)), value)
    assert read(pickled(torch.empty(0, 3))).shape == (0, 3)
    parameter = torch.nn.Parameter(torch.ones(2))
    assert torch.equal(read(pickled(parameter)), parameter)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda g: g.rendering_kwargs.update(clamp_mode="relu"), "clamp_mode is 'relu'"),
        (lambda g: g.rendering_kwargs.update(clamp_mode=[]), "clamp_mode is list"),
        (lambda g: g.rendering_kwargs.update(ray_start="auto"), "ray_start cannot be 'auto'"),
        (lambda g: g.rendering_kwargs.update(box_warp=float("nan")), "box_warp cannot be nan"),
        (lambda g: g._init_kwargs.update(mapping_kwargs={"lr_multiplier": 1}), "'lr_multiplier'"),
        (lambda g: g._init_kwargs.update(mapping_kwargs={"num_layers": 2**20}), "layers and"),
        (lambda g: g._init_kwargs.update(channel_base=2**40), "channel_base cannot be"),
        (lambda g: g._init_kwargs.update(z_dim=2**20), "1 of another shape"),
        (lambda g: g._init_kwargs.pop("rendering_kwargs"), "'rendering_kwargs' is missing"),
        (lambda g: setattr(g.superresolution, "input_resolution", 16), "four times"),
        (lambda g: setattr(g, "superresolution", persistent("SuperresolutionHybrid4X")), "Hybrid4X"),
        (lambda g: setattr(g.renderer, "plane_axes", torch.zeros(3, 3, 3)), "axes that no release has"),
        (lambda g: g.backbone.mapping._modules.pop("embed"), "these are not the weights"),
        (lambda g: g.decoder._buffers.update(x="text"), "'x' is no tensor"),
        (lambda g: g.decoder._modules.update(again=g.decoder.net), "4 unknown"),
        (lambda g: g.decoder._buffers.update(extra=torch.ones(1)), r"1 unknown \(decoder.extra\)"),
        (lambda g: g.decoder._modules.update(deep=chain(40)), "without an end"),
        (lambda g: g.decoder._modules.update(wide=shared(16)), "without an end"),
    ],
)
def test_another_generator_is_refused(tmp_path, tiny, change, told):
    theirs = official(tiny)
    change(theirs)
    path = write_official(tmp_path / "tiny.pkl", theirs)
    with pytest.raises(ConfigurationError, match=told) as caught:
        load_generator(path)
    assert str(path) in str(caught.value)


def chain(length):
    """Modules in one another."""
    module = torch.nn.Sequential()
    for _ in range(length):
        outer = torch.nn.Sequential()
        outer.add_module("module", module)
        module = outer
    return module


def shared(depth):
    """A module that stands in the next one twice, and so on: few objects, many names."""
    module = torch.nn.Sequential()
    for _ in range(depth):
        module = torch.nn.Sequential(module, module)
    return module


@pytest.mark.parametrize("value", [[], {}, {"G_ema": 3}, {"G_ema": None}])
def test_a_pickle_without_a_generator_is_refused(tmp_path, value):
    path = tmp_path / "tiny.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(ConfigurationError, match="there is no G_ema"):
        load_generator(path)


def test_a_pickle_has_a_limit_of_steps(monkeypatch):
    monkeypatch.setattr(unpickle, "STEPS", 10)
    with pytest.raises(pickle.UnpicklingError, match="more than 10 steps"):
        read(b"\x80\x04" + b"N" * 10 + b".")


@pytest.mark.parametrize("ending", [".pt", ".pth", ".safetensors"])
def test_a_state_dict_is_read_with_or_without_its_configuration(tmp_path, tiny, ending):
    path, state = tmp_path / f"tiny{ending}", tiny.state_dict()
    save_file(state, path) if ending == ".safetensors" else torch.save(state, path)
    same(load_generator(path, tiny.config), tiny)
    release = load_generator(path)  # shapes from tensors, the rest from the release
    assert release.config == dataclasses.replace(
        GeneratorConfig(),
        **{name: getattr(tiny.config, name) for name in ("z", "w", "plane_resolution", "plane_channels")},
        **{name: getattr(tiny.config, name) for name in ("channel_base", "channel_max", "features")},
        **{name: getattr(tiny.config, name) for name in ("raw_resolution", "resolution", "sr_widths")},
    )


def test_a_checkpoint_with_a_state_dict_in_it_is_read(tmp_path, tiny):
    torch.save({"state_dict": tiny.state_dict(), "step": 3}, tmp_path / "tiny.pt")
    same(load_generator(tmp_path / "tiny.pt", tiny.config), tiny)


def test_a_saved_generator_says_its_configuration(tmp_path, tiny):
    config = dataclasses.replace(tiny.config, clamp=3.0, condition_zero=True)
    generator = TriPlaneGenerator(config)
    save_generator(generator, tmp_path / "tiny.safetensors")
    same(load_generator(tmp_path / "tiny.safetensors", tiny.config), generator)
    save_generator(generator, tmp_path / "half.safetensors", dtype=torch.float16)
    assert all(value.dtype == torch.float16 for value in load_file(tmp_path / "half.safetensors").values())
    half = load_generator(tmp_path / "half.safetensors")
    assert half.decoder.net[0].weight.dtype == torch.float32
    torch.testing.assert_close(
        half.decoder.net[0].weight, generator.decoder.net[0].weight, rtol=1e-3, atol=1e-4
    )
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(ConfigurationError, match="end in"):
        save_generator(generator, tmp_path / "tiny.pt")
    with pytest.raises(OSError, match=r"cannot be written|No such file"):
        save_generator(generator, tmp_path / "none" / "tiny.safetensors")


def test_wrong_tensors_are_counted_and_named(tmp_path, tiny):
    state = tiny.state_dict()
    for name in [name for name in state if name.startswith("backbone.synthesis.b8.conv0")]:
        del state[name]
    state |= {"b": torch.ones(1), "superresolution.block1.torgb.bias": torch.ones(4)}
    state["decoder.net.0.weight"] = torch.ones(1).expand(64, 4)
    state["decoder.net.0.bias"] = state["decoder.net.0.bias"].int()
    torch.save(state, tmp_path / "tiny.pt")
    with pytest.raises(ConfigurationError) as caught:
        load_generator(tmp_path / "tiny.pt", tiny.config)
    told = str(caught.value)
    assert "7 missing (backbone.synthesis.b8.conv0." in told
    assert told.count("b8.conv0") == checkpoint.SHOWN
    assert "1 unknown (b);" in told
    assert (
        "3 of another shape (superresolution.block1.torgb.bias, decoder.net.0.weight, decoder.net.0.bias)"
        in told
    )


def test_broken_numbers_are_refused(tmp_path, tiny):
    state = tiny.state_dict()
    state["decoder.net.0.bias"] = torch.full_like(state["decoder.net.0.bias"], float("nan"))
    torch.save(state, tmp_path / "tiny.pt")
    with pytest.raises(ConfigurationError, match=r"nan or infinity \(decoder.net.0.bias\)"):
        load_generator(tmp_path / "tiny.pt", tiny.config)


def test_files_that_are_no_generator_are_refused(tmp_path, tiny):
    with pytest.raises(ConfigurationError, match="there is no generator"):
        load_generator(tmp_path / "none.pkl")
    for name, value, told in [
        ("list.pt", [1], "no state dict"),
        ("text.pt", {"a": "b"}, "no state dict"),
        ("other.pt", {"a": torch.ones(1)}, "cannot be loaded: there is no"),
        ("tiny.bin", {}, "neither"),
    ]:
        torch.save(value, tmp_path / name)
        with pytest.raises(ConfigurationError, match=told):
            load_generator(tmp_path / name)
    for name in ("cut.pt", "cut.safetensors"):
        (tmp_path / name).write_bytes(b"\x10\0\0\0")
        with pytest.raises(ConfigurationError, match=r"cannot be read|not opened"):
            load_generator(tmp_path / name)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{", "cannot be read"),
        ("[]", "names and values"),
        ('{"depth": 3}', "no setting 'depth' in GeneratorConfig"),
        ('{"render": {"samples": "many"}}', "samples cannot be 'many'"),
        ('{"render": 3}', "names and values"),
        ('{"render": {"plane_axes": "mine"}}', "plane_axes cannot be 'mine'"),
        ('{"z": true}', "z cannot be True"),
        ('{"z": -1}', "z cannot be -1"),
        ('{"clamp": 1e300}', "clamp cannot be"),
        ('{"sr_widths": [8]}', "sr_widths cannot be list"),
        ('{"sr_widths": [8, "4"]}', "sr_widths cannot be '4'"),
        ('{"plane_resolution": 12}', "plane_resolution is 12: give a power of two"),
        ('{"mapping_layers": 0}', "mapping_layers is 0"),
        ('{"render": {"samples": 1048576}}', "more than 4096 samples"),
        ('{"render": {"ray_start": 5}}', "rays from 5 to 3.3: the end"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, tiny, said, told):
    save_file(tiny.state_dict(), tmp_path / "tiny.safetensors", {checkpoint.CONFIG: said})
    with pytest.raises(ConfigurationError, match=told):
        load_generator(tmp_path / "tiny.safetensors")


def test_a_configuration_is_the_same_after_json(tiny_config):
    config = dataclasses.replace(tiny_config, clamp=None, sr_clamp=1.5)
    assert config_from(json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, tiny_config):
    """What a process that is watched says of every case, and whether the canary is there."""
    root = tmp_path_factory.mktemp("hostile")
    folder, canary = root / "files", root / "canary"
    folder.mkdir()
    source = f"open({str(canary)!r}, 'w').close()"
    good = write_official(folder / "official.pkl", official(TriPlaneGenerator(tiny_config), source))
    for name, case in corpus(str(canary), good.read_bytes()).items():
        (folder / f"{name}{case.suffix}").write_bytes(case.data)
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, tests / "eg3d" / "hostile.py", folder],
        env={**os.environ, "PYTHONPATH": str(tests)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), canary


@pytest.mark.slow
@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_file_is_refused_by_name_and_nothing_runs(outcomes, name):
    found, canary = outcomes
    assert found[name]["said"].startswith("ConfigurationError: ")
    assert CORPUS[name].refusal in found[name]["said"]
    assert found[name]["seen"] == []
    assert not canary.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(name for name, case in CORPUS.items() if case.runs), "official"])
def test_the_watch_would_see_it(outcomes, name):
    """The same files, opened as pickles usually are."""
    seen = outcomes[0][name]["pickle"]
    assert [event for event in seen if not event.startswith("names ")]


@pytest.mark.slow
def test_the_source_in_an_official_file_is_not_run(outcomes):
    found, canary = outcomes
    assert (found["official"]["said"], found["official"]["seen"]) == ("loaded", [])
    assert not canary.exists()
