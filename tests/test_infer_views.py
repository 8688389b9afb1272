"""`infer views` as people use it."""

import json

import numpy as np
import pytest
from PIL import Image

from faceforward.infer import main

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on devices and workers

FEW = ("--model.init_args.yaws=[-20,0,60]", "--model.init_args.size=128", "--model.init_args.frames=3")


@pytest.fixture(scope="module")
def run(tmp_path_factory, astronaut):
    """A folder with a portrait, an empty file and a picture without a face, and its results."""
    folder = tmp_path_factory.mktemp("views")
    photos = folder / "photos"
    photos.mkdir()
    Image.fromarray(astronaut).save(photos / "a.png")
    (photos / "b.jpg").touch()
    Image.new("RGB", (300, 300), "white").save(photos / "c.png")
    status = main(["views", f"--photos={photos}", f"--output={folder / 'out'}", *FEW])
    return status, photos, folder / "out"


def lines(file):
    return {line["id"]: line for line in map(json.loads, file.read_text("utf-8").splitlines())}


def test_exact_set_of_files_and_lines(run):
    status, _, output = run
    assert status == 1
    folder = output / "cases" / "a" / "views" / "photograph"
    assert sorted(path.name for path in folder.iterdir()) == [
        "depth.png", "depth_preview.png", "mesh.glb", "sheet.png", "turntable.mp4", "views.json",
        "visibility.png", "yaw+0_pitch+0.png", "yaw+60_pitch+0.png", "yaw-20_pitch+0.png",
    ]  # fmt: skip
    found = lines(output / "manifest.jsonl")
    assert [line["status"] for line in found.values()] == ["done", "skipped", "skipped"]
    assert found["a"]["head"] == "relief"


def test_the_photograph_comes_back_and_views_say_how_well_they_hold(run, astronaut):
    folder = run[2] / "cases" / "a" / "views" / "photograph"
    record = json.loads((folder / "views.json").read_text("utf-8"))
    assert record["psnr"] > 33
    assert record["why"]
    near, front, far = record["views"]
    assert [view["within_reach"] for view in record["views"]] == [True, True, False]
    assert [bool(view["doubts"]) for view in record["views"]] == [False, False, True]
    assert front["distance"] < near["distance"] < 0.4
    assert front["pose_error"] < 6
    for view in record["views"]:
        with Image.open(folder / view["file"]) as picture:
            assert picture.size == (128, 128)
            assert "compositeWithTrainedAlgorithmicMedia" in picture.text["XML:com.adobe.xmp"]
    with Image.open(folder / far["file"]) as picture:
        assert "not to be relied on: farther" in picture.text["Description"]
    with Image.open(folder / "depth.png") as depth:
        levels = np.asarray(depth).astype(float) * record["depth_unit"]
    assert 2 < levels[64, 64] < 3.3


def test_the_mesh_opens_with_the_photograph_as_its_texture(run):
    trimesh = pytest.importorskip("trimesh")
    scene = trimesh.load(run[2] / "cases" / "a" / "views" / "photograph" / "mesh.glb")
    (mesh,) = scene.geometry.values()
    assert mesh.is_watertight or len(mesh.faces) > 1000
    assert mesh.visual.material.baseColorTexture.size[0] >= 256


def test_again_it_is_reused_and_aged_pictures_are_turned_into_their_case(run, astronaut):
    _, photos, output = run
    assert main(["views", f"--photos={photos / 'a.png'}", f"--output={output}", *FEW]) == 0
    assert lines(output / "manifest.jsonl")["a"]["reused"]
    aged = output / "cases" / "a" / "aged"
    aged.mkdir()
    Image.fromarray(astronaut).save(aged / "40.png")
    before = (output / "manifest.jsonl").read_text("utf-8")
    assert main(["views", f"--photos={output}", f"--output={output}", *FEW]) == 0
    assert (output / "cases" / "a" / "views" / "40" / "sheet.png").is_file()
    assert lines(output / "views-manifest.jsonl")["a-40"]["which"] == "40"
    assert (output / "manifest.jsonl").read_text("utf-8") == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model.init_args.yaws=[90]"], "yaws is [90"),
        (["--model.init_args.size=3"], "size is 3"),
        (["--target_ages=[20]"], "has no use for --target_ages"),
        (
            [
                "--model.init_args.heads=faceforward.faces.heads.ReliefHeads",
                "--model.init_args.heads.init_args.behind=none-such",
            ],
            "none-such",
        ),
    ],
)
def test_wrong_usage(tmp_path, run, capsys, more, words):
    assert main(["views", f"--photos={run[1]}", f"--output={tmp_path / 'out'}", *more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_earlier_run_without_aged_pictures(tmp_path, capsys):
    (tmp_path / "out" / "cases" / "a").mkdir(parents=True)
    assert main(["views", f"--photos={tmp_path / 'out'}", f"--output={tmp_path / 'out'}"]) == 2
    assert "none has an aged picture" in capsys.readouterr().err


def test_views_that_a_turned_photograph_shows_nothing_of_are_left_out():
    from faceforward.eg3d.cameras import labels, look_at
    from faceforward.modules.view_synthesizer import _shown

    angles = [(-60.0, 0.0), (-40.0, 0.0), (0.0, 0.0), (40.0, 0.0)]
    kept, notes = _shown(angles, labels(look_at(30.0))[0])
    assert kept == angles[2:]
    assert "-60, -40 degrees" in notes[0]
    assert _shown(angles[1:], labels(look_at(0.0))[0]) == (angles[1:], ())
