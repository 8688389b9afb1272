"""Filters, splits by person, weights."""

import collections
import logging

import numpy as np
import pytest

from faceforward.datamodules.splits import Filters, balance_weights, listed, place_of, split_by_identity
from faceforward.errors import ConfigurationError
from labelled_photos import photo


def crowd(people=400, each=3, **changes):
    return [
        photo(f"{person:04d}_{index}", identity=f"{person:04d}", age=10 * index, **changes)
        for person in range(people)
        for index in range(each)
    ]


def people(photos):
    return {item.identity for item in photos}


def test_splits_are_disjoint_complete_and_of_their_shares():
    photos = crowd()
    splits = split_by_identity(photos, val_share=0.1, test_share=0.2)
    groups = {split: people(own) for split, own in splits.items()}
    assert sum(map(len, splits.values())) == len(photos)
    assert len(set.union(*groups.values())) == sum(map(len, groups.values())) == 400
    assert len(groups["val"]) == pytest.approx(40, abs=15)
    assert len(groups["test"]) == pytest.approx(80, abs=20)


def test_a_person_stays_where_it_is_when_others_come_and_go():
    whole = split_by_identity(crowd())
    for part in (crowd()[::2], crowd()[::-1], crowd(people=100)):
        for split, own in split_by_identity(part).items():
            assert people(own) <= people(whole[split])
    assert place_of("0895") == pytest.approx(0.0, abs=1)
    assert place_of("0895") == place_of("0895") != place_of("0896")


def test_what_the_collection_gives_is_respected():
    photos = crowd(people=50, given="train") + [
        photo(f"v{person}", identity=f"v{person}", given="held-out") for person in range(100)
    ]
    photos += [photo("t", identity="t", given="test"), photo("w", identity="w", given="val")]
    splits = split_by_identity(photos, val_share=0.05, test_share=0.15)
    assert people(splits["train"]) == {f"{person:04d}" for person in range(50)}
    assert len(splits["test"]) == pytest.approx(75, abs=15)
    assert {"t", "w"} & people(splits["test"]) == {"t"}
    without_test = split_by_identity(photos[:-2], val_share=0.05, test_share=0)
    assert not without_test["test"]


def test_a_half_that_gives_train_only_is_divided(caplog):
    with caplog.at_level(logging.INFO):
        splits = split_by_identity(crowd(given="train"), val_share=0.1, test_share=0.1)
    assert "no split but train" in caplog.text
    assert all(splits.values())


@pytest.mark.parametrize(
    "filters",
    [
        Filters(min_age=10, max_age=10),
        Filters(genders=["female"]),
        Filters(devices=["digital"]),
        Filters(photos_per_person=1),
        Filters(photos_per_person=1, seed=9),
        Filters(min_age=20, genders=["male"], devices=["film"], photos_per_person=1),
    ],
    ids=str,
)
@pytest.mark.parametrize("told", [False, True])
def test_a_person_stays_in_its_split_whatever_is_filtered(filters, told):
    """Also where a filter leaves nobody whom the collection itself holds out, or only some of a person."""
    photos = [
        photo(
            f"{person:03d}_{index}", identity=f"{person:03d}", age=10 * index,
            gender="female" if person % 2 else "male", device="film" if person % 4 < 2 else "digital",
            given=("held-out" if person % 2 == 0 else "test" if person < 9 and not index else "train")
            if told else None,
        )
        for person in range(120) for index in range(3)
    ]  # fmt: skip
    shares = {"val_share": 0.2, "test_share": 0.2}
    whole = split_by_identity(photos, **shares)
    some = split_by_identity(photos, filters=filters, **shares)
    assert [item for own in some.values() for item in own]
    for split, own in some.items():
        assert own == [item for item in filters.apply(photos) if item in whole[split]]


def test_a_train_person_stays_one_where_others_are_not_told():
    people = [photo(f"p{i}", given="train" if i % 2 else None) for i in range(200)]
    split = split_by_identity(people, val_share=0.2, test_share=0.2)
    assert all(item.given is None for part in ("val", "test") for item in split[part])
    assert split["val"]
    assert split["test"]


def test_person_in_two_splits_is_held_out(caplog):
    photos = [photo("a", identity="1", given="train"), photo("b", identity="1", given="test")]
    photos.append(photo("c", identity="2", given="train"))
    splits = split_by_identity(photos)
    assert [item.name for item in splits["test"]] == ["a", "b"]
    assert "1 people are in several splits" in caplog.text


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.1), (0.6, 0.4)])
def test_shares_that_are_none_are_refused(val, test):
    with pytest.raises(ConfigurationError, match="less than 1 together"):
        split_by_identity(crowd(2), val_share=val, test_share=test)


