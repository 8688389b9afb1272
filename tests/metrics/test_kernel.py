"""The kernel distance: its closed form, what it sees, and how sure it is."""

import numpy as np
import pytest

from faceforward.metrics.columns import MeasuredCase
from faceforward.metrics.finding import RealPhotos
from faceforward.metrics.kernel import kernel_distance, kernel_figures
from faceforward.metrics.measures import Measures, PictureMeasures


def drawn(count, shift=0.0, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 16)) + shift * np.eye(16)[0]


def test_it_is_the_unbiased_estimate():
    real, aged = drawn(40), drawn(40, 1.0, seed=1)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (real, aged)]
    own = [((x @ x.T + 1) ** 3).sum() - 8 * 40 for x in unit]  # the kernel of a picture with itself is 8
    between = ((unit[0] @ unit[1].T + 1) ** 3).mean()
    found = kernel_distance(real, aged, range(40), range(40))
    assert found.value == pytest.approx(sum(own) / (40 * 39) - 2 * between, abs=1e-9)
    assert (found.people, found.count) == (40, 40)


def test_pictures_of_one_kind_are_not_told_apart_and_others_are():
    held = 0
    for seed in range(20):
        same = kernel_distance(
            drawn(60, seed=2 * seed), drawn(60, seed=2 * seed + 1), range(60), range(60, 120)
        )
        held += same.low <= 0 <= same.high
    assert held >= 17
    other = kernel_distance(drawn(60), drawn(60, 2.0, seed=1), range(60), range(60, 120))
    assert other.low > 0


def test_figures_are_by_decade_against_real_people_of_these_ages():
    cases = [
        MeasuredCase(
            f"c{place}",
            f"p{place}",
            None,
            Measures(30.0, {}, one, tuple(PictureMeasures(target, {}, 0.1, one) for target in (45, 75)), {}),
        )
        for place, one in enumerate(drawn(30))
    ]
    ages = np.where(np.arange(80) < 40, 44.0, 12.0)
    photos = RealPhotos([f"r{place}" for place in range(80)], ages, drawn(80, seed=1))
    found = kernel_figures(cases, photos, "corner")
    assert set(found) == {"kernel/corner/40"}  # nobody of the gallery is in the seventies
    assert (found["kernel/corner/40"].people, found["kernel/corner/40"].count) == (30, 30)


def test_few_people_give_no_figure():
    people = [place % 19 for place in range(60)]
    assert kernel_distance(drawn(60), drawn(60, seed=1), people, range(60)) is None
    assert kernel_distance(drawn(60), drawn(60, seed=1), range(60), people) is None
