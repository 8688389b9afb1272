"""A CLIP tokenizer with a small vocabulary, for the model that comes with the package."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

WORDS = """
photo of a an the person man woman boy girl child baby toddler kid teenager teenage adult year years
old young middle aged elderly senior in his her their teens twenties thirties forties fifties
sixties seventies eighties early late korean japanese chinese asian european looking face portrait
little smiling serious with and wearing glasses hat beard grey black white hair
""".split()  # noqa: SIM905 - a list of one word a line would fill two pages
END = "</w>"


def _byte_alphabet() -> list[str]:
    """The 256 printable stand-ins for bytes of GPT-2's and CLIP's BPE, in vocabulary order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def _apply(merges: dict[tuple[str, str], int], symbols: list[str]) -> list[str]:
    """Byte-pair encoding: merge the pair of the lowest rank until none is left."""
    while len(symbols) > 1:
        pairs = [(merges.get(pair, len(merges)), index) for index, pair in enumerate(pairwise(symbols))]
        rank, index = min(pairs)
        if rank == len(merges):
            break
        symbols = [*symbols[:index], symbols[index] + symbols[index + 1], *symbols[index + 2 :]]
    return symbols


def merges_for(words: Iterable[str]) -> list[tuple[str, str]]:
    """Merge rules under which each word is one token; rules of later words never split earlier ones.

    Args:
        words: Lower-case words without digits (CLIP splits every digit before BPE).
    """
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        symbols = [*word[:-1], word[-1] + END]
        while len(symbols := _apply(ranks, symbols)) > 1:
            ranks[symbols[0], symbols[1]] = len(ranks)
    return list(ranks)


def write_vocabulary(folder: Path, vocabulary: dict[str, int], merges: Iterable[tuple[str, str]]) -> None:
    """Write CLIP's own two files: `vocab.json` (token -> index) and `merges.txt` (pairs in order of rank)."""
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def unpack_tokenizer(folder: Path) -> None:
    """Write CLIP's two files beside the `tokenizer.json` that transformers 5 writes alone: 4.x wants them.

    Args:
        folder: Of the tokenizer; left alone where the two files are there.
    """
    if not (folder / "vocab.json").exists():
        model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
        write_vocabulary(folder, model["vocab"], model["merges"])


def write_tokenizer(folder: Path, words: Iterable[str] = WORDS, *, model_max_length: int = 24) -> None:
    """Write `vocab.json`, `merges.txt` and `tokenizer_config.json` as `CLIPTokenizer` reads them.

    Args:
        folder: Made if it is not there.
        words: Words that become one token each; anything else falls back to bytes.
        model_max_length: Tokens of a padded prompt.
    """
    merges = merges_for(words)
    alphabet = _byte_alphabet()
    tokens = [*alphabet, *(letter + END for letter in alphabet), *(a + b for a, b in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    write_vocabulary(folder, {token: index for index, token in enumerate(tokens)}, merges)
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": model_max_length,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
