"""Every form of camera labels is read, and what is no camera is refused by name."""

import json

import numpy as np
import pytest
import torch

from faceforward.datamodules.camera_labels import read_labels, write_labels
from faceforward.eg3d import cameras
from faceforward.errors import ConfigurationError

LABEL = cameras.labels(cameras.look_at(20, 10))[0]


def equal(found, expected=LABEL):
    torch.testing.assert_close(found, expected)


def test_what_is_written_is_read(tmp_path):
    write_labels({"a.png": LABEL, "b.png": cameras.mirrored(LABEL)}, tmp_path / "dataset.json")
    content = json.loads((tmp_path / "dataset.json").read_text())
    assert [name for name, _ in content["labels"]] == ["a.png", "b.png"]
    found = read_labels(tmp_path)
    equal(found["a.png"])
    equal(found["b.png"], cameras.mirrored(LABEL))


def test_numbers_as_text(tmp_path):
    path = tmp_path / "label.json"
    path.write_text(json.dumps({"labels": [["1.jpg", [str(x) for x in LABEL.tolist()]]]}))
    equal(read_labels(path)["1.jpg"])
    equal(read_labels(tmp_path)["1.jpg"])


def test_cameras_json_at_its_own_radius(tmp_path):
    far = cameras.at_radius(LABEL, 4.0)
    entry = {
        "intrinsics": cameras.intrinsics(far).tolist(),
        "pose": cameras.pose(far).tolist(),
        "angle": [0.1, 0.2],
    }
    (tmp_path / "cameras.json").write_text(json.dumps({"1": entry}))
    found = read_labels(tmp_path / "cameras.json")["1"]
    equal(found, far)
    equal(cameras.at_radius(found), cameras.at_radius(LABEL))


@pytest.mark.parametrize("name", ["dataset.json", "label.json", "cameras.json", "labels"])
def test_what_is_written_in_any_form_is_read(tmp_path, name):
    labels = {"1": LABEL, "2": cameras.mirrored(LABEL)}
    write_labels(labels, tmp_path / name)
    found = read_labels(tmp_path / name)
    assert list(found) == ["1", "2"]
    for key, label in labels.items():
        equal(found[key], label)


def test_forms_that_are_none(tmp_path):
    with pytest.raises(ConfigurationError, match=r"give dataset\.json"):
        write_labels({"1": LABEL}, tmp_path / "labels.txt")
    with pytest.raises(ConfigurationError, match="nothing but their endings"):
        write_labels({"1.png": LABEL, "1.jpg": LABEL}, tmp_path / "labels")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(25,), (1, 25)])
def test_arrays(tmp_path, shape):
    np.save(tmp_path / "7.npy", LABEL.numpy().reshape(shape))
    equal(read_labels(tmp_path)["7"])
    equal(read_labels(tmp_path / "7.npy")["7"])


def test_official_labels(shared_cameras):
    found = read_labels(shared_cameras / "npy") | read_labels(shared_cameras / "dataset_json")
    assert len(found) == 5
    for label in found.values():
        assert label[[3, 7, 11]].norm().item() == pytest.approx(2.7, abs=0.3)  # one is not normalised


def changed(index: int, value: object) -> list:
    numbers: list = LABEL.tolist()
    numbers[index] = value
    return numbers


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (LABEL.tolist()[:24], "24 numbers"),
        (changed(0, float("nan")), "finite"),
        (changed(0, "x"), "not made of numbers"),
        (None, "not made of numbers"),
        (changed(0, 0.2), "not a rotation"),
        (changed(3, 1e6), "from the origin"),
        (changed(16, 2000.0), "focal length"),
        (changed(20, 0.0), "focal length .* 4.265 and 0:"),
        (changed(18, 256.0), "the middle"),
        (changed(15, 9.0), "last rows"),
        (changed(24, 9.0), "last rows"),
        (changed(0, 10**400), "not made of numbers"),
        ([*cameras.to_opengl(cameras.pose(LABEL)).flatten().tolist(), *LABEL[16:].tolist()], "looks away"),
    ],
)
def test_no_camera(tmp_path, numbers, said):
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": [["good.png", LABEL.tolist()], ["b", numbers]]})
    )
    with pytest.raises(ConfigurationError, match=said) as caught:
        read_labels(tmp_path)
    assert "b in" in str(caught.value)


def test_one_picture_has_one_camera(tmp_path):
    other = cameras.mirrored(LABEL).tolist()
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": [["a", LABEL.tolist()], ["a", LABEL.tolist()]]}))
    equal(read_labels(path)["a"])
    path.write_text(json.dumps({"labels": [["a", LABEL.tolist()], ["a", other]]}))
    with pytest.raises(ConfigurationError, match="a twice, with different cameras"):
        read_labels(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ('{"labels": []}', "no camera label"),
        ("[1, 2]", "holds no camera labels"),
        ('{"a": {"pose": 1}}', "no pose and intrinsics"),
        ('{"a": {"pose": "x", "intrinsics": 2}}', "is no camera"),
    ],
)
def test_no_labels(tmp_path, text, said):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read_labels(tmp_path)


def test_empty_folder_and_pickled_array(tmp_path):
    with pytest.raises(ConfigurationError, match="neither"):
        read_labels(tmp_path)
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigurationError, match=r"a\.npy cannot be read"):
        read_labels(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_labels(tmp_path / "none.json")
