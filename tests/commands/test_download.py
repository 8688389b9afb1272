import pytest

from faceforward import registry
from faceforward.commands.download import main


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path / "home"))


def test_what_is_here_is_left_alone(capsys):
    assert main(["mtcnn", "dlib-recognition"]) == 0
    assert capsys.readouterr().out.count("is here already") == 2


def test_what_cannot_be_fetched_is_said_with_the_way_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "src" / "registry.py"))  # no checkout
    assert main(["face-ldm-128-base", "mtcnn"]) == 1
    captured = capsys.readouterr()
    assert "base_diffusion.yaml" in captured.err
    assert "mtcnn is here already" in captured.out


def test_the_hub_offline_is_status_1(capsys):
    assert main(["stable-diffusion-1.5"]) == 1
    assert "could not be downloaded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"), [([], "required"), (["nonsense"], "known are"), (["-x"], "usage")]
)
def test_wrong_usage_is_status_2(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_help_names_everything(capsys):
    assert main(["--help"]) == 0
    assert "retinaface" in capsys.readouterr().out
