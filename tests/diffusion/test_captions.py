import random
import re

import pytest

from faceforward.diffusion.captions import GroupCaptions, age_group, noun


@pytest.mark.parametrize(
    ("age", "gender", "word"), [(15, "female", "girl"), (16, "male", "man"), (3, None, "child")]
)
def test_nouns_turn_at_fifteen(age, gender, word):
    assert noun(age, gender) == word


def test_groups_cover_life():
    assert [age_group(a) for a in (1, 8, 15, 25, 45, 60, 80)] == [
        "baby", "little", "teenage", "young", "middle aged", "old", "elderly",
    ]  # fmt: skip


def test_no_exact_age_ever_enters_a_caption():
    rng = random.Random(0)
    drawn = {
        GroupCaptions().draw(age, gender, rng) for age in range(81) for gender in ("female", "male", None)
    }
    assert not [caption for caption in drawn if re.search(r"\d", caption)]
    assert {"photo of a woman in her thirties", "photo of a person", "photo of an elderly man"} <= drawn
