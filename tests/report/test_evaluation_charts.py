"""Charts and words of an evaluation's page."""

import doctest
import xml.etree.ElementTree as ElementTree

import pytest

import faceforward.report.evaluation_charts as charts_module
from faceforward.report.evaluation_charts import Band, Line, chart, ticks
from faceforward.report.evaluation_words import said, verdict, words


def test_docstring_examples():
    assert doctest.testmod(charts_module).failed == 0


def test_a_chart_is_whole_and_its_names_are_text():
    line = Line("<script>&", [(0.0, 1.0), (10.0, 3.0), (5.0, float("nan"))], [(0.5, 1.5), (2.0, 4.0), (0, 1)])
    cloud = Line("", [(1.0, 2.0)], cloud=True)
    drawing = chart([line, cloud], x="a & b", y="y", bands=[Band("band", [(0, 5, 1, 2)])], diagonal=True)
    root = ElementTree.fromstring(drawing)
    assert root.tag == "svg"
    assert "nan" not in drawing
    assert "<script" not in drawing
    texts = [node.text for node in root.iter("text")]
    assert {"<script>&", "a & b", "band"} <= set(texts)
    assert len(list(root.iter("circle"))) == 3  # the point that is no number is left out


def test_nothing_to_draw_is_empty():
    assert chart([], x="", y="") == ""
    assert chart([Line("a", [(float("nan"), 1.0)])], x="", y="") == ""


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 7.9), (0.61, 0.64), (5, 5000)])
def test_ticks_are_few_and_inside(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 8
    assert low <= found[0] <= found[-1] <= high


def test_words_and_verdicts():
    error, share = words("age/faceres/calibrated_mae"), words("retrieval/both/rank1")
    assert error.label.startswith("FaceRes: error of the age, calibrated")
    assert share.label == "mean of both: found at rank 1"
    assert said({"value": 0.25, "low": 0.2, "high": None}, share) == "25.0 %"
    assert said({"value": 0.25, "low": 0.2, "high": 0.3}, share, sign=True) == "+25.0 % (+20.0 to +30.0)"
    assert said(None, share) == "\N{EN DASH}"
    assert verdict({"low": -2.0, "high": -1.0}, error) == "better"
    assert verdict({"low": 0.1, "high": 0.2}, error) == "worse"
    assert verdict({"low": 0.1, "high": 0.2}, share) == "better"
    assert verdict({"low": -0.1, "high": 0.2}, share) == "not told apart"
    assert verdict({"low": 1.0, "high": 2.0}, words("identity/distance")) == "differs"
    assert verdict({"low": None, "high": None}, error) == ""
    assert words("something/new").label == "something/new"
