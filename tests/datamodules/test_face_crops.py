"""Labelled photographs to crops."""

import dataclasses
import pickle

import numpy as np
import pytest

from aihub_corpus import LANDMARKS, picture, write_zip
from faceforward.datamodules.face_crops import ALIGNED, CropMaker, pixels_of
from faceforward.datamodules.stored_files import stored, walk
from faceforward.errors import UnusablePhotoError
from faceforward.faces.align import align, alignment_of
from labelled_photos import photo


@pytest.fixture
def labelled(astronaut, tmp_path):
    (tmp_path / "a.png").write_bytes(picture(astronaut, 20, side=512))
    points = tuple(map(tuple, LANDMARKS.tolist()))
    return photo("a", file=stored(tmp_path / "a.png", "a.png"), landmarks=points, frame=(512, 512))


def test_crop_is_ffhqs(labelled, astronaut):
    crop, quality = CropMaker(64, "ffhq").measured(labelled)
    expected, _ = align(astronaut, LANDMARKS, 64)
    np.testing.assert_array_equal(crop, expected)
    np.testing.assert_array_equal(CropMaker(64, "ffhq")(labelled), expected)
    assert quality.face_height == pytest.approx(112, rel=0.15)  # no box: the face's part of the crop


def test_points_of_a_larger_labelled_picture_are_scaled(labelled, astronaut):
    points = tuple(map(tuple, ((LANDMARKS + 0.5) * (4, 2) - 0.5).tolist()))
    with pytest.raises(UnusablePhotoError, match="wrong size: the label is of a picture of 2048 x 1024"):
        CropMaker(64, "ffhq")(dataclasses.replace(labelled, landmarks=points, frame=(2048, 1024)))
    points = tuple(map(tuple, ((LANDMARKS + 0.5) * 2 - 0.5).tolist()))
    twice = dataclasses.replace(labelled, landmarks=points, frame=(1024, 1024), box=(358, 122, 534, 346))
    crop, quality = CropMaker(64, "ffhq").measured(twice)
    np.testing.assert_array_equal(crop, align(astronaut, LANDMARKS, 64)[0])
    assert quality.face_height == 112


def test_detector_takes_the_labelled_face(labelled, astronaut):
    maker = CropMaker(64, "detector")
    near = align(astronaut, LANDMARKS, 64)[0].astype(float)
    for known in (labelled, dataclasses.replace(labelled, landmarks=None, frame=None)):
        assert np.abs(maker(known) - near).mean() < 12
    assert maker.recipe == f"detector {maker.detector.name}"
    assert pickle.loads(pickle.dumps(maker))._detector is None


def test_whole_pictures_are_resized(labelled, astronaut, tmp_path):
    crop, quality = CropMaker(32, "none").measured(labelled)
    assert crop.shape == (32, 32, 3)
    assert np.isnan([quality.roll, quality.yaw]).all()
    assert quality.face_height == pytest.approx(0.5625 * 512)
    np.testing.assert_array_equal(CropMaker(512, "none")(labelled), astronaut)
    np.testing.assert_allclose(alignment_of(ALIGNED * 64 - 0.5, 64).matrix, np.eye(3), atol=1e-9)


def test_pictures_are_read_from_zips(astronaut, tmp_path):
    write_zip(tmp_path / "a.zip", {"/../b.png": picture(astronaut, 20, side=64)})
    (file,) = walk(tmp_path)
    assert pixels_of(file).shape == (64, 64, 3)


def test_what_cannot_be_cut_out(labelled, astronaut, tmp_path):
    def refused(alignment, message, **changes):
        with pytest.raises(UnusablePhotoError, match=message):
            CropMaker(64, alignment)(dataclasses.replace(labelled, **changes))

    outside = tuple((x + 600, y) for x, y in labelled.landmarks)
    refused("ffhq", "has no landmarks", landmarks=None)
    refused("ffhq", "lie outside the picture of 512 x 512", landmarks=outside, frame=None)
    from PIL import Image

    Image.new("RGB", (64, 40)).save(tmp_path / "wide.png")
    wide = stored(tmp_path / "wide.png", "wide.png")
    refused("none", "64 x 40 is no aligned crop", file=wide)
    refused("detector", "no face was found", file=wide, landmarks=None)
    (tmp_path / "cut.png").write_bytes(picture(astronaut, 0)[:3000])
    refused("ffhq", "damaged or cut off", file=stored(tmp_path / "cut.png", "cut.png"))
