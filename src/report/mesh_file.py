"""Meshes as PLY and GLB files that say that they are synthetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from faceforward.atomic import atomic_file
from faceforward.eg3d.mesh import needed
from faceforward.errors import ConfigurationError
from faceforward.report.metadata import SOURCE_TYPES, Mark
from faceforward.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from faceforward.eg3d.mesh import Mesh
    from faceforward.faces.relief_mesh import TexturedMesh

MARK = Mark("synthetic", "The surface of a generated head.")
SUFFIXES = (".ply", ".glb")


def write_mesh(mesh: Mesh, path: Path, mark: Mark = MARK) -> None:
    """Write a mesh that says that it is synthetic: in PLY comments, or in the extras of a GLB's asset.

    GLB's colours are linear, as glTF 2.0 has them, under a material without lights: the head's are in them.

    Args:
        mesh: What to write.
        path: `.ply` (binary) or `.glb`; it is there when it is complete, and replaces what was there.
        mark: What the file says about itself.

    Raises:
        ConfigurationError: The file would have another ending.
        WeightsUnavailableError: trimesh is not installed.
        OSError: It cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigurationError(f"{path} is to be a mesh: let its name end in .ply or .glb")
    content = _ply(mesh, mark) if path.suffix == ".ply" else _glb(mesh, mark)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def write_textured(mesh: TexturedMesh, path: Path, mark: Mark) -> None:
    """Write a textured mesh as a GLB with its picture inside, under a material without lights.

    Args:
        mesh: What to write.
        path: `.glb`; it is there when it is complete, and replaces what was there.
        mark: What the file says about itself.

    Raises:
        ConfigurationError: The file would have another ending.
        WeightsUnavailableError: trimesh is not installed.
        OSError: It cannot be written.
    """
    if path.suffix != ".glb":
        raise ConfigurationError(f"{path} is to be a textured mesh: let its name end in .glb")
    trimesh = needed("trimesh")
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(mesh.texture), metallicFactor=0.0, roughnessFactor=1.0
    )
    visual = trimesh.visual.TextureVisuals(uv=mesh.uv, material=material)

    def marked(tree: dict[str, Any]) -> None:
        tree["asset"]["extras"] = _extras(mark)
        for entry in tree["materials"]:
            entry["extensions"] = {"KHR_materials_unlit": {}}
        tree["extensionsUsed"] = ["KHR_materials_unlit"]

    shape = trimesh.Trimesh(mesh.vertices, mesh.faces, visual=visual, process=False)
    content: bytes = shape.export(file_type="glb", include_normals=False, tree_postprocessor=marked)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def _extras(mark: Mark) -> dict[str, Any]:
    """What a GLB's asset says about itself."""
    return {
        "description": mark.text,
        "digitalSourceType": SOURCE_TYPES[mark.kind],
        "software": f"faceforward {__version__}",
        "model": mark.model,
    }


def _ply(mesh: Mesh, mark: Mark) -> bytes:
    content: bytes = _trimesh(mesh, mesh.colours).export(file_type="ply", vertex_normal=False)
    start, form, rest = content.split(b"\n", 2)
    said = [
        mark.text,
        f"Made by faceforward {__version__}" + (f", model: {mark.model}" if mark.model else ""),
    ]
    lines = [" ".join(["comment", *text.split()]) for text in said]  # one line each, whatever was said
    comments = [line.encode("ascii", "backslashreplace") for line in lines]
    return b"\n".join([start, form, *comments, rest])


def _glb(mesh: Mesh, mark: Mark) -> bytes:
    def marked(tree: dict[str, Any]) -> None:
        tree["asset"]["extras"] = _extras(mark)
        plain = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
        tree["materials"] = [{"pbrMetallicRoughness": plain, "extensions": {"KHR_materials_unlit": {}}}]
        tree["extensionsUsed"] = ["KHR_materials_unlit"]
        for part in tree["meshes"]:
            for primitive in part["primitives"]:
                primitive["material"] = 0

    colours = mesh.colours / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    pixels = (linear * 255).round().astype(np.uint8)
    content: bytes = _trimesh(mesh, pixels).export(
        file_type="glb", include_normals=False, tree_postprocessor=marked
    )
    return content


def _trimesh(mesh: Mesh, colours: np.ndarray) -> Any:
    # Not processed: vertices stay where they are and in their order.
    return needed("trimesh").Trimesh(mesh.vertices, mesh.faces, vertex_colors=colours, process=False)
