import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from case_records import make_result
from faceforward.records import AgeEstimate
from faceforward.report.case import describe, write_case
from faceforward.report.sheet import MARGIN, TILE, UNUSABLE, contact_sheet
from faceforward.report.verdict import FAR, age_error, faults_of, faults_of_record, likeness_limit
from faceforward.report.visible_mark import WARNING, visibly_marked

BOTH = ("dlib-age-gender", "faceres")


def _read(years, gender=None, probability=0.99):
    return [AgeEstimate(years, 3.0, None, None, gender, probability, name) for name in BOTH]


def _kinds(target, years, distance=0.2, gender=None, read=None, embedder="dlib-recognition"):
    faults = faults_of(
        target, distance=distance, readings=_read(years, read), gender=gender, embedder=embedder
    )
    return [fault.kind for fault in faults]


@pytest.mark.parametrize(
    ("target", "years", "kinds"),
    [
        (7, 16, ["age"]),
        (7, 9, []),
        (60, 80, ["age"]),
        (60, 52, []),  # what both say of people of 60
        (40, 20, ["age"]),
        (30, 33, []),
    ],
)
def test_ages_are_held_against_what_readers_say_of_real_people(target, years, kinds):
    assert _kinds(target, years) == kinds


def test_unknown_readers_have_the_wide_limit():
    assert age_error(30, {"mine": 49.0}) == (19.0, FAR)


@pytest.mark.parametrize(("age", "limit"), [(-1, 0.339), (9, 0.339), (10, 0.394), (55, 0.449), (99, 0.448)])
def test_the_limit_of_likeness_is_that_of_the_age_band(age, limit):
    assert likeness_limit(age) == limit
    if age >= 0:
        assert "likeness" in _kinds(age, age, distance=limit)
        assert "likeness" not in _kinds(age, age, distance=limit - 0.01)
    assert "likeness" in _kinds(30, 30, distance=float("nan"))
    assert _kinds(30, 30, distance=0.9, embedder="another") == []  # whose limits nobody measured


def test_a_limit_of_the_persons_own_comes_first(tmp_path):
    def kinds(limit):
        faults = faults_of(
            30, distance=0.5, readings=[], gender=None, embedder="dlib-recognition", limit=limit
        )
        return [fault.kind for fault in faults]

    assert [kinds(limit) for limit in (None, 0.6, 0.5, 0.45)] == [
        ["likeness"],
        [],
        ["likeness"],
        ["likeness"],
    ]
    content = write_case(
        tmp_path, dataclasses.replace(_bad(), identity_limits={40: 0.7, 60: 0.1}), input_sha256="s"
    )
    assert [edit["identity_limit"] for edit in content["ages"].values()] == [None, 0.7, 0.1]
    assert [edit["verdict"] for edit in content["ages"].values()] == ["estimate", "estimate", "do not use"]
    assert {age: bool(faults) for age, faults in faults_of_record(content).items()} == {
        20: False,
        40: False,
        60: True,
    }
    more = dataclasses.replace(make_result(targets=(30,)), settings=_bad().settings, identity={30: 0.2})
    content = write_case(tmp_path, more, input_sha256="s")  # what is kept keeps its limits
    assert [edit["identity_limit"] for edit in content["ages"].values()] == [None, None, 0.7, 0.1]


def test_a_gender_that_turned_is_a_fault_where_it_can_be_read():
    assert _kinds(30, 30, gender="female", read="male") == ["gender"]
    assert _kinds(30, 30, gender="female", read="female") == []
    assert _kinds(7, 8, gender="female", read="male") == []  # cannot be read at that age
    assert _kinds(30, 30, gender=None, read="male") == []


def _bad():
    settings = {**make_result().settings, "embedder": "dlib-recognition"}
    return dataclasses.replace(make_result(), identity={20: 0.2, 40: 0.6, 60: 0.2}, settings=settings)


def test_the_record_the_sheet_and_the_pictures_say_do_not_use(tmp_path):
    content = write_case(tmp_path, _bad(), input_sha256="s")
    assert {age: edit["verdict"] for age, edit in content["ages"].items()} == {
        "20": "estimate",
        "40": "do not use",
        "60": "estimate",
    }
    assert content["ages"]["40"]["faults"][0]["kind"] == "likeness"
    assert json.loads((tmp_path / "a" / "result.json").read_text())["visible_mark"] is True
    with Image.open(tmp_path / "a" / "aged" / "40.png") as image:
        assert "Do not use it" in image.text["Description"]
        assert tuple(np.asarray(image)[-1, 0]) == WARNING
    sheet = np.asarray(Image.open(tmp_path / "a" / "sheet.png"))
    corner = [tuple(sheet[MARGIN + 10, MARGIN + i * (TILE + MARGIN) + 10]) == UNUSABLE for i in range(4)]
    assert corner == [False, False, True, False]
    assert [tuple(f.kind for f in each) for each in faults_of_record(content).values()] == [
        (),
        ("likeness",),
        (),
    ]


def test_marks_keep_sizes_and_all_but_the_edge_and_can_be_left_out(tmp_path):
    result = make_result()
    write_case(tmp_path / "on", result, input_sha256="s")
    write_case(tmp_path / "off", result, input_sha256="s", visible_mark=False)
    for name in ("aged/40.png", "photo/40.png"):
        on, off = (np.asarray(Image.open(tmp_path / each / "a" / name)) for each in ("on", "off"))
        assert on.shape == off.shape
        rows = np.flatnonzero((on != off).any(axis=(1, 2)))
        assert len(on) * 0.95 <= rows.min()
        assert rows.max() == len(on) - 1
    assert np.array_equal(off, np.asarray(Image.open(tmp_path / "off" / "a" / "photo" / "40.png")))
    assert np.array_equal(result.aged[40], np.asarray(Image.open(tmp_path / "off" / "a" / "aged" / "40.png")))


@pytest.mark.parametrize("shape", [(1, 1), (8, 300), (3000, 20), (40, 40), (512, 512), (2000, 3000)])
def test_pictures_of_any_shape_can_be_marked(shape):
    pixels = np.full((*shape, 3), 128, np.uint8)
    for fault in ("", "likeness lost"):
        marked = visibly_marked(pixels, 40, fault=fault)
        assert marked.shape == pixels.shape
        assert (marked != pixels).any()
    assert (pixels == 128).all()


def test_the_sheet_without_faults_has_no_cross():
    assert not (contact_sheet(make_result()) == UNUSABLE).all(axis=2).any()
    assert describe(make_result())["ages"]["20"]["faults"] == []
