"""Prompts that hold an age, and which of their words an edit blends and weighs."""

from __future__ import annotations

import dataclasses
import json
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceforward.diffusion.beside import read_beside
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from faceforward.records import Gender

TEMPLATE_FILE = "prompt_template.json"  # beside a model that was specialised: the prompt that it learnt


@dataclass(frozen=True)
class PromptWords:
    """Positions of the words that matter, counted in words from 0.

    Prompts of one edit have the same number of words, so one record serves them all.

    Attributes:
        age: Words that hold the age.
        person: Words that name the person.
    """

    age: tuple[int, ...]
    person: tuple[int, ...] = ()

    @property
    def blended(self) -> tuple[int, ...]:
        """The words whose attention makes the mask of LocalBlend."""
        return tuple(sorted({*self.age, *self.person}))


@dataclass(frozen=True)
class PromptTemplate:
    """FADING's prompt (Chen & Lathuilière, arXiv 2309.11321): an age and a word for the person.

    Example:
        >>> PromptTemplate().prompt(8, "male")
        'photo of 8 year old boy'

    Args:
        template: Holds `{age}`, and `{word}` if the person is named.
        child_until: The last age, in years, at which the words for children are used.
        girl: Word for a female child.
        boy: Word for a male child.
        child: Word for a child of unknown gender.
        woman: Word for a grown woman.
        man: Word for a grown man.
        person: Word for a grown person of unknown gender.
        age_digits: Least digits of an age, with zeros before it: 2 writes 7 as 07, which a model that reads
            digit by digit does not take for the start of 70. Only for models that learnt ages so.

    Raises:
        ConfigurationError: The template has no `{age}` or an unknown field; the words for people are not
            equally many words long, so that prompts of different ages could not be compared word by word; or
            `age_digits` is not 1, 2 or 3.
    """

    template: str = "photo of {age} year old {word}"
    child_until: int = 15
    girl: str = "girl"
    boy: str = "boy"
    child: str = "child"
    woman: str = "woman"
    man: str = "man"
    person: str = "person"
    age_digits: int = 1

    def __post_init__(self) -> None:
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(self.template) if name is not None}
        except ValueError as error:
            raise ConfigurationError(
                f"the prompt template {self.template!r} cannot be read: {error}"
            ) from error
        if "age" not in fields or fields - {"age", "word"}:
            raise ConfigurationError(
                f"the prompt template {self.template!r} must hold {{age}} and may hold {{word}}, nothing else"
            )
        words = (self.girl, self.boy, self.child, self.woman, self.man, self.person)
        if len({len(word.split()) for word in words}) != 1 or not self.girl.split():
            raise ConfigurationError(
                f"the person words {', '.join(map(repr, words))} must have the same number of words, at "
                "least one: prompts are compared word by word"
            )
        if self.age_digits not in (1, 2, 3):
            raise ConfigurationError(
                f"age_digits of the prompt template is {self.age_digits}: give 1, 2 or 3"
            )

    def number(self, age: float) -> str:
        """An age (years, rounded) as prompts write it."""
        return f"{round(age):0{self.age_digits}d}"

    def word(self, age: float, gender: Gender | None) -> str:
        """The word for a person of this age (years) and gender."""
        young, grown = {
            "female": (self.girl, self.woman),
            "male": (self.boy, self.man),
            None: (self.child, self.person),
        }[gender]
        return young if round(age) <= self.child_until else grown

    def prompt(self, age: float, gender: Gender | None) -> str:
        """The prompt for a person of this age (years, rounded) and gender."""
        text = self.template.format(age=self.number(age), word=self.word(age, gender))
        return " ".join(text.split())

    @property
    def words(self) -> PromptWords:
        """Where the age and the person stand, in every prompt of this template."""
        length = len(self.girl.split())
        roles: dict[str, list[int]] = {"age": [], "word": []}
        position = 0
        for part in self.template.split():
            count = 1 + part.count("{word}") * (length - 1)
            for name, places in roles.items():
                if f"{{{name}}}" in part:
                    places.extend(range(position, position + count))
            position += count
        return PromptWords(tuple(roles["age"]), tuple(roles["word"]))


def save_template(template: PromptTemplate, folder: Path) -> None:
    """Write the template beside a model that learnt it."""
    text = json.dumps(dataclasses.asdict(template), indent=2, ensure_ascii=False)
    (folder / TEMPLATE_FILE).write_text(text + "\n", encoding="utf-8")


def saved_template(*places: str | Path | None) -> PromptTemplate:
    """The template that lies beside a model; FADING's where none does.

    Args:
        places: Folders, or files in them, in order; what is no path on this machine is passed over.

    Raises:
        ConfigurationError: The file is damaged, or its template cannot be used.
    """
    saved = read_beside(
        TEMPLATE_FILE,
        *places,
        build=lambda values: PromptTemplate(**values),
        what="prompt template",
        argument="model.init_args.template",
    )
    return saved or PromptTemplate()
