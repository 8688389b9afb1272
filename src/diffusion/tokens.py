"""From the words of a prompt to its tokens, and from the tokens of one prompt to those of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import CLIPTokenizer

Tail = Literal["unshifted", "aligned"]


def word_tokens(tokenizer: CLIPTokenizer, prompt: str) -> list[range]:
    """Where each word of a prompt stands among its tokens; position 0 is the start token.

    CLIP splits at white space and at every digit before byte-pair encoding: "32" is two tokens, "8" is one.

    Args:
        tokenizer: CLIP's.
        prompt: Words separated by white space.

    Raises:
        ConfigurationError: The prompt has more tokens than the text encoder takes, or its words encode
            differently together than one by one.
    """
    places = []
    joined: list[int] = []
    for word in prompt.split():
        tokens = tokenizer(word, add_special_tokens=False).input_ids
        places.append(range(1 + len(joined), 1 + len(joined) + len(tokens)))
        joined.extend(tokens)
    if len(joined) + 2 > tokenizer.model_max_length:
        raise ConfigurationError(
            f"the prompt {prompt!r} has {len(joined) + 2} tokens and the text encoder takes "
            f"{tokenizer.model_max_length}: shorten it"
        )
    if tokenizer(prompt, add_special_tokens=False).input_ids != joined:
        raise ConfigurationError(
            f"the words of the prompt {prompt!r} encode differently together than one by one: "
            "use plain words separated by single spaces"
        )
    return places


def _one_to_one(mapper: torch.Tensor, row: int, column: int, count: int) -> None:
    """Map `count` tokens from `row` on to as many from `column` on."""
    index = torch.arange(count)
    mapper[row + index, column + index] = 1


def replacement_mapper(
    tokenizer: CLIPTokenizer, source: str, target: str, *, tail: Tail = "unshifted"
) -> torch.Tensor:
    """Which source tokens' attention each target token takes over (prompt-to-prompt, arXiv 2208.01626).

    Words are compared by position. A replaced word's tokens map one to one where the counts agree; otherwise
    each source token spreads evenly over the target's tokens.

    Args:
        tokenizer: CLIP's.
        source: Prompt whose attention maps are taken.
        target: Prompt that takes them, of as many words.
        tail: What happens after the last replaced word. `unshifted` maps target token `j` from source token
            `j` even where the counts of tokens differ, as the published code does; `aligned` keeps the shift.

    Returns:
        `(N, N)` float32 `M` over padded tokens: `target_map = source_map @ M`.

    Raises:
        ConfigurationError: The prompts differ in their number of words, or are too long.
    """
    ours, theirs = source.split(), target.split()
    if len(ours) != len(theirs):
        raise ConfigurationError(
            f"{source!r} has {len(ours)} words and {target!r} has {len(theirs)}: prompts are compared word "
            "by word, so give both the same number"
        )
    size = tokenizer.model_max_length
    mapper = torch.zeros(size, size)
    row = column = 0  # the first token of either prompt that is not mapped yet
    places = zip(word_tokens(tokenizer, source), word_tokens(tokenizer, target), strict=True)
    for word, other, (rows, columns) in zip(ours, theirs, places, strict=True):
        if word == other:
            continue
        _one_to_one(mapper, row, column, rows.start - row)
        if len(rows) == len(columns):
            _one_to_one(mapper, rows.start, columns.start, len(rows))
        else:
            mapper[rows.start : rows.stop, columns.start : columns.stop] = 1 / len(columns)
        row, column = rows.stop, columns.stop
    # The published loop ends with the longer prompt: the last padding of a shorter target gets no attention.
    count = size - max(row, column)
    _one_to_one(mapper, column if tail == "unshifted" else row, column, count)
    if tail == "aligned":
        mapper[size - 1, column + count :] = 1  # padding that the longer source prompt lacks
    return mapper


def word_indicator(tokenizer: CLIPTokenizer, prompt: str, words: Iterable[int]) -> torch.Tensor:
    """`(N,)` float32: 1 at the tokens of the words at these positions.

    Raises:
        ConfigurationError: The prompt has no word at such a position.
    """
    places = word_tokens(tokenizer, prompt)
    indicator = torch.zeros(tokenizer.model_max_length)
    for word in words:
        if not 0 <= word < len(places):
            raise ConfigurationError(
                f"the prompt {prompt!r} has no word {word}: it has {len(places)}, counted from 0"
            )
        indicator[list(places[word])] = 1
    return indicator
