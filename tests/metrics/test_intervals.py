import doctest

import numpy as np
import pytest
from scipy import stats

import faceforward.metrics.intervals as intervals_module
from faceforward.metrics.intervals import (
    contrast_interval,
    difference_interval,
    mean_interval,
    statistic_interval,
)


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(intervals_module).failed == 0


def people_and_values(generator, people=27):
    """Photographs of people with biases of their own; the true mean is 5."""
    whose = np.repeat(np.arange(people), generator.integers(1, 9, people))
    return whose.tolist(), 5 + generator.normal(0, 2, people)[whose] + generator.normal(0, 1, len(whose))


def test_people_weigh_the_same_or_photographs_do():
    values, people = [0.0, 0.0, 0.0, 1.0], ["a", "a", "a", "b"]
    assert mean_interval(values, people).value == 0.5
    assert mean_interval(values, people, over="photographs").value == 0.25
    found = mean_interval(values, people)
    assert (found.people, found.count) == (2, 4)
    assert 0 <= found.low <= 0.5 <= found.high <= 1


def test_many_people_without_skew_have_the_interval_of_the_normal_distribution():
    values = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    found = mean_interval(values, range(400), rounds=20000)
    half = stats.t.ppf(0.975, 399) * values.std(ddof=1) / 20
    assert found.low == pytest.approx(-half, rel=0.03)
    assert found.high == pytest.approx(half, rel=0.03)


def test_any_statistic_agrees_with_the_mean():
    people, values = people_and_values(np.random.default_rng(0))
    direct = mean_interval(values, people, over="photographs", rounds=1000, seed=3)
    general = statistic_interval(lambda places: values[places].mean(), people, rounds=1000, seed=3)
    assert general.value == pytest.approx(direct.value)
    assert (general.low, general.high) == pytest.approx((direct.low, direct.high))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    held = 0
    for trial in range(400):
        people, values = people_and_values(np.random.default_rng(trial))
        found = mean_interval(values, people, rounds=400, seed=trial)
        held += found.low <= 5 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_photographs_of_one_person_are_not_many_people():
    generator = np.random.default_rng(1)
    person = np.repeat(np.arange(20), 50)
    values = generator.normal(0, 1, 20)[person] + generator.normal(0, 0.1, 1000)
    by_person = mean_interval(values, person.tolist())
    as_if_apart = mean_interval(values, range(1000))
    assert by_person.high - by_person.low > 5 * (as_if_apart.high - as_if_apart.low)


def test_a_planted_difference_is_found_where_two_intervals_overlap():
    people, a = people_and_values(np.random.default_rng(2))
    b = a - 0.3 + np.random.default_rng(3).normal(0, 0.2, len(a))
    first, second = mean_interval(a, people), mean_interval(b, people)
    assert first.low < second.high  # side by side they tell nothing
    difference = difference_interval(a, b, people)
    assert difference.low > 0
    assert difference.low < 0.3 < difference.high


def test_equal_conditions_differ_by_an_interval_that_holds_zero():
    people, a = people_and_values(np.random.default_rng(4))
    b = a + np.random.default_rng(5).normal(0, 1, len(a))
    found = difference_interval(a, b, people)
    assert found.low < 0 < found.high
    same = difference_interval(a, a, people)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_a_statistic_that_a_draw_does_not_have_is_left_out():
    values = np.array([np.nan, 1.0, 2.0])

    def mean(places):
        there = values[places][np.isfinite(values[places])]
        return there.mean() if len(there) else np.nan

    found = statistic_interval(mean, ["a", "b", "c"])
    assert found.value == 1.5
    assert 1 <= found.low <= found.high <= 2


def test_one_person_tells_nothing_of_others():
    found = mean_interval([1.0, 2.0], ["a", "a"])
    assert found.value == 1.5
    assert np.isnan([found.low, found.high]).all()


def test_an_interval_is_written_with_its_ends():
    assert f"{mean_interval([1.0, 1.0], [1, 2]):.2f}" == "1.00 (1.00 to 1.00)"


@pytest.mark.parametrize(("values", "people"), [([], []), ([1.0], [1, 2]), ([[1.0]], [1])])
def test_numbers_that_differ_are_refused(values, people):
    with pytest.raises(ValueError, match="one person for each value"):
        mean_interval(values, people)


def test_what_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="1 of 2 values are not numbers"):
        mean_interval([1.0, np.nan], [1, 2])


def test_conditions_of_other_photographs_are_refused():
    with pytest.raises(ValueError, match="same photographs"):
        difference_interval([1.0, 2.0], [1.0], [1, 2])


def test_a_contrast_draws_people_who_are_in_both_groups_for_both():
    """Person effects fall out of the difference of two groups of the same people."""
    random = np.random.default_rng(5)
    own = np.repeat(random.normal(0, 20, 60), 2)
    old = np.tile([False, True], 60)
    values = own + 3.0 * old + random.normal(0, 1, 120)
    people = np.repeat(np.arange(60), 2).tolist()
    found = contrast_interval(values, people, old, ~old)
    assert found.low < 3 < found.high
    assert found.high - found.low < 1.5
    assert found.value == pytest.approx(values[old].mean() - values[~old].mean())
    assert (found.people, found.count) == (60, 120)
    with pytest.raises(ValueError, match="one of the groups is empty"):
        contrast_interval(values, people, old, np.zeros(120, bool))
