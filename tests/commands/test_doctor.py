import dataclasses
import json

import pytest
from safetensors.torch import save

from faceforward import pretrained
from faceforward.commands import doctor
from faceforward.registry import REGISTRY

EMPTY = save({})  # a safetensors file


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    """A machine with a model in the package, whatever the checkout has, and no downloads."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path / "home"))
    for model in ("face-ldm-128", "face-mesh", "face-growth"):
        for name in REGISTRY[model].files:
            file = tmp_path / "weights" / model / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(EMPTY if name.endswith(".safetensors") else b"{}")
    (tmp_path / "weights" / "faceres").symlink_to(pretrained.EMBEDDED / "faceres")  # its digest is known
    monkeypatch.setattr(pretrained, "EMBEDDED", tmp_path / "weights")


def with_entry(monkeypatch, name, **changes):
    entry = dataclasses.replace(REGISTRY[name], **changes)
    monkeypatch.setitem(REGISTRY, name, entry)


def states(capsys):
    report = json.loads(capsys.readouterr().out)
    return report, {item["name"]: (item["state"], item["used"]) for item in report["backends"]}


def test_a_whole_machine_is_ready(capsys):
    assert doctor.main(["--json"]) == 0
    report, found = states(capsys)
    assert report["ready"]
    assert found["mtcnn"] == ("here", True)
    assert found["retinaface"] == ("missing", False)
    assert (
        found["dlib-age-gender"] == found["dlib-recognition"] == found["realesrgan-x4plus"] == ("here", True)
    )
    assert found["faceres"] == ("here", True)
    assert set(report["machine"]) >= {"device", "torch", "processors", "cache"}


def test_the_text_says_what_is_used_and_how_to_get_the_rest(capsys):
    assert doctor.main([]) == 0
    text = capsys.readouterr().out
    assert "[ used  ] face detector: mtcnn" in text
    assert "get it: faceforward download retinaface" in text
    assert "Ready" in text.splitlines()[-1]


def test_3d_generators_are_looked_for_and_not_needed(tmp_path, capsys):
    assert doctor.main([]) == 0
    text = capsys.readouterr().out
    assert "[missing] 3D generator: face-eg3d-128" in text
    assert "[missing] 3D generator: eg3d-ffhqrebalanced512-128" in text
    assert "faceforward convert eg3d ffhqrebalanced512-128.pkl" in text
    assert "research and evaluation only" in text
    folder = tmp_path / "cache" / "faceforward" / "eg3d"
    folder.mkdir(parents=True)
    (folder / "ffhqrebalanced512-128.safetensors").write_bytes(b"garbage")
    assert doctor.main([]) == 0
    assert "[damaged] 3D generator: eg3d-ffhqrebalanced512-128" in capsys.readouterr().out
    (folder / "ffhqrebalanced512-128.safetensors").write_bytes(EMPTY)
    assert doctor.main(["--json"]) == 0
    report, found = states(capsys)
    assert found["eg3d-ffhqrebalanced512-128"] == ("here", False)
    (finding,) = [item for item in report["backends"] if item["name"] == "eg3d-ffhqrebalanced512-128"]
    assert finding["path"] == str(folder)


def test_every_entry_of_the_registry_is_looked_for():
    assert {name for backend in doctor.BACKENDS for name in backend.choices} == set(REGISTRY)


def test_without_a_model_it_is_not_ready(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "EMBEDDED", tmp_path / "nothing")
    assert doctor.main([]) == 1
    assert "nothing to run on for: diffusion model" in capsys.readouterr().out


def test_damaged_weights_are_not_ready(monkeypatch, capsys):
    with_entry(monkeypatch, "dlib-recognition", sha256={"shape_predictor_5_face_landmarks.dat": "0" * 64})
    assert doctor.main(["--json"]) == 1
    assert states(capsys)[1]["dlib-recognition"] == ("damaged", True)


def test_doctor_says_what_the_second_reader_was_trained_on(capsys):
    doctor.main([])
    text = capsys.readouterr().out
    after = text[text.index("second reading of age: faceres") :]
    assert "research only" in after.split("[", 1)[0]


def test_a_library_that_does_not_import_is_broken(monkeypatch, capsys):
    backends = [
        dataclasses.replace(backend, modules={"dlib-recognition": ("no_such_library",)})
        if backend.job == "identity"
        else backend
        for backend in doctor.BACKENDS
    ]
    monkeypatch.setattr(doctor, "BACKENDS", backends)
    assert doctor.main([]) == 1
    assert "import no_such_library fails" in capsys.readouterr().out


def test_wrong_usage_is_status_2(capsys):
    assert doctor.main(["--nonsense"]) == 2
    assert "usage" in capsys.readouterr().err
