"""Views, turntables and depth of a ball whose place is known."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from eg3d.known_solids import solid
from faceforward.eg3d.cameras import FOCAL, angles, labels, look_at, pose
from faceforward.eg3d.generator import View
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
from faceforward.report.metadata import Mark, write_png

AROUND = Orbit(pivot=(0.0, 0.0, 0.0))  # every camera sees the same


@pytest.fixture(scope="module")
def ball():
    """Radius 0.25 in the middle; rays end before they leave the box, so that there is no background."""
    generator, planes = solid(ray_start=2.4, ray_end=3.0)
    return generator, planes, torch.zeros(1, generator.num_ws, 8)


def seen(depth, opacity):
    image = torch.zeros(1, 3, 2, 2)
    return View(image, image, torch.tensor([[depth]]), torch.tensor([[opacity]]))


def test_every_yaw_at_each_pitch():
    assert grid([-30.0, 30.0], [0.0, 10.0]) == [(-30, 0), (30, 0), (-30, 10), (30, 10)]


def test_the_cameras_stand_where_they_are_asked_to():
    asked = [(-30.0, 5.0), (40.0, -10.0)]
    cameras = Orbit().cameras(asked)
    found = angles(pose(cameras))
    torch.testing.assert_close(found[:, :2], torch.tensor(asked), atol=1e-3, rtol=0)
    torch.testing.assert_close(cameras, labels(look_at([-30.0, 40.0], [5.0, -10.0])))
    other = Orbit(radius=2.0, pivot=(0.0, 0.0, 0.0), intrinsics=(2.0, 0, 0.5, 0, 2.0, 0.5, 0, 0, 1)).cameras(
        asked
    )
    torch.testing.assert_close(other[:, [3, 7, 11]].norm(dim=1), torch.full((2,), 2.0))
    assert other[0, 16] == 2


def test_no_views_are_refused():
    for odd in ([], [(float("nan"), 0.0)]):
        with pytest.raises(ValueError, match="one pair at least"):
            Orbit().cameras(odd)
    with pytest.raises(ValueError, match="0 frames"):
        turntable(0)


def test_a_turntable_is_a_closed_way_without_jumps():
    way = np.array(turntable(48, yaw=40, pitch=5))
    assert way.shape == (48, 2)
    assert tuple(way[0]) == (0, 5)
    np.testing.assert_allclose(np.abs(way).max(axis=0), [40, 5])
    steps = np.linalg.norm(np.roll(way, -1, axis=0) - way, axis=1)  # the last one leads to the first
    assert steps.max() < 40 * 2 * math.pi / 48 + 0.01
    assert steps.min() > 0


def test_views_come_one_by_one_in_order_without_gradients(ball):
    generator, planes, ws = ball
    views = render_views(generator, planes, ws, [(-30.0, 0.0), (30.0, 0.0)], orbit=AROUND)
    first = next(views)
    assert torch.is_grad_enabled()  # while the generator waits
    assert first.image.shape == (1, 3, 64, 64)
    assert not first.image.requires_grad
    second = next(views)
    assert next(views, None) is None
    # Red grows with x: the side at +x is seen from positive yaws.
    seen_first, seen_second = (view.raw[0, 0][view.opacity[0, 0] > 0.9].mean() for view in (first, second))
    assert seen_second > seen_first + 0.1
    both = generator.render(planes, AROUND.cameras([(-30.0, 0.0), (30.0, 0.0)]), ws)
    torch.testing.assert_close(torch.cat([first.image, second.image]), both.image, atol=1e-5, rtol=1e-4)
    assert list(render_views(generator, planes, ws, [])) == []


def test_pictures_are_rounded_and_clipped():
    image = torch.tensor([-2.0, -1.0, 0.0, 1.0]).reshape(1, 1, 2, 2).expand(-1, 3, -1, -1)
    pixels = picture(image)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (2, 2, 3))
    assert pixels[..., 0].tolist() == [[0, 0], [128, 255]]


def test_depth_is_the_distance_to_the_ball(ball, tmp_path):
    generator, planes, ws = ball
    views = render_views(generator, planes, ws, [(0.0, 0.0), (35.0, 10.0)], orbit=AROUND, raw_resolution=33)
    for view in views:
        levels = depth_levels(view)
        assert (levels.dtype, levels.shape) == (np.uint16, (33, 33))
        assert levels[0, 0] == 0  # past the ball
        # At least where the ball begins, and not far in.
        middle = levels[16, 16] * DEPTH_UNIT
        assert 2.7 - 0.25 <= middle < 2.7 - 0.25 + 0.035
        radius = math.sqrt((levels > 0).sum() / math.pi) / 33
        assert radius == pytest.approx(FOCAL * 0.25 / math.sqrt(2.7**2 - 0.25**2), rel=0.05)
    write_png(tmp_path / "depth.png", levels, Mark("synthetic", "Depth."))
    with Image.open(tmp_path / "depth.png") as image:
        assert image.mode == "I;16"
        assert "Synthetic" in image.text["Description"]
        np.testing.assert_array_equal(np.asarray(image), levels)


def test_depth_levels_keep_what_16_bits_hold():
    levels = depth_levels(seen([[2.25, 3.30004], [1e-9, 100.0]], [[1.0, 0.5], [1.0, 1.0]]))
    assert levels.tolist() == [[22500, 33000], [1, 65535]]
    assert (
        depth_levels(seen([[2.0, 2.0], [2.0, 2.0]], [[0.49, 1.0], [0.0, 1.0]])).tolist() == [[0, 20000]] * 2
    )


def test_the_preview_is_bright_where_it_is_near():
    preview = depth_preview(np.array([[0, 23000], [25000, 27000]], np.uint16))
    assert (preview.dtype, preview.shape) == (np.uint8, (2, 2, 3))
    light = preview.astype(int).sum(axis=2)
    assert light[0, 0] < light[1, 1] < light[1, 0] < light[0, 1]
    assert preview[0, 1, 0] > preview[0, 1, 2]  # near is yellow: RGB, not BGR
    flat = depth_preview(np.array([[0, 5]], np.uint16))
    assert flat[0, 0].sum() < flat[0, 1].sum()
    assert depth_preview(np.zeros((2, 2), np.uint16)).max() < 10
