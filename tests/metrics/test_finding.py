"""People looked for among real photographs: planted truths, swaps and bands."""

import numpy as np
import pytest

from faceforward.metrics.columns import MeasuredCase
from faceforward.metrics.finding import RealPhotos, identity_bands, last_ages, rank_curve, retrieval_columns
from faceforward.metrics.measure import Measures, PictureMeasures

PEOPLE, SIZE = 50, 128
RANDOM = np.random.default_rng(0)
TRUE = RANDOM.normal(size=(PEOPLE, SIZE))
TRUE /= np.linalg.norm(TRUE, axis=1, keepdims=True)


def near(person, away=0.3, random=RANDOM):
    """A descriptor of a person, so far from the true one."""
    step = random.normal(size=SIZE)
    return TRUE[person] + away * step / np.linalg.norm(step)


def photos(order=range(PEOPLE)):
    """A gallery: of each name a child's and two adult photographs, which show `order[name]`."""
    rows = [(str(name), age, near(shown)) for name, shown in enumerate(order) for age in (8.0, 25.0, 35.0)]
    names, ages, descriptors = zip(*rows, strict=True)
    return RealPhotos(list(names), np.array(ages), np.stack(descriptors))


def cases(aged=near, unchanged=lambda p: near(p, 6.0), targets=(20, 30, 60), failed=()):
    found = []
    for person in range(PEOPLE):
        pictures = tuple(
            PictureMeasures(t, {}, 0.0, aged(person) if t == 30 else near((person + 1) % PEOPLE))
            for t in targets
        )
        measures = Measures(6.0, {}, unchanged(person), pictures)
        found.append(MeasuredCase(f"c{person}", str(person), None, measures, failed))
    return found


def figures(found_cases, gallery):
    columns, people, without = retrieval_columns(found_cases, gallery, last_ages(found_cases))
    return columns.figures(), people, without


def test_pictures_near_their_person_find_them_at_the_age_that_the_gallery_has():
    found, people, without = figures(cases(), photos())
    assert (people, without) == (PEOPLE, 0)
    assert found["retrieval/aged/rank1"].value == 1
    assert found["retrieval/aged/fnmr"].value == 0
    assert found["retrieval/unchanged/rank1"].value < 0.95
    assert found["retrieval/aged/gained/mean_rank"].value < 0
    assert found["retrieval/aged/mean_rank"].count == PEOPLE  # one picture of each photograph


def test_a_gallery_with_swapped_identities_is_at_chance():
    order = np.roll(np.arange(PEOPLE), 7)
    found, _, _ = figures(cases(), photos(order))
    assert found["retrieval/aged/rank1"].value == 0
    assert found["retrieval/aged/fnmr"].value > 0.95
    random = np.random.default_rng(3)
    strangers, _, _ = figures(cases(aged=lambda p: random.normal(size=SIZE)), photos())
    rank = strangers["retrieval/aged/mean_rank"]
    assert rank.low < (PEOPLE + 1) / 2 < rank.high


def test_a_picture_that_failed_finds_nobody():
    lost = cases(targets=(20,), failed=(30,))
    found, _, _ = figures(lost, photos())
    assert found["retrieval/aged/mean_rank"].value == PEOPLE
    assert found["retrieval/aged/fnmr"].value == 1
    assert found["retrieval/both/rank1"].value == 0


def test_people_without_a_later_photograph_are_counted_and_left_out():
    gallery = photos()
    old = [
        MeasuredCase("old", "3", None, Measures(50.0, {}, near(3), ())),
        MeasuredCase("who", "stranger", None, Measures(5.0, {}, near(3), ())),
        MeasuredCase("nan", "4", None, Measures(float("nan"), {}, near(4), ())),
        *cases()[10:20],
    ]
    _, people, without = figures(old, gallery)
    assert (people, without) == (PEOPLE - 1, 3)  # 3 has no photograph after 50
    nobody, _, all_of_them = retrieval_columns(old[:1], gallery, last_ages(old[:1]))
    assert nobody is None
    assert all_of_them == 1


def test_people_with_one_photograph_are_still_a_gallery():
    gallery = RealPhotos(["a", "b"], np.array([20.0, 30.0]), np.stack([near(0), near(1)]))
    one = [MeasuredCase("x", "a", None, cases()[0].measures)]
    columns, people, _ = retrieval_columns(one, gallery, last_ages(one))
    assert people == 2
    assert np.isnan(columns.figures()["retrieval/aged/rank1"].low)  # one person tells nothing of others
    assert identity_bands(gallery) == []


def test_later_photographs_are_within_three_years_and_after_the_source():
    gallery = photos()
    probes = np.stack([near(2), near(2, 1.0)])
    aged, unchanged = gallery.later("2", 6.0, 27, probes)
    assert aged < unchanged
    assert gallery.later("2", 6.0, 29, probes) is None
    assert gallery.later("2", 25.0, 25, probes) is None
    assert gallery.later("nobody", 6.0, 25, probes) is None
    assert gallery.later("2", float("nan"), 25, probes) is None


def test_bands_tell_one_person_from_two():
    many = RealPhotos(
        [str(p) for p in range(PEOPLE) for _ in range(6)],
        np.tile([4.0, 6.0, 20.0, 22.0, 40.0, 41.0], PEOPLE),
        np.stack([near(p) for p in range(PEOPLE) for _ in range(6)]),
    )
    found = {(band["kind"], band["from"]): band for band in identity_bands(many)}
    assert found["same", 0]["pairs"] == 3 * PEOPLE
    assert found["same", 0]["p95"] < found["different", 0]["p1"]
    assert found["same", 0]["p50"] == pytest.approx(0.3 * np.sqrt(2), abs=0.03)
    assert {start for _, start in found} == {0, 11, 21}


def test_the_curve_is_the_share_among_the_first_k():
    assert rank_curve(np.array([1, 1, 3, 4]), 5) == [0.5, 0.5, 0.75, 1, 1]
