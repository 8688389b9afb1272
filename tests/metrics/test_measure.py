import json

import numpy as np
import pytest

from faceforward.faces.age import DlibAgeEstimator
from faceforward.faces.crops import resized
from faceforward.faces.fields import warp
from faceforward.faces.identity import DlibEmbedder, distance
from faceforward.metrics.measure import MEASURES, EditMaterial, Measures, measure

POINTS = np.array([[150, 180, 0], [360, 180, 0], [256, 450, 0], [256, 100, 0]], dtype=np.float32)


@pytest.fixture(scope="module")
def networks():
    return {"readers": [DlibAgeEstimator()], "embedder": DlibEmbedder()}


@pytest.fixture(scope="module")
def crop(astronaut):
    return resized(astronaut[20:193, 139:312], 512)


@pytest.fixture(scope="module")
def measured(crop, networks):
    """The photograph itself at 30, and a darker, blurred one at 60."""
    small = resized(crop, 128)
    darker = (resized(small, 512) * 0.8).astype(np.uint8)
    edit = EditMaterial(POINTS, {30: small, 60: small}, {30: small, 60: small}, {30: None})
    return measure(crop, {30: crop, 60: darker}, age=40, edit=edit, **networks), darker


def test_readings_and_distances_are_the_networks_own(crop, networks, measured):
    found, darker = measured
    years = [estimate.years for estimate in networks["readers"][0].estimate([crop, darker])]
    descriptors = networks["embedder"].embed([crop, darker])
    assert found.years == {"dlib-age-gender": pytest.approx(years[0])}
    assert [p.target for p in found.pictures] == [30, 60]
    assert found.pictures[1].years["dlib-age-gender"] == pytest.approx(years[1])
    assert found.pictures[0].distance == pytest.approx(0, abs=1e-6)
    assert found.pictures[1].distance == pytest.approx(float(distance(*descriptors)))


def test_what_is_kept_is_measured_against_the_photograph(measured):
    same, darker = measured[0].pictures
    assert same.sharpness == 1
    assert same.psnr_outside == same.psnr_outside_grown == np.inf
    assert (same.light, same.color, same.uneven) == (0, 0, 0)
    assert same.moved == 0
    assert np.isnan(same.stayed)
    assert darker.light < -5
    assert darker.psnr_outside < 30


def test_what_grew_is_measured_from_where_the_transfer_started(crop, networks):
    field = np.zeros((512, 512, 2), np.float32)
    field[..., 0] = 8
    grown = warp(crop, field)
    edit = EditMaterial(POINTS, {}, {}, {50: field})
    picture = measure(crop, {50: grown}, age=40, edit=edit, **networks).pictures[0]
    assert picture.psnr_outside_grown == np.inf
    assert picture.psnr_outside < 40
    assert (picture.light, picture.color) == (0, 0)


def test_enlarged_photographs_have_no_fine_detail_to_compare(crop, networks):
    small = resized(crop, 128)
    edit = EditMaterial(POINTS, {50: small}, {50: small}, native=128)
    picture = measure(resized(small, 512), {50: crop}, age=40, edit=edit, **networks).pictures[0]
    assert np.isnan([picture.sharpness, picture.stayed, picture.moved]).all()
    assert np.isfinite(picture.psnr_outside)


def test_pictures_of_another_size_are_measured_at_the_smaller_one(crop, networks):
    edit = EditMaterial(POINTS * 2 + 0.5)
    picture = measure(resized(crop, 1024), {50: crop}, age=40, edit=edit, **networks).pictures[0]
    assert picture.psnr_outside > 35
    assert abs(picture.light) < 0.5


def test_without_the_edit_age_and_identity_are_measured_alone(crop, networks):
    picture = measure(crop, {50: crop}, age=40, **networks).pictures[0]
    assert picture.distance == pytest.approx(0, abs=1e-6)
    assert all(np.isnan(getattr(picture, name)) for name in MEASURES if name != "distance")


def test_measures_survive_json(measured):
    found = measured[0]
    again = Measures.from_json(json.loads(json.dumps(found.as_json(), allow_nan=False)))
    assert again.age == 40
    np.testing.assert_allclose(again.descriptor, found.descriptor, atol=1e-6)
    for one, other in zip(again.pictures, found.pictures, strict=True):
        for name in MEASURES:
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-6, nan_ok=True)
        assert one.years == pytest.approx(other.years, abs=1e-4)
