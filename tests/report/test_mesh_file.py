"""PLY and GLB open in trimesh, are what was written, and say that they are synthetic."""

import json
import struct
import sys

import numpy as np
import pytest
import trimesh

from faceforward.eg3d.mesh import Mesh
from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.report.mesh_file import write_mesh
from faceforward.report.metadata import Mark
from full_disk import full_disk


@pytest.fixture(scope="module")
def mesh():
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.3)
    colours = np.random.default_rng(0).integers(0, 256, (len(ball.vertices), 3)).astype(np.uint8)
    return Mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32), colours)


@pytest.mark.parametrize("ending", ["ply", "glb"])
def test_what_is_written_opens_as_the_same_closed_surface(mesh, tmp_path, ending):
    write_mesh(mesh, tmp_path / f"a.{ending}")
    read = trimesh.load(tmp_path / f"a.{ending}", force="mesh")
    assert read.is_watertight
    assert read.is_winding_consistent
    assert read.volume == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=0.02)
    np.testing.assert_allclose(read.bounds, [[-0.3] * 3, [0.3] * 3], atol=1e-6)
    np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-7)
    np.testing.assert_array_equal(read.faces, mesh.faces)
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{ending}"]


def test_ply_is_binary_and_says_what_it_is(mesh, tmp_path):
    write_mesh(mesh, tmp_path / "a.ply", Mark("synthetic", "A head.\n모델", "tiny"))
    header = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")[0].decode("ascii").splitlines()
    assert header[:2] == ["ply", "format binary_little_endian 1.0"]
    assert header[2].startswith("comment Synthetic")
    assert "not a photograph" in header[2]
    assert header[2].endswith(r"A head. \ubaa8\ub378")
    assert header[3].startswith("comment Made by faceforward")
    assert header[3].endswith("model: tiny")
    np.testing.assert_array_equal(trimesh.load(tmp_path / "a.ply").visual.vertex_colors[:, :3], mesh.colours)


def test_glb_says_what_it_is_and_shows_its_own_colours(mesh, tmp_path):
    write_mesh(mesh, tmp_path / "a.glb", Mark("synthetic", "모델", "tiny"))
    content = (tmp_path / "a.glb").read_bytes()
    length = struct.unpack_from("<I", content, 12)[0]
    tree = json.loads(content[20 : 20 + length])
    extras = tree["asset"]["extras"]
    assert extras["digitalSourceType"].endswith("trainedAlgorithmicMedia")
    assert extras["description"].endswith("모델")
    assert extras["model"] == "tiny"
    (primitive,) = tree["meshes"][0]["primitives"]
    assert "KHR_materials_unlit" in tree["materials"][primitive["material"]]["extensions"]
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]
    read = (
        trimesh.load(tmp_path / "a.glb", force="mesh", skip_materials=True).visual.vertex_colors[:, :3] / 255
    )
    shown = np.where(read <= 0.0031308, read * 12.92, 1.055 * read ** (1 / 2.4) - 0.055) * 255
    assert np.abs(shown - mesh.colours)[mesh.colours > 60].max() < 2  # eight linear bits know few darks


def test_other_endings_are_refused(mesh, tmp_path):
    with pytest.raises(ConfigurationError, match=r"end in \.ply or \.glb"):
        write_mesh(mesh, tmp_path / "a.obj")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_older_file(mesh, tmp_path):
    path = tmp_path / "a.ply"
    path.write_text("older")
    large = Mesh(*(np.repeat(part, 3, axis=0) for part in (mesh.vertices, mesh.faces, mesh.colours)))
    with full_disk(), pytest.raises(OSError, match="large"):
        write_mesh(large, path)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_without_trimesh_the_extra_is_named(mesh, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(WeightsUnavailableError, match=r"package trimesh: pip install 'faceforward\[mesh\]'"):
        write_mesh(mesh, tmp_path / "a.ply")
