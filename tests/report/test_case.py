import json

import numpy as np
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
    content = write_case(tmp_path, make_result(), input_sha256="s")
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
    assert content["settings_sha256"] == settings_key(content["settings"], "s")
    json.dumps(content, allow_nan=False)


def _case(targets, **settings):
    result = make_result(targets=targets)
    result.settings.update(targets=list(targets), **settings)
    return result


def _pixels(file):
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def test_ages_are_added_and_views_stay(tmp_path):
    first = write_case(tmp_path, _case((20, 40, 60)), input_sha256="s")
    before = {name: (tmp_path / "a" / name).read_bytes() for name in FILES if "/40" in name or "/60" in name}
    view = tmp_path / "a" / "views" / "40" / "sheet.png"
    view.parent.mkdir(parents=True)
    view.write_bytes(b"view")
    alone = write_case(tmp_path / "alone", _case((20, 50)), input_sha256="s")
    content = write_case(tmp_path, _case((20, 50)), input_sha256="s")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "alone"}
    assert sorted(content["ages"]) == ["20", "40", "50", "60"]
    assert read_case(tmp_path / "a") == json.loads(json.dumps(content))
    assert {name: (tmp_path / "a" / name).read_bytes() for name in before} == before
    assert view.read_bytes() == b"view"
    for age in ("40", "60"):
        assert content["ages"][age] == first["ages"][age]
    assert content["ages"]["50"] == alone["ages"]["50"]
    assert content["settings"]["targets"] == [20, 40, 50, 60]
    assert content["settings_sha256"] == settings_key(_case((20, 40, 50, 60)).settings, "s")
    assert content["unet_evaluations"] == 600
    whole = tmp_path / "whole"
    write_case(whole, _case((20, 40, 50, 60)), input_sha256="s")
    sheets = [_pixels(folder / "a" / "sheet.png").astype(int) for folder in (tmp_path, whole)]
    assert sheets[0].shape == sheets[1].shape
    assert abs(sheets[0] - sheets[1]).mean() < 1  # a tile's bar lies over the visible mark


@pytest.mark.parametrize("change", ["settings", "photograph"])
def test_what_was_made_otherwise_is_replaced(tmp_path, change):
    write_case(tmp_path, _case((20, 40)), input_sha256="s")
    for name in ("views/40/a.png", "note.txt"):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).touch()
    if change == "settings":
        write_case(tmp_path, _case((50,), age=9), input_sha256="s")
    else:
        write_case(tmp_path, _case((50,)), input_sha256="t")
    assert list(read_case(tmp_path / "a")["ages"]) == ["50"]
    assert not (tmp_path / "a" / "aged" / "40.png").exists()
    assert (tmp_path / "a" / "note.txt").exists()
    assert (tmp_path / "a" / "views" / "40" / "a.png").exists() is (change == "settings")


def test_an_age_whose_picture_is_gone_is_not_kept(tmp_path):
    write_case(tmp_path, _case((20, 40, 60)), input_sha256="s")
    (tmp_path / "a" / "photo" / "40.png").unlink()
    content = write_case(tmp_path, _case((50,)), input_sha256="s")
    assert sorted(content["ages"]) == ["20", "50", "60"]
    assert not (tmp_path / "a" / "aged" / "40.png").exists()


@pytest.mark.parametrize("harm", ["missing", "short", "json", "form"])
def test_damaged_case_counts_as_absent(tmp_path, harm):
    write_case(tmp_path, make_result(), input_sha256="s")
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
        write_case(tmp_path, result, input_sha256="s")
    assert list(tmp_path.iterdir()) == []


def test_settings_key_sees_settings_and_input():
    assert settings_key({"a": 1, "b": 2}, "s") == settings_key({"b": 2, "a": 1}, "s")
    assert len({settings_key({"a": 1}, "s"), settings_key({"a": 2}, "s"), settings_key({"a": 1}, "t")}) == 3
