"""Camera labels in every form in which they are passed around."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from faceforward.atomic import atomic_file, atomic_folder
from faceforward.eg3d import cameras
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

DATASET = "dataset.json"  # EG3D's name; GOAE says label.json
NAMES = (DATASET, "label.json", "labels.json", "cameras.json")
RADII = (0.5, 50.0)  # of a camera that can be meant


def read_labels(path: Path) -> dict[str, torch.Tensor]:
    """Labels by the names of their pictures.

    Args:
        path: `{"labels": [[file, [25 numbers]], ...]}` (`dataset.json`, `label.json`); `cameras.json` of
            `{name: {"intrinsics": 3x3 in shares of the side, "pose": 4x4}}`; one `.npy` of 25 numbers; or a
            folder that holds one of these. Numbers may be written as text.

    Returns:
        `(25,)` float32 each, at their own radius; see `cameras.at_radius`.

    Raises:
        ConfigurationError: There is none, or a label is no camera; it says which.
    """
    if path.is_dir():
        found = next((path / name for name in NAMES if (path / name).is_file()), None)
        if found is not None:
            return read_labels(found)
        arrays = sorted(path.glob("*.npy"))
        if not arrays:
            raise ConfigurationError(f"the folder {path} holds neither {', '.join(NAMES)} nor .npy labels")
        return {array.stem: _read_array(array) for array in arrays}
    if path.suffix == ".npy":
        return {path.stem: _read_array(path)}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"the camera labels {path} cannot be read: {error}") from error
    return labels_in(content, str(path))


def labels_in(content: Any, where: str) -> dict[str, torch.Tensor]:
    """Labels in the content of a JSON file; see `read_labels`.

    Args:
        content: As `json.loads` gives it.
        where: Its name, for messages.

    Raises:
        ConfigurationError: It is of no known form, or a label is no camera.
    """
    if isinstance(content, dict) and "labels" in content:
        content = content["labels"]
    if isinstance(content, dict):
        pairs = [(str(name), _joined(value, f"{name} in {where}")) for name, value in content.items()]
    elif isinstance(content, list) and all(isinstance(entry, list) and len(entry) == 2 for entry in content):
        pairs = [(str(name), value) for name, value in content]
    else:
        raise ConfigurationError(
            f'{where} holds no camera labels: it has to be {{"labels": [[file, [25 numbers]], ...]}}, or '
            '{name: {"intrinsics": ..., "pose": ...}}'
        )
    if not pairs:
        raise ConfigurationError(f"{where} holds no camera label")
    found: dict[str, torch.Tensor] = {}
    for name, value in pairs:
        label = _label(value, f"{name} in {where}")
        if name in found and not torch.equal(found[name], label):
            raise ConfigurationError(f"{where} has {name} twice, with different cameras: take one out")
        found[name] = label
    return found


def write_labels(labels: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write labels in the form that the name asks for; `read_labels` gives them back.

    Args:
        labels: `(25,)` each, by the names of their pictures.
        path: `cameras.json` is written as `{name: {"intrinsics": 3x3, "pose": 4x4}}`, any other `.json` as
            `{"labels": [[file, [25 numbers]], ...]}`, the form of EG3D and GOAE, whole or not at all; a name
            without an ending is a folder of one `.npy` of 25 float32 for each picture.

    Raises:
        ConfigurationError: The name asks for no known form, or pictures differ in their endings alone.
        OSError: It cannot be written.
    """
    if path.suffix == ".json":
        numbers = {name: [round(x, 7) for x in label.tolist()] for name, label in labels.items()}
        content: Any = {"labels": [list(pair) for pair in numbers.items()]}
        if path.name == "cameras.json":
            content = {
                name: {"intrinsics": _rows(values[16:], 3), "pose": _rows(values[:16], 4)}
                for name, values in numbers.items()
            }
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")
    elif not path.suffix:
        arrays = {Path(name).with_suffix("").as_posix().replace("/", "_"): name for name in labels}
        if len(arrays) < len(labels):
            raise ConfigurationError(f"{path}: names of pictures differ in nothing but their endings")
        with atomic_folder(path) as folder:
            for stem, name in arrays.items():
                np.save(folder / f"{stem}.npy", labels[name].numpy().astype(np.float32))
    else:
        raise ConfigurationError(f"{path}: give dataset.json, cameras.json or a folder for .npy files")


def _rows(values: list[float], width: int) -> list[list[float]]:
    return [values[start : start + width] for start in range(0, len(values), width)]


def _read_array(path: Path) -> torch.Tensor:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigurationError(f"the camera label {path} cannot be read: {error}") from error
    return _label(found.reshape(-1).tolist(), str(path))


def _joined(value: Any, where: str) -> Any:
    """The 25 numbers of an entry that keeps pose and intrinsics apart."""
    if not isinstance(value, dict):
        return value
    if "pose" not in value or "intrinsics" not in value:
        raise ConfigurationError(f"{where} has no pose and intrinsics: it holds {', '.join(map(str, value))}")
    try:
        pose, inner = (np.asarray(value[key], dtype=np.float64).reshape(-1) for key in ("pose", "intrinsics"))
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigurationError(f"{where} is no camera: {error}") from error
    return [*pose.tolist(), *inner.tolist()]


def _label(value: Any, where: str) -> torch.Tensor:
    try:
        numbers = [float(number) for number in value]
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigurationError(f"the camera label of {where} is not made of numbers: {error}") from error
    if len(numbers) != cameras.LABEL or not all(map(math.isfinite, numbers)):
        raise ConfigurationError(
            f"the camera label of {where} has {len(numbers)} numbers (finite ones are needed, 25): 16 of "
            "cam2world, row by row, then 9 of intrinsics"
        )
    label = torch.tensor(numbers, dtype=torch.float32)
    pose, inner = cameras.pose(label), cameras.intrinsics(label)
    turned = pose[:3, :3] @ pose[:3, :3].T
    radius = pose[:3, 3].norm().item()
    if not torch.allclose(turned, torch.eye(3), atol=2e-2) or torch.linalg.det(pose[:3, :3]) < 0:
        raise ConfigurationError(
            f"the camera label of {where} is no pose: its 3 x 3 part is not a rotation (is it world2cam, or "
            "column by column?)"
        )
    if not RADII[0] <= radius <= RADII[1]:
        raise ConfigurationError(f"the camera of {where} is {radius:.3g} from the origin: 2.7 is usual")
    focal, centre = inner.diagonal()[:2], inner[:2, 2]
    if not ((focal > 0.1) & (focal < 50)).all():
        raise ConfigurationError(
            f"the focal length of {where} is {_listed(focal)}: give it in shares of the side, as 4.2647"
        )
    if not (centre.abs() <= 2).all():
        raise ConfigurationError(
            f"the middle of {where} is at {_listed(centre)}: give it in shares of the side, as 0.5"
        )
    last = (pose[3] - pose.new_tensor([0, 0, 0, 1])).abs(), (inner[2] - inner.new_tensor([0, 0, 1])).abs()
    if max(float(away.max()) for away in last) > 1e-3:
        raise ConfigurationError(
            f"the camera label of {where} is no camera: the last rows of pose and intrinsics have to be "
            "0 0 0 1 and 0 0 1"
        )
    if pose[:3, 2] @ pose[:3, 3] > 0:
        raise ConfigurationError(
            f"the camera of {where} looks away from the origin, where the head is: its axes have to be x "
            "right, y down, z forward (those of OpenGL need the signs of y and z turned)"
        )
    return label


def _listed(values: torch.Tensor) -> str:
    return " and ".join(f"{value:.4g}" for value in values.tolist())
