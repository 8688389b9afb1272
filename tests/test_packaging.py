"""The wheel holds everything and works from an empty folder."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from faceforward.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_package_list_is_the_folders():
    folders = {p.parent.relative_to(ROOT / "src") for p in (ROOT / "src").rglob("__init__.py")}
    named = {".".join(["faceforward", *folder.parts]) for folder in folders} | {"faceforward.configs"}
    assert named == set(PROJECT["tool"]["setuptools"]["packages"])


def test_one_provider_of_cv2():
    providers = [d for d in PROJECT["project"]["dependencies"] if d.startswith("opencv")]
    assert len(providers) == 1


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, files):
        if (ROOT / name).is_file() and name.startswith(
            ("src/", "configs/", "pyproject", "README", "LICENSE", "NOTICE")
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs `faceforward ...` from the unpacked wheel in an empty folder."""
    target = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", target, wheel],
        check=True,
    )
    empty = tmp_path_factory.mktemp("empty")

    def run(*arguments, **kwargs):
        environment = {**os.environ, "PYTHONPATH": str(target)}
        command = [sys.executable, target / "bin" / "faceforward", *map(str, arguments)]
        return subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, **kwargs)

    run.site, run.folder = target, empty
    return run


def test_wheel_holds_configs_and_weights(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "faceforward/configs/infer/age.yaml" in names
    assert "faceforward/configs/experiment/specialize_faces128.yaml" in names
    assert "faceforward/py.typed" in names
    assert "faceforward/report/page.html.j2" in names
    assert "faceforward/weights/face-ldm-128/unet/diffusion_pytorch_model.safetensors" in names
    assert "faceforward/weights/face-eg3d-128/generator.safetensors" in names
    assert "faceforward/weights/mean-face/mean_face.npz" in names
    assert "faceforward/weights/face-mesh/facemesh.onnx" in names
    assert "faceforward/weights/face-growth/face_growth.npz" in names
    assert "faceforward/weights/faceres/faceres.onnx" in names
    for model, most in (("face-ldm-128", 64), ("face-eg3d-128", 32)):  # MiB
        files = [file for file in zipfile.ZipFile(wheel).infolist() if f"/weights/{model}/" in file.filename]
        assert sum(file.file_size for file in files) <= most * 2**20


@pytest.mark.slow
def test_train_from_the_wheel_finds_shipped_yaml(installed):
    done = installed("train", "fit", "-c", "experiment/specialize_faces128.yaml", "--print_config")
    assert done.returncode == 0, done.stderr
    assert "faceforward.modules.specialization.Specialization" in done.stdout


@pytest.mark.slow
def test_infer_from_the_wheel(installed, astronaut, tmp_path):
    from PIL import Image

    Image.fromarray(astronaut).save(tmp_path / "a.png")
    done = installed("infer", "age", "--photos", tmp_path / "a.png", "--target_ages=[60]", "--output", "out")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (installed.folder / "out" / "cases" / "a" / "aged" / "60.png").is_file()


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_wrong_usage_is_exit_2(capsys):
    assert main([]) == 2
    assert main(["agee"]) == 2
    assert "agee" in capsys.readouterr().err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert PROJECT["project"]["name"] in capsys.readouterr().out