def test_filters():
    photos = [
        photo("a", age=5, gender="male", device="film"),
        photo("b", age=30, gender="female", device="digital"),
        photo("c", age=60, device="digital"),
    ]

    def kept(**filters):
        return [item.name for item in Filters(**filters).apply(photos)]

    assert kept() == ["a", "b", "c"]
    assert kept(min_age=5, max_age=30) == ["a", "b"]
    assert kept(genders=["female"]) == ["b"]
    assert kept(devices=["Digital"]) == ["b", "c"]


def test_few_photographs_of_each_person_are_always_the_same():
    photos = crowd(people=20, each=6)
    some = Filters(photos_per_person=2).apply(photos)
    assert set(collections.Counter(item.identity for item in some).values()) == {2}
    assert Filters(photos_per_person=2).apply(photos[::-1]) == some[::-1]
    assert Filters(photos_per_person=2, seed=1).apply(photos) != some
    assert Filters(photos_per_person=9).apply(photos) == photos


def test_filters_that_cannot_work_are_refused():
    with pytest.raises(ConfigurationError, match="min_age 50 is above max_age 20"):
        Filters(min_age=50, max_age=20)
    with pytest.raises(ConfigurationError, match="photos_per_person is 0"):
        Filters(photos_per_person=0)
    with pytest.raises(ConfigurationError, match=r"none of the 1 photographs passes .* ages here are 3 to 3"):
        Filters(min_age=50).apply([photo("a")])


def test_weights_draw_each_bin_of_ages_as_often():
    ages = [1, 2, 3, 4, 30, 31, 70]
    weights = balance_weights(ages, 1.0)
    assert sum(weights[:4]) == pytest.approx(sum(weights[4:6])) == pytest.approx(weights[6])
    assert balance_weights(ages, 0.0) is None
    assert balance_weights(ages, 0.5)[0] * 2 == pytest.approx(balance_weights(ages, 0.5)[-1])
    with pytest.raises(ConfigurationError, match="balance is -1"):
        balance_weights(ages, -1)


def test_a_cap_bounds_how_often_a_photograph_is_drawn():
    """As AI Hub is: thousands of children, 18 photographs of the oldest."""
    ages = [5] * 5000 + [25] * 3000 + [45] * 600 + [75] * 18
    for balance in (0.5, 1.0):
        free, capped = (np.array(balance_weights(ages, balance, cap)) for cap in (None, 10))
        assert free[-1] > 13
        assert free.mean() == pytest.approx(capped.mean()) == pytest.approx(1)
        assert capped.max() == pytest.approx(10)
        below = capped < 9.99
        ratios = capped[below] / free[below]
        assert ratios.max() == pytest.approx(ratios.min())  # what is below the cap keeps its proportions
        assert ratios.min() > 1
    assert balance_weights(ages, 0.5, 1000) == pytest.approx(balance_weights(ages, 0.5))
    assert balance_weights(ages, 1.0, 1) == pytest.approx([1.0] * len(ages))
    with pytest.raises(ConfigurationError, match=r"balance_cap is 0\.9"):
        balance_weights(ages, 1.0, 0.9)


def test_a_list_says_what_is_left_out(tmp_path):
    path = tmp_path / "list.csv"
    photos = [photo("a"), photo("b"), photo("c")]
    for column, other in (("file", "x"), ("faces_128_file", "file")):
        path.write_text(f"{other},{column}\nc.png,a.png\nc.png,gone.png\n")
        kept = Filters(exclude=str(path)).apply(photos)
        assert [item.name for item in kept] == ["b", "c"]
    path.write_text("name\na.png\n")
    for wrong in (path, tmp_path / "nowhere.csv"):
        with pytest.raises(ConfigurationError, match="is not a CSV with the column faces_128_file or file"):
            listed(wrong)


def test_a_half_that_is_held_out_only_is_divided_and_a_test_set_is_not(caplog):
    with caplog.at_level(logging.INFO):
        splits = split_by_identity(crowd(given="held-out"), val_share=0.1, test_share=0.1)
    assert "no split but held-out" in caplog.text
    assert splits == split_by_identity(crowd(given="held-out"), val_share=0.1, test_share=0.1)
    assert len(people(splits["train"])) == pytest.approx(320, abs=30)
    assert all(splits.values())
    told = split_by_identity(crowd(given="test"))
    assert [len(told[split]) for split in ("train", "val", "test")] == [0, 0, 1200]


def test_ids_that_are_no_valid_text_have_their_place():
    photos = [
        photo(f"{index}", identity=identity) for index, identity in enumerate(["\ud800", "\udcff", "a"])
    ]
    splits = split_by_identity(photos, filters=Filters(photos_per_person=1))
    assert sum(map(len, splits.values())) == 3
    assert place_of("\ud800") != place_of("\udcff")
