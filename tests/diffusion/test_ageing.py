import numpy as np
import pytest
from skimage.data import astronaut

from faceforward.diffusion.ageing import AgeRequest, FaceAger, mean_edit, psnr
from faceforward.diffusion.inversion import DirectInversion, NullTextInversion
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.settings import EditSettings
from faceforward.errors import ConfigurationError
from faceforward.faces.detect import find_faces
from faceforward.faces.growth import Growth, warp
from faceforward.faces.mesh import FaceMesh
from faceforward.faces.mtcnn import MTCNNDetector

SETTINGS = EditSettings(steps=3, guidance_scale=3.0)


@pytest.fixture(scope="module")
def model(tiny_sd):
    return load_pipeline(tiny_sd)


@pytest.fixture(scope="module")
def crop():
    return astronaut()[:256, 96:352]


@pytest.fixture(scope="module")
def mesh(crop):
    return FaceMesh().fit(crop, find_faces(crop, MTCNNDetector())[0][0].landmarks)


def same(edit, other):
    assert edit.images.keys() == other.images.keys()
    for name in ("images", "references"):
        for age, picture in getattr(edit, name).items():
            np.testing.assert_allclose(picture.astype(int), getattr(other, name)[age].astype(int), atol=2)


def test_one_face_to_its_targets(model, crop):
    told = []
    edit = FaceAger(model, settings=SETTINGS).age(
        crop, age=40, gender="female", targets=[70, 20], on_step=lambda *step: told.append(step)
    )
    assert list(edit.images) == [20, 70]
    assert edit.source_prompt == "photo of 40 year old woman"
    assert edit.target_prompts[70] == "photo of 70 year old woman"
    assert edit.inverted is edit.references[20] or (edit.inverted == edit.references[20]).all()
    assert edit.inversion_psnr == psnr(edit.inverted, edit.reconstruction)
    assert edit.source.shape == edit.images[20].shape == (32, 32, 3)
    assert edit.unet_evaluations == 3 + 3 * (1 + 3 * 2) - 2
    assert told[-1] == (3, 3)


def test_the_source_prompt_as_a_target_is_the_reference(model, crop):
    edit = FaceAger(model, settings=SETTINGS).age(crop, age=40, gender=None, targets=[40, 60])
    np.testing.assert_allclose(edit.images[40].astype(int), edit.references[60].astype(int), atol=2)


def test_several_faces_are_single_faces(model, crop, mesh):
    ager = FaceAger(model, settings=SETTINGS, growth=Growth())
    requests = [
        AgeRequest(crop, 40, "female", (20, 70)),
        AgeRequest(crop[:, ::-1].copy(), 6, None, (10, 30, 60), mesh),
    ]
    for bound in (None, 7):
        ager.max_batch = bound
        for edit, request in zip(ager.age_all(requests), requests, strict=True):
            ager.max_batch = None
            alone = ager.age(
                request.crop,
                age=request.age,
                gender=request.gender,
                targets=request.targets,
                mesh=request.mesh,
            )
            same(edit, alone)
            assert edit.unet_evaluations >= alone.unet_evaluations - 1


def test_a_child_is_grown_and_each_shape_has_its_own_reference(model, crop, mesh):
    growth = Growth()
    edit = FaceAger(model, settings=SETTINGS, growth=growth).age(
        crop, age=5, gender="male", targets=[5, 30, 60], mesh=mesh
    )
    assert edit.fields[5] is None
    assert edit.fields[30] is edit.fields[60]
    wanted = growth.field(mesh, 256, age=5, shape_age=growth.shape_age(5, 30), gender="male")
    np.testing.assert_array_equal(edit.fields[30], wanted)
    assert (edit.references[30] == edit.references[60]).all()
    assert (edit.references[5] != edit.references[30]).any()
    grown = FaceAger(model, settings=SETTINGS).age(warp(crop, wanted), age=5, gender="male", targets=[30, 60])
    np.testing.assert_allclose(edit.images[60].astype(int), grown.images[60].astype(int), atol=2)
    without = FaceAger(model, settings=SETTINGS, growth=growth).age(crop, age=5, gender="male", targets=[30])
    assert without.fields == {30: None}


def test_an_inversion_without_batches_works_too(model, crop, mesh):
    inversion = NullTextInversion(steps=2, inner_steps=1, guidance_scale=3.0)
    edit = FaceAger(model, inversion=inversion, settings=SETTINGS, growth=Growth()).age(
        crop, age=6, gender=None, targets=[6, 40], mesh=mesh
    )
    assert list(edit.images) == [6, 40]


def test_an_unknown_gender_may_be_the_mean_of_both(model, crop, mesh):
    both = EditSettings(steps=3, guidance_scale=3.0, neutral="both")
    ager = FaceAger(model, settings=both, growth=Growth())
    requests = [AgeRequest(crop, 40, "male", (70,)), AgeRequest(crop, 8, None, (30, 50), mesh)]
    known, unknown = ager.age_all(requests)
    same(known, ager.age(crop, age=40, gender="male", targets=[70]))
    assert unknown.source_prompt == "photo of 8 year old girl + photo of 8 year old boy"
    neutral = FaceAger(model, settings=SETTINGS, growth=Growth()).age(
        crop, age=8, gender=None, targets=[30, 50], mesh=mesh
    )
    np.testing.assert_array_equal(unknown.fields[30], neutral.fields[30])
    np.testing.assert_array_equal(unknown.source, neutral.source)
    assert unknown.unet_evaluations == 2 * neutral.unet_evaluations
    assert (unknown.images[50] != neutral.images[50]).any()


def test_the_mean_of_an_edit_with_itself_is_that_edit(model, crop):
    edit = FaceAger(model, settings=SETTINGS).age(crop, age=40, gender="male", targets=[70])
    same(mean_edit(edit, edit), edit)


def test_refused(model, crop):
    with pytest.raises(ConfigurationError, match="max_batch is 3"):
        FaceAger(model, max_batch=3)
    with pytest.raises(ValueError, match="target age"):
        FaceAger(model).age(crop, age=30, gender=None, targets=[])
    assert isinstance(FaceAger(model).inversion, DirectInversion)
    assert FaceAger(model).inversion.steps == 50


def test_psnr():
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black + np.uint8(1), black) == pytest.approx(48.13, abs=0.01)
