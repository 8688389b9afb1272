"""A photograph becomes one face, with everything known about it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from faceforward.errors import UnusablePhotoError
from faceforward.faces.age import DlibAgeEstimator
from faceforward.faces.face import READABLE_AGE, SURE_ALONE, SURE_TOGETHER, read_gender, take_face
from faceforward.faces.faceres import FaceResAgeEstimator
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.records import AgeEstimate, Photo


@pytest.fixture(scope="module")
def detector():
    return MTCNNDetector()


@pytest.fixture(scope="module")
def estimator():
    return DlibAgeEstimator()


@pytest.fixture(scope="module")
def group(astronaut):
    """Three heads of different sizes."""
    picture = np.full((300, 640, 3), 150, np.uint8)
    head = astronaut[0:200, 120:320]
    for x, y, side in ((10, 60, 120), (150, 50, 200), (400, 40, 160)):
        picture[y : y + side, x : x + side] = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
    return picture


def photo(pixels, **known):
    return Photo(id="case", file="case.jpg", pixels=pixels, **known)


def test_what_is_known_comes_before_what_is_estimated(astronaut, detector, estimator):
    face = take_face(photo(astronaut, age=33.0, gender="male"), detector, age_estimator=estimator)
    assert (face.age, face.age_origin, face.gender, face.gender_origin) == (33.0, "given", "male", "given")
    assert face.estimate is not None
    assert face.estimate.gender == "female"
    assert face.pixels.shape == (512, 512, 3)
    assert face.pixels.dtype == np.uint8
    assert face.detector == "mtcnn"
    assert face.others == face.notes == face.quality.warnings == ()


def test_the_estimate_fills_in(astronaut, detector, estimator):
    face = take_face(photo(astronaut), detector, size=256, age_estimator=estimator)
    assert face.age == face.estimate.years
    assert (face.age_origin, face.gender, face.gender_origin) == ("estimated", "female", "estimated")
    assert face.pixels.shape == (256, 256, 3)


def reading(gender="female", probability=0.99):
    return AgeEstimate(30.0, 5.0, gender=gender, gender_probability=probability, estimator="one")


def test_a_gender_that_was_read_is_used_when_it_is_sure():
    gender, (note,) = read_gender(30, reading())
    assert gender == "female"
    assert "read off the picture: female" in note
    assert "column `gender`" in note
    assert read_gender(30, reading(probability=SURE_ALONE))[0] == "female"
    assert read_gender(30, reading(probability=SURE_ALONE - 0.01))[0] is None


def test_two_readers_that_agree_need_less_certainty():
    both = reading(probability=SURE_TOGETHER), reading(probability=0.99)
    assert read_gender(30, *both)[0] == read_gender(30, *both[::-1])[0] == "female"
    assert read_gender(30, both[0])[0] is None
    gender, (note,) = read_gender(30, reading(probability=SURE_TOGETHER - 0.01), reading())
    assert gender is None
    assert "enough certainty" in note


def test_two_readers_that_differ_leave_the_gender_open():
    gender, (note,) = read_gender(30, reading(), reading("male"))
    assert gender is None
    assert "do not agree" in note
    assert "column `gender`" in note


def test_the_gender_of_young_children_stays_open():
    gender, (note,) = read_gender(READABLE_AGE - 0.1, reading(), reading())
    assert gender is None
    assert f"below {READABLE_AGE} years" in note
    assert read_gender(READABLE_AGE, reading(), reading())[0] == "female"


def test_a_reader_without_genders_says_nothing_about_them():
    silent = AgeEstimate(30.0, 5.0)
    assert read_gender(30, None) == read_gender(30, silent) == read_gender(30, silent, silent) == (None, ())
    assert read_gender(30, silent, reading())[0] == "female"


def test_a_child_keeps_its_estimate_in_the_record(astronaut, detector, estimator):
    face = take_face(photo(astronaut, age=4), detector, age_estimator=estimator, judge=FaceResAgeEstimator())
    assert (face.gender, face.gender_origin) == (None, None)
    assert face.estimate.gender == face.judged.gender == "female"
    assert face.judged.estimator == "faceres"
    assert "drawn without one" in face.notes[-1]
    given = take_face(photo(astronaut, age=4, gender="female"), detector, age_estimator=estimator)
    assert (given.gender, given.gender_origin, given.notes) == ("female", "given", ())


def test_without_an_estimator_the_age_has_to_be_given(astronaut, detector):
    face = take_face(photo(astronaut, age=40), detector)
    assert (face.age, face.gender, face.gender_origin, face.estimate) == (40.0, None, None, None)
    with pytest.raises(UnusablePhotoError, match="age in the photograph is not known"):
        take_face(photo(astronaut), detector)


def test_the_largest_face_is_taken_and_the_others_are_said(group, detector):
    face = take_face(photo(group, age=30), detector)
    assert 150 < face.detection.box[0] < 350
    assert [other.box[0] > 400 for other in face.others] == [True, False]
    assert face.notes[0].startswith("3 faces were found and the largest was taken. The others: 2 at x ")
    assert "; 3 at x " in face.notes[0]


def test_another_face_can_be_picked(group, detector):
    """The photograph's own number comes before the run's."""
    second = take_face(photo(group, age=30), detector, face=2)
    assert second.detection.box[0] > 400
    assert "number 2 was taken. The others: 1 at x " in second.notes[0]
    third = take_face(photo(group, age=30, face=3), detector, face=2)
    assert third.detection.box[2] < 150


@pytest.mark.parametrize("number", [0, -1, 4])
def test_a_face_that_is_not_there_lists_those_that_are(group, detector, number):
    with pytest.raises(UnusablePhotoError, match=f"no face {number} .*1 at x .*2 at x .*3 at x"):
        take_face(photo(group, age=30), detector, face=number)


def test_no_face_is_said(detector):
    with pytest.raises(UnusablePhotoError, match="No face was found"):
        take_face(photo(np.full((200, 300, 3), 90, np.uint8), age=30), detector)
