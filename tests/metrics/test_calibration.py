"""A reader's own errors on real photographs, and readings with them taken off."""

import json

import numpy as np
import pytest

from faceforward.errors import ConfigurationError
from faceforward.metrics.calibration import (
    AgePoint,
    Calibration,
    buckets,
    calibrate,
    read_calibration,
    shipped_calibration,
)


def test_a_planted_shift_is_found_and_taken_off():
    random = np.random.default_rng(0)
    ages = np.repeat([10, 20, 30, 40], 200) + random.integers(-2, 3, 800)
    shift = 0.2 * (ages - 20)  # the young are read too young, the old too old
    read = ages + shift + random.normal(0, 3, 800)
    table = calibrate({"reader": read}, ages, range(800))
    points = table.readers["reader"]
    assert [round(point.age) for point in points] == [10, 20, 30, 40]
    assert all(abs(point.bias - 0.2 * (point.age - 20)) < 0.8 for point in points)
    assert all(point.low < point.bias < point.high < point.low + 1.5 for point in points)
    assert all(point.spread == pytest.approx(3 * np.sqrt(2 / np.pi), abs=0.6) for point in points)
    inside = np.linspace(10, 40, 7)
    np.testing.assert_allclose(table.bias("reader", inside), 0.2 * (inside - 20), atol=0.7)
    corrected = table.corrected("reader", inside + 0.2 * (inside - 20), inside)
    assert np.abs(corrected).max() < 0.7


def test_a_perfect_picture_beats_one_that_makes_up_for_the_reader():
    """A reader that sees 70 as 62: the raw error prefers the picture of a 78-year-old, the calibrated not."""
    table = Calibration({"dlib": (AgePoint(70.0, 100, 100, -8.0, -9.0, -7.0, 8.6, 5.0),)})
    perfect, overshoot, asked = np.array([62.0]), np.array([70.0]), np.array([70.0])
    assert abs(overshoot - asked) < abs(perfect - asked)
    assert abs(table.corrected("dlib", perfect, asked)) < abs(table.corrected("dlib", overshoot, asked))
    assert table.corrected("dlib", perfect, asked) == 0


def test_beyond_the_table_its_ends_stay():
    table = Calibration(
        {"r": tuple(AgePoint(a, 30, 30, b, b, b, 5, 4) for a, b in ((5.0, 2.0), (70.0, -8.0)))}
    )
    assert table.bias("r", [0, 5, 70, 95]).tolist() == [2.0, 2.0, -8.0, -8.0]


def test_photographs_belong_to_the_age_within_two_years():
    assert buckets([0, 2, 3, 7, 12.4, 12.6, 68], step=5).tolist() == [0, 0, 5, 5, -1, -1, 70]


def test_ages_with_few_photographs_are_left_out():
    ages = [10] * 30 + [20] * 5
    assert len(calibrate({"r": ages}, ages, range(35)).readers["r"]) == 1
    with pytest.raises(ConfigurationError, match="at no age 20 of them within 2 years"):
        calibrate({"r": ages[:10]}, ages[:10], range(10))


def test_a_table_survives_its_file_and_anything_else_is_refused(tmp_path):
    ages = [10] * 30
    table = calibrate({"r": np.arange(30.0)}, ages, range(30), source="thirty", command="x")
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table.as_json()))
    again = read_calibration(path)
    assert again.sha256() == table.sha256()
    assert (again.source, again.command) == ("thirty", "x")
    for text, said in (
        ("{}", "is not a table that faceforward evaluate --calibrate wrote"),
        ("not json", "cannot be read"),
        (json.dumps(table.as_json() | {"readers": {"r": [{"age": 1}]}}), "is damaged"),
        (json.dumps(table.as_json() | {"readers": {"r": []}}), "give at least one, ascending"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=said):
            read_calibration(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_calibration(tmp_path / "none.json")


def test_a_value_that_is_not_a_number_is_refused():
    point = AgePoint(10.0, 30, 30, float("nan"), 0.0, 0.0, 5.0, 4.0)
    with pytest.raises(ConfigurationError, match="not a number"):
        Calibration({"r": (point,)})


def test_the_shipped_table_is_of_both_readers_and_says_how_it_was_made():
    table = shipped_calibration()
    assert set(table.readers) == {"dlib-age-gender", "faceres"}
    assert "All-Age-Faces" in table.source
    assert table.command.startswith("faceforward evaluate --calibrate")
    for name, points in table.readers.items():
        assert points[0].age <= 5
        assert points[-1].age >= 75
        assert min(point.count for point in points) >= 50
        assert table.networks[name]
        assert table.bias(name, [60])[0] < -4  # both read the old too young
