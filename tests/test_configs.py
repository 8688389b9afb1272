"""Every shipped YAML is parsed by the door it belongs to, and the README names only what exists."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from faceforward.cli import resolve_configs, shipped_config
from faceforward.infer import main as infer
from faceforward.train import main

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted((ROOT / "configs" / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_experiment_parses(path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "-c", str(path), "--seed_everything=77", "--print_config"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "class_path: faceforward." in printed
    seeds = yaml.safe_load(printed)["data"]["init_args"]
    assert seeds.get("seed", 77) == 77  # one seed for all that is drawn


def test_every_yaml_is_covered():
    known = {*EXPERIMENTS, *(ROOT / "configs" / "infer").glob("*.yaml")}  # those by tests/test_infer.py
    known |= set((ROOT / "configs" / "data").glob("*.yaml"))  # by tests/datamodules/test_aged_faces.py
    known |= set((ROOT / "configs" / "logger").glob("*.yaml"))  # by tests/test_loggers.py
    known |= set((ROOT / "configs" / "trainer").glob("*.yaml"))  # by tests/test_trainer_configs.py
    assert set((ROOT / "configs").rglob("*.yaml")) == known


def test_shipped_yaml_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = str(shipped_config("experiment/autoencoder.yaml"))
    assert resolve_configs(["fit", "-c", "configs/experiment/autoencoder.yaml"]) == ["fit", "-c", found]
    assert resolve_configs(["fit", "--config=experiment/autoencoder.yaml"]) == ["fit", f"--config={found}"]
    data = str(shipped_config("data/aihub.yaml"))
    assert resolve_configs(["fit", "--data", "configs/data/aihub.yaml"]) == ["fit", "--data", data]
    assert resolve_configs(["fit", "-c", "mine.yaml", "--x", "1"]) == ["fit", "-c", "mine.yaml", "--x", "1"]


def test_a_file_here_comes_before_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "autoencoder.yaml").touch()
    assert resolve_configs(["-c", "experiment/autoencoder.yaml"]) == ["-c", "experiment/autoencoder.yaml"]


def test_run_that_cannot_work_is_exit_2(tmp_path, capsys):
    config = ROOT / "configs" / "experiment" / "base_diffusion.yaml"
    assert main(["fit", "-c", str(config), "--model.init_args.new_over=null"]) == 2
    assert "give one of init_from" in capsys.readouterr().err


def test_what_the_readmes_write_is_not_offered_to_git():
    words = [
        word
        for name in ("README.md", "README.ko.md", "docs/3d.md", "docs/clusters.md", "docs/evaluation.md")
        for word in re.findall(r"--(?:output|photos|root) (\w[\w-]*)(?![\w.-])", (ROOT / name).read_text())
    ]
    folders = {f"{word}/a.png" for word in words if word.islower()} | {
        "runs/a.png",
        "demo-output/a.png",
        "photos.csv",
    }
    folders -= {"official/a.png", "generator/a.png"}  # weights
    assert {"photos/a.png", "out/a.png", "cameras/a.png", "sampled/a.png"} <= folders
    run = subprocess.run(
        ["git", "check-ignore", "--no-index", *sorted(folders)], cwd=ROOT, capture_output=True, text=True
    )
    if run.returncode == 128:
        pytest.skip("not a checkout")
    assert sorted(folders - set(run.stdout.split())) == []


@pytest.mark.parametrize("name", ["README.ko.md", "docs/clusters.md"])
def test_other_documents_name_files_that_exist(name):
    text = (ROOT / name).read_text()
    named = set(re.findall(r"configs/[\w/]+\.yaml", text))
    assert [each for each in named if not (ROOT / each).exists()] == []
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []


def _infer_commands():
    """Every `infer.py ...` and `faceforward infer ...` of the documents, as words."""
    for name in ("README.md", "README.ko.md", "docs/clusters.md"):
        for block in re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text(), re.S):
            for line in block.splitlines():
                command = shlex.split(line, comments=True)
                for start, word in enumerate(command):
                    if word == "infer.py" or command[start : start + 2] == ["faceforward", "infer"]:
                        rest = command[start + 1 + (word != "infer.py") :]
                        yield pytest.param(rest, id=f"{name}: {' '.join(rest)[:60]}")
                        break


@pytest.mark.parametrize("words", list(_infer_commands()))
def test_the_documents_commands_parse(words, tmp_path, monkeypatch, capsys):
    if "..." in words:
        pytest.skip("shortened")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        infer([*words, "--print_config"])
    assert stopped.value.code == 0, capsys.readouterr().err[-1000:]


def test_readme_names_files_that_exist():
    text = (ROOT / "README.md").read_text()
    commands = [
        shlex.split(line, comments=True)
        for block in re.findall(r"```sh\n(.*?)```", text, re.S)
        for line in block.splitlines()
    ]
    named = {word for command in commands for word in command if word.endswith((".py", ".yaml"))}
    assert {"infer.py", "train.py", "configs/infer/age.yaml"} <= named
    assert [name for name in named if not (ROOT / name).exists()] == []
    targets = {command[1] for command in commands if command[:1] == ["make"]}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []
