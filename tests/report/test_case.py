import json
import resource
import signal
from contextlib import contextmanager

import pytest
from PIL import Image

from case_records import make_result
from faceforward.report.case import read_case, settings_key, sweep, write_atomically, write_case

FILES = {
    "face.png",
    "sheet.png",
    "result.json",
    *(f"{folder}/{age}.png" for folder in ("aged", "raw") for age in (20, 40, 60)),
    *(f"raw/{name}.png" for name in ("source", "reconstruction", "inverted")),
}


def _files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_exact_files_and_sizes(tmp_path):
    content = write_case(tmp_path, make_result(), input_sha256="s", key="k")
    assert _files(tmp_path) == {f"a/{name}" for name in FILES}
    for name in ("face.png", "aged/20.png"):
        with Image.open(tmp_path / "a" / name) as image:
            assert image.size == (512, 512)
    assert read_case(tmp_path / "a") == json.loads(json.dumps(content))
    assert content["inversion"]["psnr_db"] is None  # infinite, which JSON does not know
    assert content["ages"]["40"]["estimated_age"]["years"] == 42
    assert content["ages"]["40"]["identity_distance"] == 0.3
    assert content["settings_sha256"] == "k"
    json.dumps(content, allow_nan=False)


def test_replacing_leaves_only_the_new_case(tmp_path):
    write_case(tmp_path, make_result(), input_sha256="s", key="k")
    write_case(tmp_path, make_result(targets=(50,)), input_sha256="s", key="l")
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
    assert list(read_case(tmp_path / "a")["ages"]) == ["50"]


@pytest.mark.parametrize("harm", ["missing", "short", "json", "form"])
def test_damaged_case_counts_as_absent(tmp_path, harm):
    write_case(tmp_path, make_result(), input_sha256="s", key="k")
    case = tmp_path / "a"
    if harm == "missing":
        (case / "aged" / "20.png").unlink()
    elif harm == "short":
        (case / "face.png").write_bytes(b"x")
    else:
        (case / "result.json").write_text("{" if harm == "json" else "[]")
    assert read_case(case) is None
    assert read_case(tmp_path / "nothing") is None


def test_sweep_restores_what_was_being_replaced(tmp_path):
    (tmp_path / ".partial-a" / "raw").mkdir(parents=True)
    (tmp_path / ".replaced-a").mkdir()
    (tmp_path / ".replaced-b").mkdir()
    (tmp_path / "b").mkdir()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


@contextmanager
def full_disk():
    """Writes beyond 30 kB fail in this process, as they do on a full disk.

    Not for a whole test: pytest's own output may go to a file that is longer.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_full_disk_leaves_nothing_half_done(tmp_path):
    result = make_result()
    with full_disk(), pytest.raises(OSError, match="File too large"):
        write_case(tmp_path, result, input_sha256="s", key="k")
    with full_disk(), pytest.raises(OSError, match="File too large"):
        write_atomically(tmp_path / "m", "x" * 40_000)
    assert list(tmp_path.iterdir()) == []


def test_settings_key_sees_settings_and_input():
    assert settings_key({"a": 1, "b": 2}, "s") == settings_key({"b": 2, "a": 1}, "s")
    assert len({settings_key({"a": 1}, "s"), settings_key({"a": 2}, "s"), settings_key({"a": 1}, "t")}) == 3


def test_name_that_is_no_utf8_stays_valid_json(tmp_path):
    write_atomically(tmp_path / "m", json.dumps({"file": "\udc80.jpg"}, ensure_ascii=False))
    assert json.loads((tmp_path / "m").read_text("utf-8"))["file"] == "\udc80.jpg"
