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
    np.testing.assert_array_equal(crop.pixels, expected)
    np.testing.assert_array_equal(CropMaker(64, "ffhq")(labelled).pixels, expected)
    assert quality.face_height == pytest.approx(112, rel=0.15)  # no box: the face's part of the crop


def test_points_of_a_larger_labelled_picture_are_scaled(labelled, astronaut):
    points = tuple(map(tuple, ((LANDMARKS + 0.5) * (4, 2) - 0.5).tolist()))
    with pytest.raises(UnusablePhotoError, match="wrong size: the label is of a picture of 2048 x 1024"):
        CropMaker(64, "ffhq")(dataclasses.replace(labelled, landmarks=points, frame=(2048, 1024)))
    points = tuple(map(tuple, ((LANDMARKS + 0.5) * 2 - 0.5).tolist()))
    twice = dataclasses.replace(labelled, landmarks=points, frame=(1024, 1024), box=(358, 122, 534, 346))
    crop, quality = CropMaker(64, "ffhq").measured(twice)
    np.testing.assert_array_equal(crop.pixels, align(astronaut, LANDMARKS, 64)[0])
    assert quality.face_height == 112


def test_detector_takes_the_labelled_face(labelled, astronaut):
    maker = CropMaker(64, "detector")
    near = align(astronaut, LANDMARKS, 64)[0].astype(float)
    for known in (labelled, dataclasses.replace(labelled, landmarks=None, frame=None)):
        assert np.abs(maker(known).pixels - near).mean() < 12
    assert maker.recipe == f"detector {maker.detector.name}"
    assert pickle.loads(pickle.dumps(maker))._detector is None


def test_whole_pictures_are_resized(labelled, astronaut, tmp_path):
    crop, quality = CropMaker(32, "none").measured(labelled)
    assert crop.pixels.shape == (32, 32, 3)
    assert not crop.padding.any()
    assert np.isnan([quality.roll, quality.yaw]).all()
    assert quality.face_height == pytest.approx(0.5625 * 512)
    np.testing.assert_array_equal(CropMaker(512, "none")(labelled).pixels, astronaut)
    np.testing.assert_allclose(alignment_of(ALIGNED * 64 - 0.5, 64).matrix, np.eye(3), atol=1e-9)


def test_padding_is_where_the_crop_leaves_the_photograph(labelled, astronaut, tmp_path):
    """A face at the left edge: the columns of the crop that lie beyond it, and cells that are partly so."""
    (tmp_path / "cut.png").write_bytes(picture(astronaut[:332, 180:], 0, side=332))
    points = tuple((x - 180, y) for x, y in labelled.landmarks)
    cut = dataclasses.replace(
        labelled, file=stored(tmp_path / "cut.png", "cut.png"), landmarks=points, frame=None
    )
    crop = CropMaker(64, "ffhq")(cut)
    matrix = alignment_of(np.array(points), 64).matrix
    x = matrix[0, 0] * np.arange(64) + matrix[0, 1] * np.arange(64)[:, None] + matrix[0, 2]
    y = matrix[1, 0] * np.arange(64) + matrix[1, 1] * np.arange(64)[:, None] + matrix[1, 2]
    outside = (x < 0) | (x > 331) | (y < 0) | (y > 331)
    np.testing.assert_array_equal(crop.padding, outside * np.uint8(255))
    assert 0.05 < outside.mean() < 0.9
    cells = crop.cells(8, 8).astype(float)
    np.testing.assert_allclose(cells, 255 * outside.reshape(8, 8, 8, 8).mean(axis=(1, 3)), atol=0.51)
    assert ((cells > 0) & (cells < 255)).any()
    assert not CropMaker(64, "ffhq")(labelled).padding[32].all()


def test_padding_that_a_collection_gives(labelled, tmp_path):
    from PIL import Image

    mask = np.zeros((128, 128), np.uint8)
    mask[:, :32] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    given = dataclasses.replace(labelled, padding=stored(tmp_path / "mask.png", "padding/a.png"))
    crop = CropMaker(64, "none")(given)
    np.testing.assert_array_equal(crop.padding[0], np.repeat([255, 0], [16, 48]))
    assert given.key != labelled.key
    for size, message in (((8, 4), "is 8 x 4, not square"), (None, "cannot be read")):
        if size:
            Image.new("L", size).save(tmp_path / "mask.png")
        else:
            (tmp_path / "mask.png").write_bytes(b"no picture")
        with pytest.raises(UnusablePhotoError, match=message):
            CropMaker(64, "none")(given)


def test_close_ups_are_searched_for_large_faces(labelled, astronaut):
    maker = CropMaker(64, "detector", min_face=60)
    assert maker.recipe == "detector mtcnn 60"
    assert maker.recipe != CropMaker(64, "detector").recipe
    assert maker.detector.min_face == 60
    near = align(astronaut, LANDMARKS, 64)[0].astype(float)
    assert np.abs(maker(labelled).pixels - near).mean() < 12


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
