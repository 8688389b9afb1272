import json

import pytest
from PIL import Image

from case_records import make_result
from faceforward.report.case import read_case, settings_key, sweep, write_case
from full_disk import full_disk

FILES = {
    "face.png",
    "sheet.png",
    "result.json",
    *(f"{folder}/{age}.png" for folder in ("aged", "photo", "raw") for age in (20, 40, 60)),
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
    assert content["ages"]["40"]["judged_age"]["years"] == 39
    assert content["source"]["judged_age"] == {
        **{"years": 33.0, "std": 4.0, "estimator": "faceres"},
        **{"gender": None, "gender_probability": None},
    }
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
    (tmp_path / ".a.faceforward-tmp" / "raw").mkdir(parents=True)
    (tmp_path / ".a.faceforward-old").mkdir()
    (tmp_path / ".b.faceforward-old").mkdir()
    (tmp_path / "b").mkdir()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_full_disk_leaves_nothing_half_done(tmp_path):
    result = make_result()
    with full_disk(), pytest.raises(OSError, match="File too large"):
        write_case(tmp_path, result, input_sha256="s", key="k")
    assert list(tmp_path.iterdir()) == []


def test_settings_key_sees_settings_and_input():
    assert settings_key({"a": 1, "b": 2}, "s") == settings_key({"b": 2, "a": 1}, "s")
    assert len({settings_key({"a": 1}, "s"), settings_key({"a": 2}, "s"), settings_key({"a": 1}, "t")}) == 3
