import pytest

from faceforward.diffusion.beside import read_beside
from faceforward.diffusion.blending import LocalBlend
from faceforward.diffusion.prompts import PromptTemplate, save_template, saved_template
from faceforward.diffusion.settings import EditSettings, saved_settings
from faceforward.errors import ConfigurationError


def read(*models, build=dict):
    return read_beside("facts.json", *models, build=build, what="facts", argument="--facts")


def test_the_first_model_that_has_the_file_is_taken(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "facts.json").write_text(f'{{"name": "{name}"}}')
    (tmp_path / "b" / "weights.safetensors").touch()
    (tmp_path / "empty").mkdir()
    assert read(None, "someone/model", tmp_path / "empty", tmp_path / "a", tmp_path / "b") == {"name": "a"}
    assert read(str(tmp_path / "b" / "weights.safetensors")) == {"name": "b"}  # beside a file
    assert read(tmp_path / "b" / "nothing.safetensors") is None
    assert read("", None) is None


@pytest.mark.parametrize("text", ["{", "[1]", "\udcff"])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "facts.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(
        ConfigurationError, match=r"facts\.json holds no facts: .*\. Remove it and give --facts"
    ):
        read(tmp_path)


def test_settings_lie_beside_a_model(tmp_path):
    assert saved_settings(tmp_path) == saved_settings("someone/model") == EditSettings()
    file = tmp_path / "edit_settings.json"
    file.write_text('{"guidance_scale": 4.0, "local_blend": {"threshold": 0.2}}')
    expected = EditSettings(guidance_scale=4.0, local_blend=LocalBlend(threshold=0.2))
    assert saved_settings(tmp_path) == expected
    file.write_text('{"local_blend": null}')
    assert saved_settings(tmp_path).local_blend is None
    for damaged in ("[]", "{", '{"guidance": 4}', '{"local_blend": {"pool": 2}}'):
        file.write_text(damaged)
        with pytest.raises(ConfigurationError, match=r"holds no settings of an edit.*model\.init_args\.edit"):
            saved_settings(tmp_path)


def test_the_template_lies_beside_a_model(tmp_path):
    assert saved_template(None, tmp_path, "someone/model") == PromptTemplate()
    template = PromptTemplate("photo of a {age} year old Korean {word}", woman="lady")
    save_template(template, tmp_path)
    assert saved_template(None, tmp_path) == template
    for damaged in ("[]", "{", '{"words": 4}', '{"template": "photo of a {word}"}'):
        (tmp_path / "prompt_template.json").write_text(damaged)
        with pytest.raises(
            ConfigurationError, match=r"json holds no prompt template.*model\.init_args\.template"
        ):
            saved_template(tmp_path)
