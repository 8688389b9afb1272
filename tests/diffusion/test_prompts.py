import pytest

from faceforward.diffusion.prompts import (
    TEMPLATE_FILE,
    PromptTemplate,
    PromptWords,
    save_template,
    saved_template,
)
from faceforward.errors import ConfigurationError


@pytest.mark.parametrize(
    ("age", "gender", "prompt"),
    [
        (15, "female", "photo of 15 year old girl"),
        (16, "female", "photo of 16 year old woman"),
        (8, "male", "photo of 8 year old boy"),
        (60, "male", "photo of 60 year old man"),
        (3, None, "photo of 3 year old child"),
        (40, None, "photo of 40 year old person"),
        (32.4, "male", "photo of 32 year old man"),
        (15.4, "male", "photo of 15 year old boy"),
    ],
)
def test_published_prompts(age, gender, prompt):
    assert PromptTemplate().prompt(age, gender) == prompt


def test_words_that_matter():
    assert PromptTemplate().words == PromptWords(age=(2,), person=(5,))
    assert PromptTemplate().words.blended == (2, 5)
    assert PromptTemplate("a {age}-year-old face").words == PromptWords(age=(1,), person=())


def test_ages_as_two_digits(tmp_path):
    template = PromptTemplate(age_digits=2)
    assert template.prompt(7, "female") == "photo of 07 year old girl"
    assert template.prompt(70.2, None) == "photo of 70 year old person"
    assert template.prompt(104, None) == "photo of 104 year old person"
    assert template.words == PromptTemplate().words
    save_template(template, tmp_path)
    assert saved_template(tmp_path) == template
    with pytest.raises(ConfigurationError, match="age_digits of the prompt template is 0"):
        PromptTemplate(age_digits=0)


def test_templates_from_before_there_were_digits_write_ages_as_they_are(tmp_path):
    (tmp_path / TEMPLATE_FILE).write_text('{"template": "photo of {age} year old {word}"}')
    assert saved_template(tmp_path).prompt(7, "male") == "photo of 7 year old boy"
    assert saved_template("face-ldm-128").age_digits == 1  # no path: the default


def test_words_of_several_words():
    template = PromptTemplate(
        "photo  of a {word}, {age} years old",
        girl="korean girl",
        boy="korean boy",
        child="korean child",
        woman="korean woman",
        man="korean man",
        person="korean person",
    )
    prompt = template.prompt(40, "female")
    assert prompt == "photo of a korean woman, 40 years old"
    assert template.words == PromptWords(age=(5,), person=(3, 4))
    assert [prompt.split()[position] for position in template.words.blended] == ["korean", "woman,", "40"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("photo of a {word}", "must hold {age}"),
        ("photo of {age} {name}", "must hold {age}"),
        ("photo of {age", "cannot be read"),
    ],
)
def test_unusable_templates(template, message):
    with pytest.raises(ConfigurationError, match=message):
        PromptTemplate(template)


def test_words_must_be_of_one_length():
    with pytest.raises(ConfigurationError, match="same number of words"):
        PromptTemplate(man="korean man")
    with pytest.raises(ConfigurationError, match="same number of words"):
        PromptTemplate(girl="", boy="", child="", woman="", man="", person="")
