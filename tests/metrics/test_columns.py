"""Columns of what was measured: their means are the figures, paired where folders are compared."""

import numpy as np
import pytest
import torch

from faceforward.metrics.age import AgeError
from faceforward.metrics.calibration import AgePoint, Calibration
from faceforward.metrics.columns import IDENTICAL, MeasuredCase, photograph_columns, picture_columns
from faceforward.metrics.groups import by_group, largest_gaps
from faceforward.metrics.measure import Measures, PictureMeasures

SHIFT = 7.0
TABLE = Calibration({"reader": (AgePoint(40.0, 99, 99, SHIFT, SHIFT, SHIFT, 8.0, 5.0),)})


def case(name, age, targets, *, person=None, error=lambda target: 0.0, distance=0.3, gender=None, **rest):
    """A case whose reader errs as told."""
    pictures = tuple(
        PictureMeasures(t, {"reader": t + error(t)}, distance, np.zeros(2), women={"reader": 0.8}, **rest)
        for t in targets
    )
    measures = Measures(age, {"reader": age + SHIFT}, np.zeros(2), pictures, {"reader": 0.5})
    return MeasuredCase(name, person or name, gender, measures)


def many(error, count=60, **rest):
    """People of both genders and all ages."""
    genders = ("female", "male")
    return [
        case(
            f"c{k}",
            5.0 + k % 50,
            (20, 40, 60),
            error=lambda t, k=k: error(t, k),
            gender=genders[k % 2],
            **rest,
        )
        for k in range(count)
    ]


def test_a_shifted_reader_shows_its_shift_and_the_calibrated_figure_does_not():
    random = np.random.default_rng(0)
    noise = random.normal(0, 2, (60, 100))
    found = picture_columns(many(lambda t, k: SHIFT + noise[k, t])).figures()
    assert "age/reader/calibrated_mae" not in found
    found = picture_columns(many(lambda t, k: SHIFT + noise[k, t]), TABLE).figures()
    raw, corrected = found["age/reader/bias"], found["age/reader/calibrated_bias"]
    assert raw.low < SHIFT < raw.high
    assert corrected.low < 0 < corrected.high
    assert found["age/reader/mae"].value > 6
    assert found["age/reader/calibrated_mae"].value == pytest.approx(2 * np.sqrt(2 / np.pi), abs=0.3)
    assert found["age/reader/floor"].value == 5
    assert (raw.people, raw.count) == (60, 180)
    photographs = photograph_columns(many(lambda t, k: 0.0), TABLE).figures()
    assert photographs["photographs/reader/bias"].value == SHIFT
    assert photographs["photographs/reader/calibrated_mae"].value == 0


def test_raw_figures_are_those_of_the_metric():
    cases = many(lambda t, k: (k % 7) - 2.0)
    columns = picture_columns(cases)
    metric = AgeError()
    pictures = [picture for each in cases for picture in each.measures.pictures]
    metric.update(
        torch.tensor([p.years["reader"] for p in pictures]), torch.tensor([float(p.target) for p in pictures])
    )
    known = metric.compute()
    assert columns.figure("age/reader/mae").value == pytest.approx(float(known["mae"]))
    assert columns.figure("age/reader/bias").value == pytest.approx(float(known["bias"]))
    twenties = columns.facts["target"] == 20
    assert columns.figure("age/reader/mae", twenties).value == pytest.approx(float(known["mae/20"]))


def test_identity_gender_and_what_is_kept():
    cases = [
        case("a", 30.0, (35, 70), distance=0.2, gender="female", psnr_outside=np.inf, turn=2.0),
        case("b", 30.0, (35, 70), distance=0.6, gender="male", psnr_outside=40.0),
        case("c", np.nan, (35,), distance=0.9),
    ]
    found = picture_columns(cases, thresholds={0: 0.5}).figures()
    assert found["identity/distance"].count == 5
    assert (found["identity/near/share"].value, found["identity/near/share"].count) == (0.5, 2)
    assert found["keeping/gender/reader"].value == 0.5  # 0.8 is a woman
    assert found["keeping/gender/reader"].count == 4
    assert found["keeping/women/reader"].value == pytest.approx(0.3)
    assert found["keeping/psnr_outside"].value == (IDENTICAL + 40) / 2
    assert (found["keeping/turn"].value, found["keeping/turn"].count) == (2, 2)
    assert "keeping/sharpness" not in found
    assert "identity/near/share" not in picture_columns(cases, thresholds=None).figures()


def test_failed_pictures_have_a_row_and_no_number():
    cases = [case("a", 30.0, (40,)), case("b", 30.0, (40,))]
    lost = MeasuredCase("a", "a", None, cases[0].measures, failed=(60,))
    columns = picture_columns([lost, cases[1]])
    assert columns.keys == [("a", 40), ("b", 40), ("a", 60)]
    assert columns.figure("age/reader/mae").count == 2
    assert np.isnan(columns.values["identity/distance"][2])


def test_equal_folders_differ_by_intervals_that_hold_zero():
    random = np.random.default_rng(1)
    noise = random.normal(0, 4, (2, 60, 100))
    first, second = (picture_columns(many(lambda t, k, n=n: noise[n][k, t]), TABLE) for n in (0, 1))
    same = first.differences(first)
    assert all(each.low == each.value == each.high == 0 for each in same.values())
    noisy = first.differences(second)["age/reader/bias"]
    assert noisy.low < 0 < noisy.high
    assert (noisy.people, noisy.count) == (60, 180)


def test_differences_are_paired_over_what_both_have():
    first = picture_columns([case("a", 30.0, (40, 50)), case("b", 30.0, (40,))])
    other = picture_columns([case("c", 30.0, (40,)), case("a", 30.0, (50, 40), error=lambda t: float(t))])
    found = other.differences(first)["age/reader/bias"]
    assert (found.value, found.count) == (45, 2)
    assert picture_columns([case("z", 1.0, (40,))]).differences(first) == {}
    assert first.without({"a"}).keys == [("b", 40)]
    assert first.without({"x"}) is first


def test_groups_are_told_and_the_largest_gap_is_named():
    columns = picture_columns(many(lambda t, k: 6.0 * (k % 2) + 0.01 * (k % 5), count=80), TABLE)
    cells = by_group(columns, ["age/reader/bias"])
    assert [cell.name for cell in cells["gender"]] == ["female", "male"]
    assert all(cell.people == 40 for cell in cells["gender"])
    assert {cell.name for cell in cells["decade"]} == {"20-29", "40-49", "60-69"}
    ages = {cell.name: cell for cell in cells["age"]}
    assert ages["0-5"].people < 20
    assert ages["0-5"].figures is None
    assert ages["20 and more"].figures
    (gap,) = largest_gaps(columns, cells)["gender"]
    assert (gap.high, gap.low) == ("male", "female")
    assert gap.difference.value == pytest.approx(6)
    assert gap.difference.low <= 6 <= gap.difference.high
    assert gap.difference.low > 5


def test_both_ends_of_a_span_are_inside():
    columns = picture_columns([case(f"c{a}", float(a), (20,)) for a in (5, 6, 12, 13, 19, 20)])
    from faceforward.metrics.groups import members

    found = {name: int(here.sum()) for name, here in members(columns)["age"].items()}
    assert found == {"0-5": 1, "6-12": 2, "13-19": 2, "20 and more": 1}
