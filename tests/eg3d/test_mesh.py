"""Meshes of solids whose surface is known."""

import sys

import numpy as np
import pytest
import torch
import trimesh

from eg3d.known_solids import LEVEL, solid
from faceforward.eg3d.mesh import NoSurfaceError, density_grid, require_packages, surface
from faceforward.errors import WeightsUnavailableError


def reopened(mesh, *, merged=True):
    """As a reader sees it that merges equal vertices."""
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=merged)


def test_a_ball_is_a_closed_ball_of_its_radius():
    centre = (0.1, -0.05, 0.15)
    generator, planes = solid(radius=0.25, centre=centre)
    mesh = surface(generator.renderer, planes[0], resolution=48)
    assert (mesh.vertices.dtype, mesh.faces.dtype, mesh.colours.dtype) == (np.float32, np.int32, np.uint8)
    assert mesh.vertices.shape == mesh.colours.shape
    away = mesh.vertices - np.array(centre)
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), 0.25, atol=1e-3)  # a twentieth of a cell
    for merged in (False, True):
        read = reopened(mesh, merged=merged)
        assert read.is_watertight
        assert read.is_winding_consistent
        assert len(read.vertices) == len(mesh.vertices)
        assert read.euler_number == 2  # a sphere, no handles
        assert read.volume == pytest.approx(4 / 3 * np.pi * 0.25**3, rel=0.01)
        outwards = (read.face_normals * (read.triangles_center - np.array(centre))).sum(axis=1)
        assert (outwards > 0.2).all()


def test_colours_are_those_of_the_place():
    generator, planes = solid()
    mesh = surface(generator.renderer, planes[0], resolution=32)
    expected = 255 * (1.002 / (1 + np.exp(-8 * mesh.vertices.astype(float))) - 0.001)
    np.testing.assert_allclose(mesh.colours, expected, atol=1.5)
    assert np.ptp(mesh.colours, axis=0).min() > 150


def test_what_reaches_out_of_the_box_is_closed_at_its_walls():
    generator, planes = solid(radius=0.6)
    mesh = surface(generator.renderer, planes[0], resolution=24)
    read = reopened(mesh)
    assert read.is_watertight
    np.testing.assert_allclose(read.bounds, [[-0.5] * 3, [0.5] * 3], atol=1e-6)
    generator, planes = solid(radius=2.0)  # nothing but solid: the box itself
    full = reopened(surface(generator.renderer, planes[0], resolution=8))
    assert full.is_watertight
    assert full.volume == pytest.approx(1, rel=0.05)  # marching cubes rounds edges off


def test_the_box_has_the_side_that_the_generator_says():
    generator, planes = solid(radius=0.5, box_warp=2.0)
    mesh = surface(generator.renderer, planes[0], resolution=32)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.5, atol=2e-3)


def test_a_hollow_goes_with_the_parts_that_are_not_seen():
    generator, planes = solid("shell", radius=0.3)
    both = reopened(surface(generator.renderer, planes[0], resolution=32, whole=True))
    outer = reopened(surface(generator.renderer, planes[0], resolution=32))
    assert (both.body_count, outer.body_count) == (2, 1)
    assert both.is_watertight
    assert outer.is_watertight
    assert outer.volume == pytest.approx(4 / 3 * np.pi * (0.09 + 0.02) ** 1.5, rel=0.02)
    assert both.volume == pytest.approx(outer.volume - 4 / 3 * np.pi * (0.09 - 0.02) ** 1.5, rel=0.03)


def test_a_wall_behind_a_head_is_left_out():
    generator, planes = solid("before a wall", radius=0.2)
    whole = reopened(surface(generator.renderer, planes[0], resolution=32, whole=True))
    head = reopened(surface(generator.renderer, planes[0], resolution=32))
    assert (whole.body_count, head.body_count) == (2, 1)
    assert head.volume < whole.volume / 4  # the wall encloses more
    np.testing.assert_allclose(head.bounds, [[-0.2] * 3, [0.2] * 3], atol=0.01)


