"""A tiny folder of camera-labelled crops and tiny generators, for what trains on them."""

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from faceforward.datamodules.camera_crops import CameraCrops
from faceforward.datamodules.camera_labels import write_labels
from faceforward.eg3d import cameras
from faceforward.eg3d.generator import GeneratorConfig
from faceforward.eg3d.renderer import RenderSettings

TINY = GeneratorConfig(
    z=8,
    w=8,
    plane_resolution=16,
    plane_channels=4,
    channel_base=128,
    channel_max=8,
    features=4,
    raw_resolution=8,
    resolution=32,
    sr_widths=(8, 4),
    render=RenderSettings(samples=6, importance_samples=5),
)


def write_crops(folder: Path, astronaut: np.ndarray, count: int = 8, size: int = 32) -> Path:
    """`crops/<n>.png` and `dataset.json`: one photograph, brighter and brighter, each with its own yaw."""
    (folder / "crops").mkdir(parents=True)
    face = Image.fromarray(astronaut[0:256, 100:356]).resize((size, size))
    poses = cameras.look_at(torch.linspace(-30, 30, count), 5.0)
    for index in range(count):
        pixels = np.clip(np.asarray(face, float) * (0.6 + 0.1 * index), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "crops" / f"{index}.png")
    labels = {f"{index}.png": label for index, label in enumerate(cameras.labels(poses))}
    write_labels(labels, folder / "dataset.json")
    return folder


def zipped(folder: Path) -> Path:
    """The same as one zip, as EG3D passes it around."""
    path = folder.with_suffix(".zip")
    content = json.loads((folder / "dataset.json").read_text())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dataset.json", json.dumps(content))
        for name, _ in content["labels"]:
            archive.write(folder / "crops" / name, name)
    return path


def crops(root: Path, batch_size: int = 4, **kwargs) -> CameraCrops:
    """The data module at 32 px, with its own pictures for validation."""
    return CameraCrops(str(root), val_root=str(root), size=32, batch_size=batch_size, **kwargs)


def options_of(config: GeneratorConfig) -> list[str]:
    """A generator's shapes as options of train.py."""
    values = dataclasses.asdict(config)
    values |= {f"render.{name}": value for name, value in values.pop("render").items()}
    return [
        f"--model.init_args.generator.{name}={list(value) if isinstance(value, tuple) else value}"
        for name, value in values.items()
        if value is not None
    ]
