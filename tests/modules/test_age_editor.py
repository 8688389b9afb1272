import json
import logging
import shutil

import numpy as np
import pytest
from lightning import Trainer

from faceforward.diffusion.ageing import psnr
from faceforward.diffusion.inversion import DirectInversion, NullTextInversion
from faceforward.diffusion.prompts import PromptTemplate
from faceforward.diffusion.settings import EditChanges, EditSettings
from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.modules.age_editor import AgeEditor
from faceforward.modules.provenance import weights_sha256
from faceforward.records import CaseResult, Photo, Rejected


@pytest.fixture(scope="module")
def editor(tiny_sd):
    return AgeEditor(
        target_ages=[40, 20, 40],
        pretrained=str(tiny_sd),
        inversion=DirectInversion(steps=3),
    )


@pytest.fixture(scope="module")
def result(editor, astronaut):
    return editor.predict_step(Photo("a", "a.png", astronaut, age=30, gender="female"), 0)


def test_one_photograph_at_every_age(result):
    assert isinstance(result, CaseResult)
    assert list(result.aged) == [20, 40]
    assert result.face.pixels.shape == (512, 512, 3)
    assert result.face.mesh.points.shape == (468, 3)
    for pictures, side in ((result.aged, 512), (result.edit.images, 32)):
        for picture in pictures.values():
            assert picture.shape == (side, side, 3)
            assert picture.dtype == np.uint8
    assert result.edit.source.shape == result.edit.inverted.shape == (32, 32, 3)
    assert result.edit.inversion_psnr == psnr(result.edit.inverted, result.edit.reconstruction)
    assert result.edit.source_prompt == "photo of 30 year old woman"
    assert result.edit.target_prompts[20] == "photo of 20 year old woman"
    assert result.estimates.keys() == result.judged.keys() == result.identity.keys() == {20, 40}
    assert {estimate.estimator for estimate in result.judged.values()} == {"faceres"}
    assert result.reconstruction_identity > 0
    # An adult's shape stays. The inversion, and per step the source, two targets and the source's own prompt,
    # guided; all share the first.
    assert result.edit.fields == {20: None, 40: None}
    assert result.edit.unet_evaluations <= 3 + 3 * 7


def test_a_child_grows_before_it_is_inverted(editor, astronaut):
    result = editor.age(Photo("a", "a.png", astronaut, age=6, gender="female"))
    fields = result.edit.fields
    assert fields[20] is fields[40]  # one shape, one inversion
    assert fields[20].shape == (512, 512, 2)
    assert np.abs(fields[20]).max() > 2
    assert (result.edit.references[20] == result.edit.references[40]).all()
    still = AgeEditor(
        target_ages=[20], pretrained=editor.pretrained, inversion=DirectInversion(steps=2), growth=0.0
    )
    assert still.age(Photo("a", "a.png", astronaut, age=6)).edit.fields == {20: None}


def test_same_photograph_same_pictures(editor, result, astronaut):
    again = editor.age(Photo("other", "b.png", astronaut, age=30, gender="female", targets=(40,)))
    np.testing.assert_allclose(again.edit.images[40].astype(int), result.edit.images[40].astype(int), atol=1)


def test_settings_are_json_and_follow_the_photograph(editor, result):
    settings = editor.settings(age=30, gender="female", targets=None, face=None)
    assert json.loads(json.dumps(settings)) == result.settings
    assert settings["targets"] == [20, 40]
    assert editor.settings(age=None, gender=None, targets=(50,), face=2)["targets"] == [50]
    assert settings["model"]["name"] == "sd"
    assert settings["inversion"] == {"class": "DirectInversion", "steps": 3}
    assert settings["edit"]["guidance_scale"] == 7.5


def test_other_records_pass_through(editor):
    record = Rejected("a", "a.jpg", "skipped", "No.")
    assert editor.predict_step(record, 0) is record


def test_photograph_without_a_face_is_skipped(editor):
    record = editor.predict_step(Photo("a", "a.png", np.zeros((200, 200, 3), np.uint8)), 0)
    assert (record.status, record.id, record.file) == ("skipped", "a", "a.png")
    assert "face" in record.reason


def test_fault_of_ours_is_a_record_with_its_trace_in_the_log(editor, astronaut, caplog):
    with caplog.at_level(logging.ERROR):
        record = editor.predict_step(Photo("a", "a.png", astronaut.astype(np.float64)[..., :2], age=3), 0)
    assert record.status == "failed"
    assert ": " in record.reason
    assert "Traceback" in caplog.text


def test_interrupt_and_wrong_settings_stop_the_run(editor, astronaut, monkeypatch):
    for error in (KeyboardInterrupt, ConfigurationError("template")):

        def stop(photo, error=error):
            raise error

        monkeypatch.setattr(editor, "age", stop)
        with pytest.raises(error if isinstance(error, type) else type(error)):
            editor.predict_step(Photo("a", "a.png", astronaut), 0)


