from faceforward.records import AgeEstimate
from faceforward.report.case import _estimate
from faceforward.report.readings import readings_of, said, short


def test_readers_have_short_names():
    assert [short(name) for name in ("dlib-age-gender", "faceres", "mine", "")] == [
        *("dlib", "FaceRes", "mine", "age estimator")
    ]


def test_both_readings_stand_in_one_line():
    assert said({"dlib": 34.4, "FaceRes": 36.6}) == "reads 34 (dlib) / 37 (FaceRes)"
    assert said({"dlib": 34.4}) == "reads 34 (dlib)"
    assert said({}) == ""


def test_readings_are_found_in_a_result():
    dlib = _estimate(AgeEstimate(34.0, 5.0, estimator="dlib-age-gender"))
    other = _estimate(AgeEstimate(37.0, 5.0, estimator="faceres"))
    assert readings_of({"estimated_age": dlib, "judged_age": other}) == {"dlib": 34, "FaceRes": 37}
    assert readings_of({"estimated_age": dlib, "judged_age": None}) == {"dlib": 34}
    assert readings_of({"estimated_age": None}) == {}
