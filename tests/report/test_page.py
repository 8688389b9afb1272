import dataclasses
import re
from html.parser import HTMLParser

import pytest

from case_records import make_result
from faceforward.faces.detail import DetailTransfer
from faceforward.faces.finish import Enlarging
from faceforward.report.case import write_case
from faceforward.report.page import MAKING, cautions, write_report


def _line(id="a", file="a.jpg", status="done", reason=None):
    return {"id": id, "file": file, "status": status, "reason": reason, "reused": False}


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.sources, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def report(tmp_path):
    hostile = '<script>alert(1)</script> & "x".jpg'
    result = make_result(file=hostile, others=2, known=False, warnings=("The face is blurred.",))
    write_case(tmp_path / "cases", result, input_sha256="feed")
    lines = [_line(file=hostile), _line("b", "<img src=x>.jpg", "skipped", "No face <b>was</b> found.")]
    lines.append(_line("c", "c.jpg", "failed", "Out of memory."))
    parsed = _Tags()
    page = write_report(tmp_path, lines).read_text("utf-8")
    parsed.feed(page)
    return page, parsed


def test_needs_nothing_but_itself(report):
    page, parsed = report
    assert len(parsed.sources) == 4
    assert all(source.startswith("data:image/jpeg;base64,") for source in parsed.sources)
    assert "script" not in parsed.tags
    assert "link" not in parsed.tags
    assert not re.search(r"url\(|@import", page)


def test_hostile_file_names_are_text(report):
    _, parsed = report
    assert '<script>alert(1)</script> & "x".jpg' in parsed.text
    assert "<img src=x>.jpg" in parsed.text
    assert "No face <b>was</b> found." in parsed.text
    assert parsed.tags.count("img") == 4


def test_says_what_people_must_know(report):
    _, parsed = report
    assert parsed.text.count("ESTIMATE, NOT A PHOTOGRAPH") == 3
    assert parsed.text.count("ORIGINAL PHOTOGRAPH") == 1
    for words in (
        "Research only.",
        "The face is blurred.",
        "check that the right face was taken",
        "The age in the photograph was not given",
        "Nothing here identifies anybody",
        "1 with estimates, 2 without",
        "fault of the program",
        "At age 60",
        "reads 31 (some-estimator) / 33 (FaceRes)",
        "reads 62 (some-estimator) / 59 (FaceRes)",
        "two programs, made independently",
        "FaceRes reads",
        "female (read off the picture)",
        "female, read off the picture",
        "carried onto the photograph",
        "feed",
    ):
        assert words in parsed.text
    assert "arXiv 2309.11321" in parsed.text


def test_report_without_any_result(tmp_path):
    page = write_report(tmp_path, [_line("b", "b.jpg", "skipped", "The file is empty.")]).read_text("utf-8")
    assert "The file is empty." in page
    assert "How the estimates were made" not in page


def case(age, targets, others=0):
    """result.json of a person of this age; `targets` gives the age that each picture is read as."""
    return {
        "source": {"age": age, "age_origin": "given", "notes": []},
        "face": {"others": [0] * others, "warnings": [], "notes": []},
        "ages": {str(t): {"estimated_age": years and {"years": years}} for t, years in targets.items()},
    }


def test_every_way_of_making_pictures_is_explained():
    assert {DetailTransfer.name, Enlarging.name} == set(MAKING)


def test_child_to_adult_is_cautioned():
    assert "shows a child" in cautions(case(6, {10: 10, 40: 40}))[0]
    assert cautions(case(6, {10: 10})) == []
    assert cautions(case(30, {60: 60})) == []
    assert "right face" in cautions(case(30, {60: 60}, others=1))[0]


def test_pictures_that_miss_their_age_are_cautioned():
    near, far = cautions(case(30, {40: 31, 60: 35, 70: 33}))
    assert near.startswith("Do not use the picture at 60: it looks 35")
    assert far.startswith("Do not use the picture at 70: it looks 33")
    assert cautions(case(30, {60: None})) == []


def test_a_reader_whose_errors_were_measured_decides():
    shown = case(30, {60: 35})
    shown["ages"]["60"]["judged_age"] = {"years": 49.0, "estimator": "faceres"}
    assert cautions(shown) == []
    shown["ages"]["60"]["judged_age"] = {"years": 36.0, "estimator": "faceres"}
    assert cautions(shown)[0].startswith("Do not use the picture at 60")


def test_one_reader_and_an_open_gender(tmp_path):
    result = make_result()
    face = dataclasses.replace(result.face, gender=None, gender_origin=None, judged=None)
    write_case(tmp_path / "cases", dataclasses.replace(result, face=face, judged={}), input_sha256="feed")
    page = write_report(tmp_path, [_line()]).read_text("utf-8")
    assert "reads 62 (some-estimator)<" in page
    assert "a program sees" in page
    assert "FaceRes" not in page
    assert "drawn without a gender (it was not given)" in page
    assert "left open: neither given nor read surely enough" in page