def test_a_part_of_a_rough_field_is_closed(tiny):
    planes = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    values = density_grid(tiny.renderer, planes, resolution=24)
    level = float(np.quantile(values, 0.8))
    every = reopened(surface(tiny.renderer, planes, resolution=24, level=level, whole=True))
    part = reopened(surface(tiny.renderer, planes, resolution=24, level=level))
    assert every.is_watertight
    assert part.is_watertight
    assert every.body_count > part.body_count == 1
    assert min(abs(part.volume - body.volume) for body in every.split()) < 1e-5 * part.volume


def test_a_surface_through_the_middles_of_cells_has_no_empty_faces():
    generator, planes = solid("wall")
    mesh = surface(generator.renderer, planes[0], resolution=17)  # cell 8 is at x = 0, on the level
    read = reopened(mesh)
    assert read.is_watertight
    assert len(read.vertices) == len(mesh.vertices)
    assert read.area_faces.min() > 0
    np.testing.assert_allclose(read.bounds[:, 0], [-0.5, 0], atol=1e-4)


def test_chunks_change_nothing():
    generator, planes = solid()
    whole = surface(generator.renderer, planes[0], resolution=16)
    parts = surface(generator.renderer, planes[0], resolution=16, chunk=100)
    np.testing.assert_array_equal(whole.faces, parts.faces)
    np.testing.assert_allclose(whole.vertices, parts.vertices, atol=1e-6)
    assert np.abs(whole.colours.astype(int) - parts.colours).max() <= 1


def test_the_grid_is_along_x_y_and_z():
    generator, planes = solid(centre=(0.1, 0.2, -0.1))
    grid = density_grid(generator.renderer, planes[0], resolution=10)
    assert grid.dtype == np.float32
    assert np.unravel_index(grid.argmax(), grid.shape) in {(5, 6, 3), (5, 7, 3), (6, 6, 3), (5, 6, 4)}
    middle = (np.arange(10) + 0.5) / 10 - 0.5
    x, y, z = np.meshgrid(middle, middle, middle, indexing="ij")
    squared = (x - 0.1) ** 2 + (y - 0.2) ** 2 + (z + 0.1) ** 2
    np.testing.assert_allclose(grid, LEVEL + 4000 * (0.0625 - squared), atol=1)


def test_nothing_above_the_level_says_how_dense_it_is():
    generator, planes = solid()
    with pytest.raises(NoSurfaceError, match=r"at most 2[34]. on the grid.* level is 500.* lower level"):
        surface(generator.renderer, planes[0], resolution=16, level=500)


def test_the_level_is_where_a_head_is_seen():
    generator, planes = solid(radius=0.3)
    hard = surface(generator.renderer, planes[0], resolution=24, level=None)
    assert hard.level == LEVEL  # a ball is seen where it begins
    last = generator.decoder.net[2]
    with torch.no_grad():
        last.weight[0] *= 0.02
        last.bias[0] = 0  # density is 80 * (0.3 ** 2 - r ** 2): fog, 7.2 in its middle
    mesh = surface(generator.renderer, planes[0], resolution=24, level=None)
    assert 3 < mesh.level < 7.2
    assert 0.1 < np.ptp(mesh.vertices, axis=0).max() / 2 < 0.3
    with torch.no_grad():
        last.bias[0] = -1e4  # nothing at all
    with pytest.raises(NoSurfaceError, match="level is 10"):
        surface(generator.renderer, planes[0], resolution=24, level=None)


def test_broken_weights_give_no_mesh():
    generator, planes = solid()
    planes[0, 0, 0, 21, 21] = float("nan")
    with pytest.raises(NoSurfaceError, match="not finite"):
        surface(generator.renderer, planes[0], resolution=16)


@pytest.mark.parametrize("resolution", [0, 7, 1025])
def test_grids_that_are_no_grids_are_refused(resolution):
    generator, planes = solid()
    with pytest.raises(ValueError, match="give 8 to 1024"):
        surface(generator.renderer, planes[0], resolution=resolution)


@pytest.mark.parametrize("package", ["skimage.measure", "scipy.sparse.csgraph", "trimesh"])
def test_a_missing_package_says_which_extra_brings_it(package, monkeypatch):
    require_packages()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WeightsUnavailableError, match=r"pip install 'faceforward\[mesh\]'"):
        require_packages()
