"""The inference door as people use it: the real command line on the real YAML, over a tiny real model."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import piexif
import pytest
import yaml
from PIL import Image

from corpus import write_broken_files
from faceforward.errors import ConfigurationError
from faceforward.infer import main, named_config, refuse_linked

ROOT = Path(__file__).parents[1]
UPSCALER = "faceforward.faces.upscale.LanczosUpscaler"


def arguments(model, photos, output, *more, targets="[20,40]"):
    return [
        "infer.py",
        "-c",
        "configs/infer/age.yaml",
        f"--photos={photos}",
        f"--target_ages={targets}",
        f"--output={output}",
        f"--model.init_args.pretrained={model}",
        f"--model.init_args.upscaler={UPSCALER}",
        "--model.init_args.inversion=faceforward.diffusion.inversion.DirectInversion",
        "--model.init_args.inversion.init_args.steps=4",
        "--trainer.accelerator=cpu",
        *more,
    ]


def run(*args, **more):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    command = [sys.executable, *map(str, args)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False, **more
    )


def manifest(output):
    return [json.loads(line) for line in (output / "manifest.jsonl").read_text("utf-8").splitlines()]


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def case_files(case, targets):
    pictures = [f"{folder}/{age}.png" for folder in ("aged", "raw") for age in targets]
    return {
        f"cases/{case}/{name}"
        for name in (
            "face.png",
            "result.json",
            "sheet.png",
            "raw/source.png",
            "raw/reconstruction.png",
            "raw/inverted.png",
            *pictures,
        )
    }


KINDS = 12
GPS = {
    "0th": {piexif.ImageIFD.Make: b"SecretMaker", piexif.ImageIFD.Orientation: 1},
    "Exif": {piexif.ExifIFD.BodySerialNumber: b"SERIAL-0815", piexif.ExifIFD.CameraOwnerName: b"Mr Owner"},
    "GPS": {piexif.GPSIFD.GPSLatitudeRef: b"N", piexif.GPSIFD.GPSLatitude: ((48, 1), (51, 1), (30, 1))},
}
PRIVATE = (b"SecretMaker", b"SERIAL-0815", b"Mr Owner", b"Exif\0\0", b"eXIf")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory, astronaut):
    """12 entries of which each is broken in another way, and 3 good photographs."""
    folder = tmp_path_factory.mktemp("in") / "photos"
    kept = {}
    for name, kind in write_broken_files(folder).items():
        if kind in kept.values():
            path = folder / name
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        else:
            kept[name] = kind
    assert len(kept) == KINDS
    image = Image.fromarray(astronaut)
    image.save(folder / "한글 photo.jpg", exif=piexif.dump(GPS), quality=95)
    image.save(folder / "<b>.png")
    image.save(folder / "c.webp")
    return folder


@pytest.fixture(scope="module")
def first(photographs, tiny_sd, tmp_path_factory):
    """One run over everything."""
    output = tmp_path_factory.mktemp("out")
    done = run(*arguments(tiny_sd, photographs, output))
    return done, output


@pytest.mark.slow
class TestFolder:
    CASES = ("한글_photo", "_b_", "c")

    def test_every_entry_has_its_line(self, first, photographs):
        done, output = first
        assert done.returncode == 1, done.stderr
        lines = manifest(output)
        assert len(lines) == KINDS + 3
        assert [Path(line["file"]).name for line in lines] == sorted(
            path.name for path in photographs.iterdir()
        )
        good = [line for line in lines if line["status"] == "done"]
        assert {line["id"] for line in good} == set(self.CASES)
        for line in good:
            assert line["reason"] is None
            assert line["reused"] is False
            assert line["targets"] == [20, 40]
            assert line["seconds"] > 0
            assert 15 < line["age"] < 60
            assert line["gender"] == "female"
        for line in lines:
            if line["status"] != "done":
                assert line["status"] == "skipped", line
                assert len(line["reason"]) > 15
                assert "Traceback" not in line["reason"]
        keys = {"id", "file", "status", "reason", "reused", "age", "gender", "targets", "seconds"}
        assert all(set(line) == keys for line in lines)

    def test_exact_set_of_files(self, first):
        _, output = first
        expected = {"manifest.jsonl", "report.html"}.union(
            *(case_files(case, (20, 40)) for case in self.CASES)
        )
        assert files(output) == expected

    def test_pictures_are_aligned_alike_and_marked(self, first):
        _, output = first
        for path in output.rglob("*.png"):
            with Image.open(path) as image:
                image.load()
                side = {"aged": 512, "raw": 32}.get(
                    path.parent.name, 512 if path.name == "face.png" else None
                )
                assert side is None or image.size == (side, side)
                xmp = image.text["XML:com.adobe.xmp"]
                if path.name in ("face.png", "source.png"):
                    assert "not synthetic" in image.text["Description"]
                    assert "lgorithmicMedia" not in xmp
                elif path.name == "sheet.png":
                    assert "compositeWithTrainedAlgorithmicMedia" in xmp
                else:
                    assert "digitalsourcetype/trainedAlgorithmicMedia" in xmp
                    assert "not a photograph" in image.text["Description"]

    def test_place_and_camera_never_get_through(self, first, photographs):
        _, output = first
        assert b"SERIAL-0815" in (photographs / "한글 photo.jpg").read_bytes()
        for path in output.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not any(secret in content for secret in PRIVATE), path
                if path.suffix == ".png":
                    with Image.open(path) as image:
                        assert not image.getexif()

    def test_result_says_how_it_was_made(self, first):
        _, output = first
        result = json.loads((output / "cases" / "c" / "result.json").read_text("utf-8"))
        assert result["face"]["detector"]
        assert result["source"]["age_origin"] == "estimated"
        assert result["settings"]["inversion"] == {"class": "DirectInversion", "steps": 4}
        assert len(result["settings"]["model"]["sha256"]) == 64
        assert result["inversion"]["psnr_db"] > 0
        assert result["unet_evaluations"] > 0
        assert {"torch", "diffusers", "faceforward"} <= set(result["versions"])
        for age in ("20", "40"):
            assert result["ages"][age]["prompt"] == f"photo of {age} year old woman"
            assert result["ages"][age]["estimated_age"]["years"] > 0
            assert result["ages"][age]["identity_distance"] >= 0

    def test_report_is_whole_and_safe(self, first):
        _, output = first
        page = (output / "report.html").read_text("utf-8")
        assert page.count("data:image/jpeg;base64,") == 9
        assert "<b>.png" not in page
        assert "&lt;b&gt;.png" in page
        assert "한글 photo.jpg" in page
        assert "3 with estimates, 12 without" in page

    def test_second_run_reuses_unless_told_otherwise(self, first, photographs, tiny_sd):
        _, output = first
        before = {path: path.stat().st_mtime_ns for path in (output / "cases").rglob("*.png")}
        again = run(*arguments(tiny_sd, photographs, output))
        assert again.returncode == 1
        assert {line["id"] for line in manifest(output) if line["reused"]} == set(self.CASES)
        assert before == {path: path.stat().st_mtime_ns for path in (output / "cases").rglob("*.png")}
        assert "in an earlier run" in (output / "report.html").read_text("utf-8")

        forced = run(*arguments(tiny_sd, photographs / "c.webp", output, "--overwrite"))
        assert forced.returncode == 0, forced.stderr
        assert [line["reused"] for line in manifest(output)] == [False]
        assert files(output / "cases") >= {name.removeprefix("cases/") for name in case_files("c", (20, 40))}


@pytest.mark.slow
def test_killed_run_goes_on_where_it_was_on_two_ranks(tmp_path, astronaut, tiny_sd):
    folder, output = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for name in "abcd":
        Image.fromarray(astronaut).save(folder / f"{name}.png")
    command = arguments(tiny_sd, folder, output)
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while not (output / "cases" / "a").exists():
        assert process.poll() is None, "it ended before the first case was there"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    complete = {path.name for path in (output / "cases").iterdir() if not path.name.startswith(".")}
    assert complete < set("abcd")
    (output / "cases" / ".partial-b" / "raw").mkdir(parents=True, exist_ok=True)

    done = run(*command, "--trainer.devices=2", "--trainer.strategy=ddp")
    assert done.returncode == 0, done.stderr
    lines = manifest(output)
    assert [line["id"] for line in lines] == list("abcd")
    assert {line["id"] for line in lines if line["reused"]} == complete
    expected = {"manifest.jsonl", "report.html"}.union(*(case_files(case, (20, 40)) for case in "abcd"))
    assert files(output) == expected
    assert not list((output / "cases").glob(".*"))


@pytest.mark.slow
def test_csv_and_null_text(tmp_path, astronaut, tiny_sd):
    Image.fromarray(astronaut).save(tmp_path / "a.png")
    csv = tmp_path / "people.csv"
    csv.write_text("file,age,gender,targets\na.png,8,male,30;15\n")
    inversion = "--model.init_args.inversion=faceforward.diffusion.inversion.NullTextInversion"
    command = [arg for arg in arguments(tiny_sd, csv, tmp_path / "out") if "inversion" not in arg]
    command += [inversion, "--model.init_args.inversion.init_args={steps: 2, inner_steps: 1}"]
    done = run(*command, "--trainer.inference_mode=false")
    assert done.returncode == 0, done.stderr
    (line,) = manifest(tmp_path / "out")
    assert (line["age"], line["gender"], line["targets"]) == (8, "male", [15, 30])
    result = json.loads((tmp_path / "out" / "cases" / "a" / "result.json").read_text("utf-8"))
    assert result["source"]["age_origin"] == "given"
    assert result["ages"]["15"]["prompt"] == "photo of 15 year old boy"
    assert result["ages"]["30"]["prompt"] == "photo of 30 year old man"
    assert "shows a child" in (tmp_path / "out" / "report.html").read_text("utf-8")


class TestWrongUsage:
    """Exit status 2, before a model is loaded."""

    @pytest.fixture
    def photo(self, tmp_path, astronaut):
        Image.fromarray(astronaut).save(tmp_path / "a.png")
        return tmp_path / "a.png"

    def test_named_config(self):
        assert named_config(["age", "--photos=x"])[0] == "-c"
        assert named_config(["age", "--photos=x"])[1].endswith("configs/infer/age.yaml")
        assert named_config(["-c", "x.yaml"]) == ["-c", "x.yaml"]
        with pytest.raises(ConfigurationError, match=r"there are: .*age"):
            named_config(["agee"])

    @pytest.mark.parametrize(
        "given",
        [
            ["--data.init_args.photos=x"],
            ["--data.photos", "x"],
            ["--data", "{init_args: {photos: x}}"],
            ["--model.init_args.target_ages=[20]"],
            ["--model.target_ages+=20"],
            ["--writer.output", "x"],
            ["--writer={overwrite: true}"],
            ["--data.init_args={face: 2}"],
        ],
    )
    def test_long_form_on_the_command_line(self, given):
        with pytest.raises(ConfigurationError, match=r"would be ignored; give it as --\w+"):
            refuse_linked(given)

    @pytest.mark.parametrize(
        "content",
        [
            {"data": {"class_path": "Photos", "init_args": {"photos": "x"}}},
            {"model.init_args.target_ages": [20]},
            {"writer": "writer.yaml"},
        ],
    )
    def test_long_form_in_yaml(self, tmp_path, monkeypatch, content):
        monkeypatch.chdir(tmp_path)
        Path("writer.yaml").write_text("output: x")
        Path("c.yaml").write_text(yaml.safe_dump(content))
        for given in (["-c", "c.yaml"], ["--config=c.yaml"]):
            with pytest.raises(ConfigurationError, match=r"yaml\) would be ignored"):
                refuse_linked(given)

    def test_short_forms_pass(self):
        refuse_linked(
            ["-c", "configs/infer/age.yaml", "--photos", "data.yaml", "--face=2", "--model.pretrained=x"]
        )
        refuse_linked(["--data", "{not: yaml: at all"])

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ("--photos={tmp}/nothing", "no such file or folder"),
            ("--photos={tmp}/empty", "the folder is empty"),
            ("--target_ages=[]", "no target age"),
            ("--target_ages=[20,130]", "from 0 to 100"),
            ("--data.init_args.photos=x", "would be ignored"),
        ],
    )
    def test_refused_at_once(self, tmp_path, photo, capsys, changed, words):
        (tmp_path / "empty").mkdir()
        command = arguments("none", photo, tmp_path / "out")[1:]
        assert main([*command, changed.format(tmp=tmp_path)]) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        "changed", ["--target_ages=[20.5]", "--target_ages=old", "--face=x", "--nonsense=1", "--photos"]
    )
    def test_refused_by_the_parser(self, tmp_path, photo, changed):
        with pytest.raises(SystemExit) as raised:
            main([*arguments("none", photo, tmp_path / "out")[1:], changed])
        assert raised.value.code == 2

    @pytest.mark.parametrize(
        "given",
        [
            "detector=faceforward.faces.mtcnn.MTCNNDetector",
            "detector=faceforward.faces.retinaface.RetinaFaceDetector",
            "age_estimator=faceforward.faces.age.DlibAgeEstimator",
            "embedder=faceforward.faces.identity.DlibEmbedder",
            "upscaler=faceforward.faces.upscale.RealESRGANUpscaler",
            *(
                f"inversion=faceforward.diffusion.inversion.{name}Inversion"
                for name in ("DDIM", "NullText", "NegativePrompt", "Direct")
            ),
            "edit.guidance_scale=5",
            "edit={local_blend: null}",
            "template.template=photo of {age} year old Korean {word}",
            "precision=bfloat16",
            "max_batch=8",
        ],
    )
    def test_every_part_is_chosen_on_the_command_line(self, tmp_path, photo, capsys, given):
        command = arguments("none", photo, tmp_path / "out")[1:]
        with pytest.raises(SystemExit) as stopped:
            main([*command, f"--model.init_args.{given}", "--print_config"])
        assert stopped.value.code == 0
        assert given.rpartition("=")[2].strip("{}") in capsys.readouterr().out

    def test_missing_model(self, tmp_path, photo, capsys):
        assert main(arguments(tmp_path / "no-model", photo, tmp_path / "out")[1:]) == 2
        assert "no-model" in capsys.readouterr().err

    @pytest.mark.filterwarnings("ignore")  # Lightning's advice on devices and workers
    def test_output_that_cannot_be_written(self, tmp_path, photo, tiny_sd, capsys):
        (tmp_path / "file").touch()
        assert main(arguments(tiny_sd, photo, tmp_path / "file" / "out")[1:]) == 2
        assert "cannot be written" in capsys.readouterr().err

    @pytest.mark.filterwarnings("ignore")
    def test_null_text_needs_gradients(self, tmp_path, photo, tiny_sd, capsys):
        inversion = "--model.init_args.inversion=faceforward.diffusion.inversion.NullTextInversion"
        command = arguments(tiny_sd, photo, tmp_path / "out")[1:]
        assert main([*command, inversion]) == 2
        assert "--trainer.inference_mode false" in capsys.readouterr().err

    @pytest.mark.filterwarnings("ignore")
    def test_fewer_photographs_than_processes(self, tmp_path, photo, tiny_sd, capsys):
        assert main([*arguments(tiny_sd, photo, tmp_path / "out")[1:], "--trainer.devices=2"]) == 2
        assert "cannot be shared among 2 processes" in capsys.readouterr().err


def test_help_needs_no_weights_and_little_time():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = run("infer.py", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert shown.returncode == 0
    for option in ("--photos", "--target_ages", "--output", "--face", "--overwrite"):
        assert re.search(rf"^  {option}\b", shown.stdout, re.MULTILINE)
    # Seconds of the processor: the wall clock also measures what else the machine does.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 8
