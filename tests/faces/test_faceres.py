"""The second reader of age."""

import copy
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceforward.datamodules.aligned_faces import read_labels
from faceforward.errors import WeightsUnavailableError
from faceforward.faces.crops import cut
from faceforward.faces.faceres import AGES, FACERES_WINDOW, FILE, MEANS, SIDE, FaceResAgeEstimator

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ARCHIVE = SHARED / "faces-128.zip"
FACE = np.s_[20:193, 139:312]  # close to the FFHQ crop of the astronaut


@pytest.fixture(scope="module")
def estimator():
    return FaceResAgeEstimator()


@pytest.fixture(scope="module")
def crop(astronaut):
    return astronaut[FACE]


def test_the_astronaut_is_a_grown_woman(estimator, crop):
    (estimate,) = estimator.estimate([crop])
    assert 22 < estimate.years < 48
    assert estimate.gender == "female"
    assert estimate.gender_probability > 0.9
    assert estimate.estimator == "faceres"


def test_years_and_std_are_moments_of_the_distribution(estimator, crop):
    (estimate,) = estimator.estimate([crop])
    assert estimate.distribution.shape == estimate.support.shape == (100,)
    assert (estimate.support[0], estimate.support[-1]) == (1, 100)
    mean = np.average(estimate.support, weights=estimate.distribution)
    variance = np.average((estimate.support - mean) ** 2, weights=estimate.distribution)
    assert (estimate.years, estimate.std) == (pytest.approx(mean), pytest.approx(variance**0.5))


def test_colours_are_in_the_order_that_it_learnt(estimator, crop):
    """Blue where red belongs costs a year on average; here the reading moves."""
    (right,), (swapped,) = estimator.estimate([crop]), estimator.estimate([crop[..., ::-1].copy()])
    values = cut(crop, FACERES_WINDOW, SIDE)[None, ..., ::-1].astype(np.float32) - MEANS
    both = np.concatenate([values, values[:, :, ::-1]])
    (ages,) = estimator._session.run(["age"], {"input_1": both})
    assert right.years == pytest.approx(float((ages @ AGES).mean()), abs=1e-3)
    assert abs(right.years - swapped.years) > 0.3


def test_size_batch_and_mirror_do_not_matter(crop):
    images = [np.asarray(Image.fromarray(crop).resize((size, size), 3)) for size in (128, 256, 512)]
    images.append(images[2][:, ::-1])
    together = [e.years for e in FaceResAgeEstimator(batch_size=3).estimate(images)]
    alone = [FaceResAgeEstimator(batch_size=1).estimate([image])[0].years for image in images]
    np.testing.assert_allclose(together, alone, atol=1e-3)
    assert max(together) - min(together) < 2
    assert together[3] == pytest.approx(together[2], abs=0.05)


def test_no_picture_gives_no_estimate(estimator):
    assert estimator.estimate([]) == []


def test_it_can_be_copied_after_use(estimator, crop):
    again = copy.deepcopy(estimator).estimate([crop])
    assert again[0].years == pytest.approx(estimator.estimate([crop])[0].years)


def test_a_picture_that_is_no_crop_is_refused(estimator):
    with pytest.raises(ValueError, match="square crop"):
        estimator.estimate([np.zeros((64, 48, 3), np.uint8)])


def test_a_folder_without_the_network_is_refused(tmp_path):
    with pytest.raises(WeightsUnavailableError, match=FILE):
        FaceResAgeEstimator(tmp_path)


@pytest.mark.skipif(not (SHARED / "models" / FILE).is_file(), reason="the original is not on this machine")
def test_half_precision_reads_as_the_original_does(estimator, crop):
    original = FaceResAgeEstimator(SHARED / "models").estimate([crop])[0]
    shipped = estimator.estimate([crop])[0]
    assert shipped.years == pytest.approx(original.years, abs=0.3)
    assert shipped.gender_probability == pytest.approx(original.gender_probability, abs=0.01)


@pytest.mark.skipif(
    not (SHARED / "faces-128.zip").is_file(), reason="the photographs are not on this machine"
)
def test_the_error_on_real_photographs_is_what_was_measured(estimator):
    labels = [label for label in read_labels(ARCHIVE) if label.split == "val"][::10]
    with zipfile.ZipFile(ARCHIVE) as opened:
        images = [np.asarray(Image.open(io.BytesIO(opened.read(label.file)))) for label in labels]
    estimates = estimator.estimate(images)
    error = np.abs([e.years - label.age for e, label in zip(estimates, labels, strict=True)])
    assert error.mean() < 8
    assert np.mean([e.gender == label.gender for e, label in zip(estimates, labels, strict=True)]) > 0.85
