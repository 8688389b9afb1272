import copy
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from faceforward.faces.identity import CHIP_WINDOW, DlibEmbedder, distance

FACE = np.s_[20:193, 139:312]  # close to the FFHQ crop of the astronaut


@pytest.fixture(scope="module")
def embedder():
    return DlibEmbedder(batch_size=2)


@pytest.fixture(scope="module")
def crop(astronaut):
    return astronaut[FACE]


def test_descriptors_are_those_of_dlib(embedder, crop):
    import dlib

    network = dlib.face_recognition_model_v1(
        str(embedder.folder / "dlib_face_recognition_resnet_model_v1.dat")
    )
    expected = np.array(network.compute_face_descriptor(embedder.chip(crop)))
    found = embedder.embed([crop, crop[:, ::-1], crop])
    assert found.shape == (3, 128)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    np.testing.assert_array_equal(found[0], found[2])


def test_the_same_face_is_near_at_every_size_and_slightly_moved(embedder, crop):
    images = [np.asarray(Image.fromarray(crop).resize((size, size), 3)) for size in (128, 256, 512)]
    turned = cv2.warpAffine(images[2], cv2.getRotationMatrix2D((256, 256), 4, 1.03), (512, 512), borderMode=2)
    found = embedder.embed([*images, turned])
    assert distance(found[0], found).max() < 0.25


def test_even_noise_has_a_descriptor(embedder):
    noise = np.random.default_rng(3).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    chip = embedder.chip(noise)
    assert chip.shape == (150, 150, 3)
    assert np.isfinite(embedder.embed([noise])).all()


def test_a_chip_far_off_is_replaced_by_the_mean_one(embedder, crop):
    from faceforward.faces.crops import cut

    turned = np.asarray(Image.fromarray(crop).rotate(30))
    replaced = [
        np.array_equal(embedder.chip(image), cut(image, CHIP_WINDOW, 150)) for image in (turned, crop)
    ]
    assert replaced == [True, False]


def test_the_package_with_the_weights_is_not_imported(embedder):
    assert "face_recognition_models" not in sys.modules


def test_it_can_be_copied_after_use(embedder, crop):
    expected = embedder.embed([crop])
    np.testing.assert_array_equal(copy.deepcopy(embedder).embed([crop]), expected)


def test_no_picture_gives_no_descriptor(embedder):
    assert embedder.embed([]).shape == (0, 128)


def test_a_picture_that_is_no_crop_is_refused(embedder):
    with pytest.raises(ValueError, match="crop"):
        embedder.embed([np.zeros((64, 48, 3), np.uint8)])


def test_distance_is_euclidean_and_broadcasts():
    a = np.array([[3.0, 0.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(distance(a, np.array([0.0, 4.0])), [5, 4])
