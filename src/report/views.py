"""The folder of one person's views: pictures, turntable, mesh, depth and what is known about them."""

from __future__ import annotations

import datetime
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from faceforward.atomic import atomic_folder, write_atomically
from faceforward.eg3d import cameras as eg3d
from faceforward.eg3d.views import DEPTH_UNIT, depth_preview
from faceforward.faces.crops import resized
from faceforward.faces.relief_mesh import TexturedMesh
from faceforward.report.head import view_name
from faceforward.report.mesh_file import write_mesh, write_textured
from faceforward.report.metadata import Mark, write_png
from faceforward.report.video import write_mp4
from faceforward.report.view_grid import view_grid
from faceforward.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from faceforward.modules.view_synthesizer import SeenView, ViewResult

VIEWS = "views.json"
TILE = 220  # pixels of a view on the sheet
FPS = 20
DOUBTED = "not to be relied on"


def read_views(folder: Path) -> dict[str, Any] | None:
    """The views.json of a complete folder, or None."""
    try:
        record: dict[str, Any] = json.loads((folder / VIEWS).read_text(encoding="utf-8"))
        complete = all((folder / name).stat().st_size == size for name, size in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if complete and "settings_sha256" in record else None


def write_views(
    final: Path, result: ViewResult, *, which: str, input_sha256: str, key: str
) -> dict[str, Any]:
    """Write the folder, whole or not at all.

    Args:
        final: `cases/<id>/views/<which>`.
        result: What to write.
        which: `photograph`, or the age in years of the aged picture that was turned.
        input_sha256: Of the picture's file.
        key: Of `settings_key`.

    Returns:
        What views.json holds.

    Raises:
        WeightsUnavailableError: A package for videos or meshes is not installed.
        OSError: The disk is full or cannot be written.
    """
    source = "a photograph" if which == "photograph" else f"an estimate at age {which}"
    final.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(final) as folder:
        for seen in result.views:
            held = f", {DOUBTED}: {'; '.join(seen.doubts)}" if seen.doubts else ""
            yaw, pitch = seen.angle
            mark = _mark(result, f"The head of {source} from yaw {yaw:g}, pitch {pitch:g} degrees{held}.")
            write_png(folder / f"{view_name(seen.angle)}.png", seen.view.image, mark)
        levels = np.clip(np.rint(result.own.depth / DEPTH_UNIT), 0, 2**16 - 1).astype(np.uint16)
        unit = f"{DEPTH_UNIT:g} world units in a step, 0 where there is nothing"
        write_png(folder / "depth.png", levels, _mark(result, f"Depth of the head of {source}: {unit}."))
        preview = _mark(result, f"Depth of the head of {source}: what is near is bright.")
        write_png(folder / "depth_preview.png", depth_preview(levels), preview)
        seen_share = np.rint(result.own.visibility * 255).astype(np.uint8)
        own = "bright where a pixel is the picture's own"
        mark = _mark(result, f"Visibility at the camera of {source}: {own}.")
        write_png(folder / "visibility.png", seen_share, mark)
        if result.turning:
            mark = _mark(result, f"The head of {source}, turned.")
            write_mp4(folder / "turntable.mp4", result.turning, mark, fps=FPS)
        if result.mesh is not None:
            mark = _mark(result, f"The head of {source} as a surface; its back is made up.")
            if isinstance(result.mesh, TexturedMesh):
                write_textured(result.mesh, folder / "mesh.glb", mark)
            else:
                write_mesh(result.mesh, folder / "mesh.glb", mark)
        write_png(folder / "sheet.png", sheet(result, which), _mark(result, f"Views of {source}."))
        content = describe(result, which) | {"input_sha256": input_sha256, "settings_sha256": key}
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        content["files"] = {path.name: path.stat().st_size for path in files}
        write_atomically(folder / VIEWS, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return content


def _mark(result: ViewResult, description: str) -> Mark:
    # Without a pixel of the photograph all of it is the network's.
    return Mark("composite" if result.own.visibility.any() else "synthetic", description, result.head)


def sheet(result: ViewResult, which: str) -> np.ndarray:
    """All views on one picture: the source first, and under it what of each is the source's own.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    crop = resized(result.estimate.crop, TILE)
    shares = [
        np.repeat(np.rint(s.view.visibility * 255).astype(np.uint8)[..., None], 3, 2) for s in result.views
    ]
    own = np.repeat(np.rint(result.own.visibility * 255).astype(np.uint8)[..., None], 3, 2)
    names = ["source", *(_title(seen) for seen in result.views)]
    text = (
        "Estimates, not photographs. Below: bright where a pixel is the source's own. "
        f"? = {DOUBTED}, views.json says why. Head: {result.head}."
    )
    rows = [[crop, *(seen.view.image for seen in result.views)], [own, *shares]]
    source = "photo" if which == "photograph" else f"age {which}"
    return view_grid(rows, names=[source, "own"], views=names, footer=text, tile=TILE)


def _title(seen: SeenView) -> str:
    yaw, pitch = seen.angle
    title = f"{yaw:+g}°" + (f" / {pitch:+g}°" if pitch else "")
    return f"{title} ?" if seen.doubts else title


def describe(result: ViewResult, which: str) -> dict[str, Any]:
    """Everything about a person's views as JSON values: the content of views.json.

    Angles are degrees; `distance` is the descriptor's to the source, both detected and aligned anew; `limit`
    the one that a stranger in a hundred comes within (`metrics.strangers`); `pose_error` the angle between
    the camera asked for and the one estimated from the picture by the mesh. They are null where no face was
    found in the view.
    """
    found = result.estimate
    yaw, pitch, roll = eg3d.angles(eg3d.pose(found.label)).tolist()
    return {
        "id": result.photo.id,
        "file": result.photo.file,
        "which": which,
        "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "faceforward": __version__,
        "seconds": round(result.seconds, 3),
        "head": result.head,
        "why": result.why,
        "camera": {
            "label": [round(number, 7) for number in found.label.tolist()],
            "yaw": round(yaw, 2),
            "pitch": round(pitch, 2),
            "roll": round(roll, 2),
            "uncertainty": round(found.uncertainty, 2),
            "crop_to_photograph": found.alignment.matrix.round(6).tolist(),
        },
        "psnr": None if math.isinf(result.psnr) else round(result.psnr, 2),
        "own_share": round(float(result.own.visibility.mean()), 4),
        "views": [_view(seen) for seen in result.views],
        "turntable": "turntable.mp4" if result.turning else None,
        "mesh": None
        if result.mesh is None
        else {
            "file": "mesh.glb",
            "vertices": len(result.mesh.vertices),
            "faces": len(result.mesh.faces),
        },
        "depth_unit": DEPTH_UNIT,
        "detector": result.detector,
        "notes": list(result.notes),
        "settings": result.settings,
    }


def _view(seen: SeenView) -> dict[str, Any]:
    return {
        "yaw": seen.angle[0],
        "pitch": seen.angle[1],
        "file": f"{view_name(seen.angle)}.png",
        "camera": [round(number, 6) for number in seen.camera.tolist()],
        "within_reach": seen.within,
        "doubts": list(seen.doubts),
        "own_share": round(float(seen.view.visibility.mean()), 4),
        "distance": None if seen.distance is None else round(seen.distance, 4),
        "limit": None if seen.limit is None else round(seen.limit, 4),
        "pose_error": None if seen.pose_error is None else round(seen.pose_error, 2),
    }
