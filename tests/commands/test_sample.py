"""`faceforward sample` from a generator's file to a folder, and what it refuses."""

import json
import sys

import av
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from eg3d.known_solids import solid
from faceforward import pretrained
from faceforward.__main__ import main
from faceforward.eg3d.cameras import labels, look_at
from faceforward.eg3d.checkpoint import load_generator, save_generator
from faceforward.eg3d.generator import GeneratorConfig, TriPlaneGenerator
from full_disk import full_disk

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def generator_file(tmp_path_factory):
    """A tiny generator whose density crosses the level of meshes in half of space."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_generator(solid(samples=6, importance_samples=6)[0], path)
    return path


def sample(generator, output, *words, seeds="0-1"):
    return main(
        ["sample", "--generator", str(generator), "--seeds", seeds, "--output", str(output), *map(str, words)]
    )


def manifest(output):
    return [json.loads(line) for line in (output / "manifest.jsonl").read_text("utf-8").splitlines()]


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


ALL = ("--depth", "--video", "--gif", "--frames", 6, "--mesh", "ply,glb", "--mesh-resolution", 16)
VIEWS = ["yaw+20_pitch+5", "yaw-20_pitch+5"]


@pytest.fixture(scope="module")
def everything(generator_file, tmp_path_factory):
    """A run with all that there is."""
    output = tmp_path_factory.mktemp("run") / "out"
    assert sample(generator_file, output, *ALL, "--yaws", "-20,20", "--pitch", "5", seeds="3,5-5") == 0
    return output


def test_every_head_has_its_folder_with_all_that_was_asked_for(everything):
    of_one = [
        *(f"depth/{name}{kind}.png" for name in VIEWS for kind in ("", "_preview")),
        "mesh.glb", "mesh.ply", "result.json", "turntable.gif", "turntable.mp4",
        *(f"views/{name}.png" for name in VIEWS),
    ]  # fmt: skip
    assert files(everything) == sorted(
        [
            "manifest.jsonl",
            "sheet.png",
            *(f"heads/{seed}/{name}" for seed in ("0003", "0005") for name in of_one),
        ]
    )
    assert [(line["seed"], line["status"], line["reused"]) for line in manifest(everything)] == [
        (3, "done", False),
        (5, "done", False),
    ]
    with av.open(str(everything / "heads" / "0003" / "turntable.mp4")) as container:
        assert container.streams.video[0].frames == 6
    with Image.open(everything / "heads" / "0003" / "turntable.gif") as image:
        assert image.n_frames == 6
    for ending in ("ply", "glb"):
        read = trimesh.load(everything / "heads" / "0003" / f"mesh.{ending}", force="mesh")
        assert read.is_watertight
        assert np.abs(read.bounds).max() <= 0.5
        assert read.volume > 0


def test_result_json_says_how_each_was_made(everything, generator_file):
    result = json.loads((everything / "heads" / "0003" / "result.json").read_text("utf-8"))
    assert result["settings"]["seed"] == 3
    assert result["settings"]["truncation"] == 0.7
    assert result["generator"]["name"] == "tiny"
    assert result["generator"]["sha256"] == pretrained.sha256_of(generator_file)
    assert [(view["yaw"], view["pitch"]) for view in result["views"]] == [(-20, 5), (20, 5)]
    camera = labels(look_at(-20.0, 5.0))[0]
    torch.testing.assert_close(torch.tensor(result["views"][0]["camera"]), camera, atol=1e-5, rtol=0)
    assert result["mesh"]["faces"] > 0
    assert set(result["files"]) == set(files(everything / "heads" / "0003")) - {"result.json"}


def test_pictures_are_the_generator_s_and_say_that_they_are_synthetic(everything, generator_file):
    generator = load_generator(generator_file)
    z = torch.from_numpy(np.random.RandomState(3).randn(1, 8).astype(np.float32))  # as the release draws
    with torch.no_grad():
        ws = generator.map(z, labels(look_at(0.0)), truncation=0.7)
        image = generator.render(generator.planes(ws), labels(look_at(20.0, 5.0)), ws).image[0]
    expected = ((image.permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().numpy()
    with Image.open(everything / "heads" / "0003" / "views" / "yaw+20_pitch+5.png") as written:
        assert np.abs(np.asarray(written).astype(float) - expected).max() <= 1
    pictures = [*everything.rglob("*.png")]
    assert len(pictures) == 2 * 6 + 1
    for path in pictures:
        with Image.open(path) as picture:
            assert "Synthetic picture made by a model" in picture.text["Description"], path
            assert picture.text["Source"] == "Model: tiny"


def test_what_is_there_is_reused_and_other_settings_are_refused(generator_file, tmp_path, capsys):
    output = tmp_path / "out"
    assert sample(generator_file, output, "--yaws=0") == 0
    before = {path: path.stat().st_mtime_ns for path in (output / "heads").rglob("*.png")}
    assert sample(generator_file, output, "--yaws=0", seeds="0-2") == 0
    assert [line["reused"] for line in manifest(output)] == [True, True, False]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    capsys.readouterr()
    assert sample(generator_file, output, "--yaws=10") == 2
    assert "other settings; give another --output, or --overwrite" in capsys.readouterr().err
    assert len(manifest(output)) == 3  # of the run before
    assert sample(generator_file, output, "--yaws=10", "--overwrite") == 0
    assert (output / "heads" / "0000" / "views").is_dir()
    assert files(output / "heads" / "0000") == ["result.json", "views/yaw+10_pitch+0.png"]


def test_a_head_that_is_not_complete_is_made_again(generator_file, tmp_path):
    output = tmp_path / "out"
    assert sample(generator_file, output, "--yaws=0") == 0
    (output / "heads" / "0001" / "views" / "yaw+0_pitch+0.png").unlink()
    (output / "heads" / ".0007.faceforward-tmp").mkdir()  # of a killed run
    assert sample(generator_file, output, "--yaws=0") == 0
    assert [line["reused"] for line in manifest(output)] == [True, False]
    assert not (output / "heads" / ".0007.faceforward-tmp").exists()


def test_a_head_without_a_surface_fails_and_the_others_go_on(generator_file, tmp_path, capsys):
    output = tmp_path / "out"
    words = ("--yaws=0", "--mesh", "ply", "--mesh-resolution", 8, "--level", "1e5")
    assert sample(generator_file, output, *words) == 1
    lines = manifest(output)
    assert [line["status"] for line in lines] == ["failed"] * 2
    assert "ask for a lower level" in lines[0]["reason"]
    assert files(output) == ["manifest.jsonl"]
    assert capsys.readouterr().out.endswith(f"0 of 2 heads are in {output}; see manifest.jsonl\n")


def test_a_head_that_could_not_be_replaced_is_not_the_result(generator_file, tmp_path, capsys):
    output = tmp_path / "out"
    assert sample(generator_file, output, "--yaws=0") == 0
    before = files(output / "heads")
    words = ("--yaws=0", "--mesh", "ply", "--mesh-resolution", 8, "--level", "1e5", "--overwrite")
    assert sample(generator_file, output, *words) == 1
    lines = manifest(output)
    assert [line["folder"] for line in lines] == [None, None]
    assert "holds the head of an earlier run" in lines[0]["reason"]
    assert files(output / "heads") == before
    assert not (output / "sheet.png").exists()


def test_views_that_differ_have_names_that_differ(generator_file, tmp_path):
    assert sample(generator_file, tmp_path / "out", "--yaws=12.34561,12.34562,12.347") == 0
    assert len(manifest(tmp_path / "out")) == 2
    names = sorted(path.name for path in (tmp_path / "out" / "heads" / "0000" / "views").iterdir())
    assert names == ["yaw+12.346_pitch+0.png", "yaw+12.347_pitch+0.png"]


def test_truncation_pulls_heads_together(generator_file, tmp_path):
    assert sample(generator_file, tmp_path / "out", "--yaws=0", "--truncation", 0) == 0
    first, second = (
        (tmp_path / "out" / "heads" / seed / "views" / "yaw+0_pitch+0.png").read_bytes()
        for seed in ("0000", "0001")
    )
    assert first == second


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seeds", "3-1"), "'3-1' is no seed"),
        (("--seeds", "a"), "'a' is no seed"),
        (("--seeds", "-1"), "--seeds"),
        (("--seeds", "4294967296"), "no seed"),
        (("--seeds", "0-4000000000"), "more than 10000 seeds"),
        (("--seeds", ""), "no seed"),
        (("--yaws", "1,x"), "give degrees from -180 to 180"),
        (("--yaws", "nan"), "give degrees"),
        (("--pitch", "-90"), "give degrees from -89 to 89"),
        (("--truncation", "nan"), "give a number from 0 to 2"),
        (("--frames", "1"), "give a number from 2"),
        (("--mesh", "obj"), "give ply, glb or both"),
        (("--mesh-resolution", "4"), "give a number from 8 to 1024"),
    ],
)
def test_what_cannot_be_meant_is_refused(generator_file, tmp_path, capsys, words, message):
    assert sample(generator_file, tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("official.pkl", "faceforward convert eg3d {path} official.safetensors"),
        ("state.pt", "faceforward convert eg3d"),
        ("none.safetensors", "there is no generator"),
        ("damaged.safetensors", "cannot be read"),
        ("mtcnn", "mtcnn is no 3D generator"),
        ("face-eg3d-128", "the weights face-eg3d-128 are not on this machine"),
        ("eg3d-ffhqrebalanced512-128", "get ffhqrebalanced512-128.pkl from"),
    ],
)
def test_what_is_no_generator_is_refused(tmp_path, capsys, monkeypatch, name, message):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pretrained, "EMBEDDED", tmp_path / "weights")
    path = tmp_path / name if "." in name else name
    if "." in name and not name.startswith("none"):
        path.write_bytes(b"\0" * 100)
    assert sample(path, tmp_path / "out") == 2
    assert message.format(path=path) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_generator_that_takes_no_cameras_is_refused(tmp_path, capsys):
    config = GeneratorConfig(
        z=8, w=8, condition=4, plane_resolution=16, plane_channels=4, channel_base=128, channel_max=8,
        features=4, raw_resolution=8, resolution=32, sr_widths=(8, 4),
    )  # fmt: skip
    save_generator(TriPlaneGenerator(config), tmp_path / "a.safetensors")
    assert sample(tmp_path / "a.safetensors", tmp_path / "out") == 2
    assert "takes 4 numbers as a camera, not 25" in capsys.readouterr().err


def test_names_of_the_registry_stand_for_their_files(generator_file, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "EMBEDDED", tmp_path)
    (tmp_path / "face-eg3d-128").mkdir()
    for name in ("generator.safetensors", "encoder.safetensors"):
        (tmp_path / "face-eg3d-128" / name).write_bytes(generator_file.read_bytes())
    assert main(["sample", "--seeds", "0", "--yaws", "0", "--output", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.text["Source"] == "Model: face-eg3d-128"


@pytest.mark.parametrize(
    ("package", "words", "extra"), [("trimesh", ("--mesh", "ply"), "mesh"), ("av", ("--video",), "video")]
)
def test_a_missing_extra_is_named_before_anything_is_made(
    generator_file, tmp_path, capsys, monkeypatch, package, words, extra
):
    monkeypatch.setitem(sys.modules, package, None)
    assert sample(generator_file, tmp_path / "out", *words) == 2
    assert f"pip install 'faceforward[{extra}]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(generator_file, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert sample(generator_file, tmp_path / "out") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_full_disk_ends_the_run_and_keeps_what_is_complete(generator_file, tmp_path, capsys):
    output = tmp_path / "out"
    assert sample(generator_file, output, "--yaws=0", seeds="0") == 0
    with full_disk():
        status = sample(generator_file, output, "--yaws=0", "--mesh=ply", "--mesh-resolution=96", seeds="1")
    assert status == 1
    assert "make room and run the same command again" in capsys.readouterr().err
    assert files(output / "heads") == ["0000/result.json", "0000/views/yaw+0_pitch+0.png"]


def test_the_command_explains_itself(capsys):
    assert main(["sample", "--help"]) == 0
    assert "--truncation" in capsys.readouterr().out
    assert main(["sample"]) == 2
    assert main([]) == 2
    assert "sample --generator" in capsys.readouterr().out
