"""`infer cameras` as people use it."""

import json

import pytest
from PIL import Image

from faceforward.datamodules.camera_labels import read_labels
from faceforward.infer import main
from tiny_inference import arguments

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on devices and workers


@pytest.fixture
def photo(tmp_path, astronaut):
    Image.fromarray(astronaut).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_photographs_to_cameras(tmp_path, photo, capsys):
    output = tmp_path / "out"
    command = ["cameras", f"--photos={photo}", f"--output={output}"]
    assert main(command) == 0
    assert list(read_labels(output)) == ["crops/a.png"]
    with Image.open(output / "crops" / "a.png") as crop:
        assert crop.size == (512, 512)
    line = json.loads((output / "manifest.jsonl").read_text("utf-8"))
    assert (line["status"], line["landmarks"]) == ("done", "face-mesh")

    assert main([*command, "--model.init_args.size=256"]) == 2
    assert "size (512 then, 256 now)" in capsys.readouterr().err
    assert main([*command, "--model.init_args.size=256", "--overwrite"]) == 0
    line = json.loads((output / "manifest.jsonl").read_text("utf-8"))
    assert (line["reused"], line["landmarks"]) == (False, "face-mesh")


def test_a_generator_refines_where_asked(tmp_path, photo):
    refinement = "--model.init_args.refinement"
    more = [f"{refinement}=faceforward.faces.refine.AnalysisBySynthesis", f"{refinement}.init_args.steps=1"]
    assert main(["cameras", f"--photos={photo}", f"--output={tmp_path / 'out'}", *more]) == 0
    record = json.loads((tmp_path / "out" / "cameras" / "a.json").read_text("utf-8"))
    assert record["refined"] is not None
    assert record["settings"]["refinement"]["steps"] == 1


def test_not_all_done_is_status_1(tmp_path, photo):
    (tmp_path / "photos").mkdir()
    photo.rename(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").write_bytes(b"no picture")
    command = ["cameras", f"--photos={tmp_path / 'photos'}", f"--output={tmp_path / 'out'}"]
    assert main(command) == 1
    assert list(read_labels(tmp_path / "out")) == ["crops/a.png"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--target_ages=[20]"], "has no use for --target_ages"),
        (["--writer.init_args.output=x"], "would be ignored"),
        (["--model.init_args.size=3"], "16 pixels at least"),
    ],
)
def test_wrong_usage(tmp_path, photo, capsys, more, words):
    assert main(["cameras", f"--photos={photo}", f"--output={tmp_path / 'out'}", *more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_ageing_needs_ages(tmp_path, photo, capsys):
    (tmp_path / "none.yaml").write_text("target_ages: null\n")
    command = [word for word in arguments("none", photo, tmp_path / "out")[1:] if "target_ages" not in word]
    assert main([*command[:2], "-c", str(tmp_path / "none.yaml"), *command[2:]]) == 2
    assert "--target_ages '[20,40,60]'" in capsys.readouterr().err
