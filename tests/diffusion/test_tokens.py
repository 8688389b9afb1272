import pytest
import torch
from transformers import CLIPTokenizer

from faceforward.diffusion.prompts import PromptTemplate
from faceforward.diffusion.tokens import replacement_mapper, word_indicator, word_tokens
from faceforward.diffusion.vocabulary import write_tokenizer
from faceforward.errors import ConfigurationError

SIZE = 12  # start, nine tokens at most, end, padding


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, model_max_length=SIZE)
    return CLIPTokenizer.from_pretrained(folder)


def taken(mapper):
    """For each target token, the source tokens that it takes and how much of each."""
    return [
        {row: round(float(column[row]), 6) for row in column.nonzero().flatten().tolist()}
        for column in mapper.T
    ]


def test_every_digit_is_a_token(tokenizer):
    assert word_tokens(tokenizer, "photo of 32 year old man") == [
        range(1, 2),
        range(2, 3),
        range(3, 5),
        range(5, 6),
        range(6, 7),
        range(7, 8),
    ]
    assert word_tokens(tokenizer, "8 man") == [range(1, 2), range(2, 3)]
    assert word_tokens(tokenizer, "") == []


def test_same_prompt_maps_to_itself(tokenizer):
    prompt = "photo of 32 year old man"
    assert torch.equal(replacement_mapper(tokenizer, prompt, prompt), torch.eye(SIZE))


@pytest.mark.parametrize("tail", ["unshifted", "aligned"])
def test_same_counts_map_one_to_one(tokenizer, tail):
    mapper = replacement_mapper(tokenizer, "photo of 32 year old man", "photo of 60 year old man", tail=tail)
    assert torch.equal(mapper, torch.eye(SIZE))


def test_ages_of_two_digits_map_one_to_one(tokenizer):
    """07 is as many tokens as 70, so that nothing behind the age moves."""
    template = PromptTemplate(age_digits=2)
    source, target = template.prompt(7, "female"), template.prompt(70, "female")
    places = word_tokens(tokenizer, source)
    assert [len(place) for place in places] == [len(place) for place in word_tokens(tokenizer, target)]
    assert len(places[template.words.age[0]]) == 2
    assert torch.equal(replacement_mapper(tokenizer, source, target), torch.eye(tokenizer.model_max_length))


def test_two_tokens_to_one(tokenizer):
    # 0 start, 1 photo, 2 of, 3-4 "32" -> 3 "8", 5-7 year old man -> 4-6 year old boy, then end and padding
    source, target = "photo of 32 year old man", "photo of 8 year old boy"
    head = [{0: 1}, {1: 1}, {2: 1}, {3: 1, 4: 1}, {5: 1}, {6: 1}, {7: 1}]
    unshifted = taken(replacement_mapper(tokenizer, source, target))
    assert unshifted == [*head, {7: 1}, {8: 1}, {9: 1}, {10: 1}, {}]
    aligned = taken(replacement_mapper(tokenizer, source, target, tail="aligned"))
    assert aligned == [*head, {8: 1}, {9: 1}, {10: 1}, {11: 1}, {11: 1}]


def test_one_token_to_two(tokenizer):
    source, target = "photo of 8 year old boy", "photo of 45 year old man"
    head = [{0: 1}, {1: 1}, {2: 1}, {3: 0.5}, {3: 0.5}, {4: 1}, {5: 1}, {6: 1}]
    unshifted = taken(replacement_mapper(tokenizer, source, target))
    assert unshifted == [*head, {8: 1}, {9: 1}, {10: 1}, {11: 1}]
    aligned = taken(replacement_mapper(tokenizer, source, target, tail="aligned"))
    assert aligned == [*head, {7: 1}, {8: 1}, {9: 1}, {10: 1}]


def test_words_after_the_last_replaced_one(tokenizer):
    """Only the age differs: what follows is unshifted as published, unless it is asked for aligned."""
    source, target = "photo of 8 year old boy", "photo of 12 year old boy"
    assert taken(replacement_mapper(tokenizer, source, target))[5] == {5: 1}  # "year" from "old"
    assert taken(replacement_mapper(tokenizer, source, target, tail="aligned"))[5] == {4: 1}


def test_indicator_marks_all_tokens_of_the_words(tokenizer):
    marked = word_indicator(tokenizer, "photo of 32 year old man", (2, 5))
    assert marked.nonzero().flatten().tolist() == [3, 4, 7]


def test_refusals(tokenizer):
    with pytest.raises(ConfigurationError, match=r"has 2 words and .* has 3"):
        replacement_mapper(tokenizer, "a man", "a old man")
    with pytest.raises(ConfigurationError, match="16 tokens and the text encoder takes 12"):
        word_tokens(tokenizer, "photo of 32 year old man with grey hair and white beard glasses")
    with pytest.raises(ConfigurationError, match="no word 2"):
        word_indicator(tokenizer, "a man", (2,))


def test_words_that_encode_differently_together(tokenizer):
    """Python splits at the file separator, CLIP does not."""
    with pytest.raises(ConfigurationError, match="differently together"):
        word_tokens(tokenizer, "a\x1cman")