def test_weights_hash_sees_every_weight(editor):
    before = weights_sha256(editor.diffusion)
    assert before == editor.settings(age=None, gender=None, targets=None, face=None)["model"]["sha256"]
    bias = editor.diffusion.vae.decoder.conv_out.bias
    bias.data[0] += 1
    try:
        assert weights_sha256(editor.diffusion) != before
    finally:
        bias.data[0] -= 1


def test_template_and_edit_are_settings(tiny_sd, astronaut):
    editor = AgeEditor(
        target_ages=[60],
        pretrained=str(tiny_sd),
        inversion=DirectInversion(steps=2),
        edit=EditChanges(local_blend="none"),
        template=PromptTemplate(template="photo of {age} year old Korean {word}"),
    )
    result = editor.age(Photo("a", "a.png", astronaut, age=30, gender="male"))
    assert result.edit.target_prompts[60] == "photo of 60 year old Korean man"


def test_what_a_change_leaves_open_comes_from_the_model(tiny_sd, tmp_path):
    shutil.copytree(tiny_sd, tmp_path / "sd")
    (tmp_path / "sd" / "edit_settings.json").write_text(
        '{"guidance_scale": 2.5, "steps": 7, "restore_colors": true}'
    )
    editor = AgeEditor(target_ages=[60], pretrained=str(tmp_path / "sd"), edit=EditChanges(self_replace=0.4))
    assert editor.edit_settings == EditSettings(guidance_scale=2.5, steps=7, self_replace=0.4)
    assert editor.inversion.steps == 7


def test_how_a_backend_is_set_up_is_a_setting(tiny_sd):
    keys = []
    for detector in (MTCNNDetector(min_face=20), MTCNNDetector(min_face=200), MTCNNDetector(min_face=20)):
        editor = AgeEditor(target_ages=[60], pretrained=str(tiny_sd), detector=detector)
        keys.append(editor.settings(age=None, gender=None, targets=None, face=None))
    assert keys[0] == keys[2] != keys[1]
    assert json.loads(json.dumps(keys[1])) == keys[1]
    assert keys[1]["backends"]["detector"]["min_face"] == 200


def test_refused(tiny_sd):
    with pytest.raises(ConfigurationError, match="0 to 100"):
        AgeEditor(target_ages=[200], pretrained=str(tiny_sd))
    with pytest.raises(ConfigurationError, match=r"guidance 3 and the edit to 7\.5"):
        AgeEditor(target_ages=[20], pretrained=str(tiny_sd), inversion=NullTextInversion(guidance_scale=3.0))
    settings = EditChanges(guidance_scale=4.0)
    editor = AgeEditor(
        target_ages=[20], pretrained=str(tiny_sd), edit=settings, inversion=NullTextInversion()
    )
    assert editor.inversion.guidance == 4.0
    with pytest.raises(ConfigurationError, match="one target needs up to 4"):
        AgeEditor(target_ages=[20], pretrained=str(tiny_sd), max_batch=3)
    with pytest.raises(ConfigurationError, match="share of growth"):
        AgeEditor(target_ages=[20], pretrained=str(tiny_sd), growth=-1)
    with pytest.raises(WeightsUnavailableError, match="nowhere"):
        AgeEditor(target_ages=[20], pretrained="./nowhere")


def test_null_text_needs_gradients(tiny_sd):
    editor = AgeEditor(target_ages=[20], pretrained=str(tiny_sd), inversion=NullTextInversion(steps=2))
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False)
    with pytest.raises(ConfigurationError, match="inference_mode false"):
        trainer.predict(editor, dataloaders=[0])


class TestGroup:
    @pytest.fixture(scope="class")
    @staticmethod
    def photos(astronaut):
        return [
            Photo("a", "a.png", astronaut, age=30, gender="female"),
            Photo("b", "b.png", np.zeros((200, 200, 3), np.uint8)),
            Photo("c", "c.png", astronaut[:, ::-1].copy(), age=6, gender="male", targets=(30,)),
        ]

    def test_one_batch_gives_what_single_photographs_give(self, editor, result, photos):
        first, second, third = editor.predict_step(photos, 0)
        assert (second.status, second.id) == ("skipped", "b")
        assert list(first.aged) == [20, 40]
        assert list(third.aged) == [30]
        for age, picture in first.aged.items():
            assert np.abs(picture.astype(int) - result.aged[age]).mean() < 0.1
        assert first.settings == result.settings

    def test_what_is_done_already_stays(self, editor):
        record = Rejected("a", "a.jpg", "skipped", "No.")
        assert editor.predict_step([record, record], 0) == [record, record]

    def test_a_batch_that_fails_is_done_one_by_one(self, editor, photos, monkeypatch, caplog):
        whole = editor.ager.age_all

        def fails(requests, on_step=None):
            if len(requests) > 1:
                raise RuntimeError("out of memory")
            return whole(requests, on_step=on_step)

        monkeypatch.setattr(editor.ager, "age_all", fails)
        results = editor.predict_step(photos, 0)
        assert [type(record) for record in results] == [CaseResult, Rejected, CaseResult]
        assert "each is done alone" in caplog.text
