"""The folder of one generated head: its views, depth maps, turntable and meshes, complete or not at all."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from faceforward.atomic import atomic_folder, write_atomically
from faceforward.eg3d.mesh import surface
from faceforward.eg3d.views import (
    DEPTH_UNIT,
    Orbit,
    depth_levels,
    depth_preview,
    grid,
    picture,
    render_views,
    turntable,
)
from faceforward.faces.crops import resized
from faceforward.report.case import RESULT
from faceforward.report.mesh_file import write_mesh
from faceforward.report.metadata import Mark, write_png
from faceforward.report.video import GIF_SIDE, write_gif, write_mp4
from faceforward.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from faceforward.eg3d.generator import TriPlaneGenerator
    from faceforward.eg3d.views import Angle, View


@dataclass(frozen=True)
class Wanted:
    """What is made of a head.

    Attributes:
        yaws: Degrees, as `look_at` takes them.
        pitches: Degrees; every yaw is shown at each.
        depth: Depth maps of the views.
        video: Turntable as MP4.
        gif: Turntable as GIF.
        frames: Of the turntable.
        fps: Its frames per second.
        meshes: Endings of the mesh files, `ply` and `glb`.
        mesh_resolution: See `surface`.
        level: See `surface`.
    """

    yaws: tuple[float, ...] = (-30.0, 0.0, 30.0)
    pitches: tuple[float, ...] = (0.0,)
    depth: bool = False
    video: bool = False
    gif: bool = False
    frames: int = 60
    fps: int = 20
    meshes: tuple[str, ...] = ()
    mesh_resolution: int = 256
    level: float | None = None

    @property
    def angles(self) -> list[Angle]:
        """(yaw, pitch) of the views, degrees."""
        return grid(self.yaws, self.pitches)

    def settings(self) -> dict[str, Any]:
        """As JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values


def view_name(angle: Angle) -> str:
    """The name of a view's file, without its ending: `yaw-30_pitch+0`."""
    return f"yaw{angle[0]:+g}_pitch{angle[1]:+g}"


def write_head(
    final: Path,
    generator: TriPlaneGenerator,
    ws: torch.Tensor,
    wanted: Wanted,
    *,
    model: str,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Make planes once and write all that is wanted of them.

    Args:
        final: The folder; it takes the place of an older one when it is complete.
        generator: In evaluation mode.
        ws: `(1, num_ws, w)`.
        wanted: What to make.
        model: Name of the generator, for the marks.
        facts: What else result.json is to say.

    Returns:
        What result.json holds.

    Raises:
        NoSurfaceError: There is no mesh to be made; nothing is left of the new folder.
        WeightsUnavailableError: A package for videos or meshes is not installed.
        OSError: The disk is full or cannot be written.
    """
    with torch.no_grad():
        planes = generator.planes(ws)
    cameras = Orbit().cameras(wanted.angles)
    content: dict[str, Any] = {
        **facts,
        "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "faceforward": __version__,
        "views": [],
    }
    with atomic_folder(final) as folder:
        for name in ("views", *(("depth",) if wanted.depth else ())):
            (folder / name).mkdir()
        views = render_views(generator, planes, ws, wanted.angles)
        for angle, camera, view in zip(wanted.angles, cameras, views, strict=True):
            content["views"].append(
                {
                    **_write_view(folder, angle, view, model, depth=wanted.depth),
                    "camera": [round(value, 6) for value in camera.tolist()],
                }
            )
        if wanted.video or wanted.gif:
            path = turntable(wanted.frames)
            turned = (picture(view.image) for view in render_views(generator, planes, ws, path))
            _write_turntable(folder, turned, wanted, model)
        if wanted.meshes:
            mesh = surface(
                generator.renderer, planes[0], resolution=wanted.mesh_resolution, level=wanted.level
            )
            for ending in wanted.meshes:
                write_mesh(mesh, folder / f"mesh.{ending}", _mark("The surface of a generated head.", model))
            content["mesh"] = {
                "vertices": len(mesh.vertices),
                "faces": len(mesh.faces),
                "bounds": [mesh.vertices.min(0).round(4).tolist(), mesh.vertices.max(0).round(4).tolist()],
                "level": round(mesh.level, 4),
            }
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        content["files"] = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
        write_atomically(folder / RESULT, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return content


def _mark(description: str, model: str) -> Mark:
    return Mark("synthetic", description, model)


def _write_view(folder: Path, angle: Angle, view: View, model: str, *, depth: bool) -> dict[str, Any]:
    name, seen = view_name(angle), f"seen at yaw {angle[0]:g} and pitch {angle[1]:g} degrees"
    line: dict[str, Any] = {"yaw": angle[0], "pitch": angle[1], "file": f"views/{name}.png"}
    write_png(folder / line["file"], picture(view.image), _mark(f"A generated head, {seen}.", model))
    if depth:
        levels = depth_levels(view)
        line |= {"depth": f"depth/{name}.png", "depth_preview": f"depth/{name}_preview.png"}
        line["depth_unit"] = DEPTH_UNIT
        means = f"{DEPTH_UNIT:g} world units along the ray in each step, 0 where it meets nothing"
        mark = _mark(f"Depth of a generated head, {seen}: {means}.", model)
        write_png(folder / line["depth"], levels, mark)
        mark = _mark(f"Depth of a generated head, {seen}: what is near is bright.", model)
        write_png(folder / line["depth_preview"], depth_preview(levels), mark)
    return line


def _write_turntable(folder: Path, frames: Iterable[np.ndarray], wanted: Wanted, model: str) -> None:
    """Both files from one rendering: what the GIF needs is kept while the video goes by."""
    mark = _mark("A generated head from changing angles.", model)
    kept: list[np.ndarray] = []

    def passing() -> Iterator[np.ndarray]:
        for frame in frames:
            kept.append(resized(frame, min(GIF_SIDE, frame.shape[0])))
            yield frame

    if wanted.video:
        write_mp4(folder / "turntable.mp4", passing() if wanted.gif else frames, mark, fps=wanted.fps)
    if wanted.gif:
        write_gif(folder / "turntable.gif", kept if wanted.video else frames, mark, fps=wanted.fps)
