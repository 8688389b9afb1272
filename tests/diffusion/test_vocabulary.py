import json

import pytest
from transformers import CLIPTokenizer

from faceforward.diffusion.vocabulary import WORDS, merges_for, unpack_tokenizer, write_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder)


def test_every_word_is_one_token(tokenizer):
    assert [word for word in WORDS if tokenizer.tokenize(word) != [word + "</w>"]] == []


def test_digits_are_split_as_in_clip(tokenizer):
    assert tokenizer.tokenize("a 32 year old") == ["a</w>", "3</w>", "2</w>", "year</w>", "old</w>"]


def test_unknown_letters_fall_back_to_bytes(tokenizer):
    ids = tokenizer("Ünïcode 한국").input_ids
    assert tokenizer.unk_token_id not in ids[1:-1]


def test_prompts_are_padded_to_the_text_encoder_length(tokenizer):
    assert len(tokenizer("photo", padding="max_length").input_ids) == 24


def test_later_words_do_not_split_earlier_ones():
    assert merges_for(["man", "woman"]) == [*merges_for(["man"]), ("w", "o"), ("wo", "man</w>")]


def test_vocabulary_starts_like_clips_own(tmp_path):
    write_tokenizer(tmp_path, ["photo"])
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    assert list(vocabulary)[:3] == ["!", '"', "#"]
    assert len(vocabulary) == 512 + 4 + 2


def test_clips_own_files_come_back_from_tokenizer_json(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    unpack_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    again = CLIPTokenizer.from_pretrained(tmp_path)
    text = "photo of 32 year old woman, 8"
    assert again(text).input_ids == tokenizer(text).input_ids
