import pytest

from faceforward.diffusion.blending import LocalBlend
from faceforward.diffusion.settings import EditChanges, EditSettings, save_settings, saved_settings
from faceforward.errors import ConfigurationError


@pytest.mark.parametrize(
    "settings",
    [
        EditSettings(),
        EditSettings(steps=20, local_blend=None),
        EditSettings(local_blend=LocalBlend(start=0.5)),
    ],
)
def test_what_is_saved_beside_a_model_comes_back(tmp_path, settings):
    save_settings(settings, tmp_path)
    assert saved_settings(tmp_path) == settings
    assert saved_settings(None, tmp_path / "nowhere") == EditSettings()


def test_a_folder_of_an_older_release_is_read(tmp_path):
    (tmp_path / "edit_settings.json").write_text('{"guidance_scale": 3.5, "restore_colors": true}')
    assert saved_settings(tmp_path) == EditSettings(guidance_scale=3.5)


def test_changes_leave_open_what_they_do_not_name():
    settings = EditSettings(steps=20, guidance_scale=3.5)
    assert EditChanges(self_replace=0.1).over(settings) == EditSettings(
        steps=20, guidance_scale=3.5, self_replace=0.1
    )
    assert EditChanges(local_blend=None).over(settings).local_blend is None


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"cross_replace": 1.5}, {"guidance_scale": float("nan")}, {"neutral": "?"}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigurationError, match=f"edit.{next(iter(wrong))}"):
        EditSettings(**wrong)
