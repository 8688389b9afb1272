"""Captions for training: words of a general model, that know people and age groups but no exact age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceforward.diffusion.prompts import PromptTemplate

if TYPE_CHECKING:
    import random

    from faceforward.records import Gender

DECADES = ("teens", "twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties")
noun = PromptTemplate().word  # training and editing must call a person the same
POSSESSIVE = {"female": "her", "male": "his", None: "their"}


def age_group(age: int) -> str:
    """An adjective for the age: what a general model's captions would say."""
    for limit, adjective in (
        (3, "baby"),
        (12, "little"),
        (19, "teenage"),
        (34, "young"),
        (54, "middle aged"),
    ):
        if age <= limit:
            return adjective
    return "elderly" if age >= 65 else "old"


@dataclass(frozen=True)
class GroupCaptions:
    """Draws a caption that holds person words and age groups only.

    Args:
        unknown_gender: Share of the captions that say person or child instead of the gender's word.
        plain: Share of the captions without an age group.
        decades: Share of the captions with a group that name a decade, where the age has one.
    """

    unknown_gender: float = 0.25
    plain: float = 0.2
    decades: float = 0.5

    def draw(self, age: int, gender: Gender | None, rng: random.Random) -> str:
        """One caption for a photograph of this age (years) and gender."""
        known = None if rng.random() < self.unknown_gender else gender
        if rng.random() < self.plain:
            return f"photo of a {noun(age, known) if rng.random() < 0.8 else 'person'}"
        if age >= 13 and rng.random() < self.decades:
            return f"photo of a {noun(age, known)} in {POSSESSIVE[known]} {DECADES[min(age // 10, 8) - 1]}"
        group = age_group(age)
        article = "an" if group[0] in "aeiou" else "a"
        return f"photo of {article} {group} {noun(age, known)}"
