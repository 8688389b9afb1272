import doctest

import numpy as np
import pytest
import torch

import faceforward.metrics.identity as identity_module
from faceforward.faces.identity import DlibEmbedder, distance
from faceforward.metrics.identity import IdentityDistance
from faceforward.metrics.thresholds import DLIB_FAMILY_ALBUMS, DLIB_RECOGNITION


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(identity_module).failed == 0


def test_the_band_is_that_of_the_age_shown():
    metric = IdentityDistance(thresholds={40: 0.5, 0: 0.1, 20: 0.3})
    metric.update(torch.tensor([0.2, 0.2, 0.4, 0.4, 0.05]), ages=torch.tensor([19, 20, 39, 90, 3]))
    figures = {key: float(value) for key, value in metric.compute().items()}
    assert figures == pytest.approx(
        {
            "distance": 0.25,
            "share": 0.6,
            "count": 5,
            "distance/0": 0.125,
            "share/0": 0.5,
            "count/0": 2,
            "distance/20": 0.3,
            "share/20": 0.5,
            "count/20": 2,
            "distance/40": 0.4,
            "share/40": 1,
            "count/40": 1,
        }
    )


def test_a_distance_at_the_threshold_does_not_pass():
    metric = IdentityDistance(thresholds={0: 0.5})
    metric.update(torch.tensor([0.5], dtype=torch.float64), ages=torch.tensor([30]))
    assert float(metric.compute()["share"]) == 0


def test_the_embedder_compares_edit_and_source(astronaut):
    face = astronaut[20:193, 139:312]
    darker = (face * 0.7).astype(np.uint8)
    embedder = DlibEmbedder()
    metric = IdentityDistance(embedder)
    metric.update([darker, face], [face, face], ages=[30, 30])
    a, b = embedder.embed([darker, face])
    figures = metric.compute()
    assert float(figures["distance"]) == pytest.approx(float(distance(a, b)) / 2, abs=1e-6)
    assert float(figures["share/30"]) == 1


def test_no_edit_no_figure():
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert IdentityDistance().compute() == {}


def test_the_shipped_thresholds_cover_all_ages():
    assert list(DLIB_RECOGNITION) == list(range(0, 80, 10))
    assert all(0.3 < value < 0.5 for value in DLIB_RECOGNITION.values())


def test_no_thresholds_are_refused():
    with pytest.raises(ValueError, match="threshold"):
        IdentityDistance(thresholds={})


def test_pictures_without_an_embedder_are_refused():
    with pytest.raises(ValueError, match="without an embedder"):
        IdentityDistance().update([np.zeros((64, 64, 3), np.uint8)], ages=[30])


def test_pictures_without_sources_are_refused():
    with pytest.raises(ValueError, match="one source"):
        IdentityDistance(DlibEmbedder()).update([np.zeros((64, 64, 3), np.uint8)], ages=[30])


def test_numbers_that_differ_are_refused():
    with pytest.raises(ValueError, match="ages"):
        IdentityDistance().update(torch.tensor([1.0, 2.0]), ages=torch.tensor([1]))


def test_single_edits_pass_as_their_share_says():
    metric = IdentityDistance(thresholds={40: 0.5, 0: 0.1, 20: 0.3})
    band, passing = metric.passing(torch.tensor([0.2, 0.2, 0.4, 0.05]), torch.tensor([19, 20, 90, 3]))
    assert band.tolist() == [0, 1, 2, 0]
    assert passing.tolist() == [False, True, True, True]


def test_the_limits_of_family_albums_rise_with_age():
    assert list(DLIB_FAMILY_ALBUMS.values()) == sorted(DLIB_FAMILY_ALBUMS.values())
    assert all(limit > DLIB_RECOGNITION[age] for age, limit in DLIB_FAMILY_ALBUMS.items())
