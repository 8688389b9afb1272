import doctest

import numpy as np
import pytest

import faceforward.metrics.retrieval as retrieval_module
from faceforward.faces.identity import DlibEmbedder
from faceforward.metrics.retrieval import Gallery, Retrieval, chance, fused, missed, ranks, unit


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(retrieval_module).failed == 0


@pytest.fixture
def world():
    """40 people, six photographs each: three make the gallery, three are probes."""
    generator = np.random.default_rng(0)
    person = np.repeat(np.arange(40), 6)
    shown = generator.normal(size=(40, 16))[person] + generator.normal(0, 0.3, (240, 16))
    old = np.arange(240) % 6 < 3
    return Gallery.of(shown[old], person[old].tolist()), shown[~old], person[~old]


def figures_of(gallery, probes, people):
    metric = Retrieval(gallery)
    metric.update(probes, people.tolist())
    return {name: float(value) for name, value in metric.compute().items()}


def test_a_template_is_the_mean_of_the_directions():
    gallery = Gallery.of(np.array([[3.0, 0], [0, 0.5], [0, -2]]), ["a", "a", "b"])
    assert gallery.people == ("a", "b")
    np.testing.assert_allclose(gallery.templates, [[np.sqrt(0.5), np.sqrt(0.5)], [0, -1]])
    np.testing.assert_allclose(gallery.distances(np.array([[0, 7.0]])), [[np.sqrt(2 - np.sqrt(2)), 2]])


def test_a_mean_of_both_takes_each_at_length_one():
    np.testing.assert_allclose(fused(np.array([100.0, 0]), np.array([0, 0.1])), unit(np.array([1.0, 1.0])))


def test_ranks_count_who_is_nearer():
    distances = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.2, 0.2, 0.2], [np.nan] * 3])
    np.testing.assert_array_equal(ranks(distances, np.array([0, 2, 1, 0])), [1, 3, 2, 3])


def test_people_who_look_like_themselves_are_found(world):
    figures = figures_of(*world)
    assert figures["rank1"] > 0.95
    assert figures["rank5"] >= figures["rank1"]
    assert figures["mean_rank"] < 1.2
    assert (figures["count"], figures["people"]) == (120, 40)


def test_swapped_identities_are_at_chance():
    found = []
    for seed in range(20):  # of one gallery it would be luck
        generator = np.random.default_rng(seed)
        gallery = Gallery.of(generator.normal(size=(40, 16)), range(40))
        swapped = generator.permutation(40)
        found.append(figures_of(gallery, gallery.templates, swapped))
    expected = chance(40)
    assert expected == {"rank1": 1 / 40, "rank5": 1 / 8, "mean_rank": 20.5}
    assert np.mean([f["rank1"] for f in found]) == pytest.approx(1 / 40, abs=0.02)
    assert np.mean([f["rank5"] for f in found]) == pytest.approx(1 / 8, abs=0.04)
    assert np.mean([f["mean_rank"] for f in found]) == pytest.approx(20.5, abs=1.2)
    assert found[0]["chance/rank5"] == 1 / 8


def test_chance_in_a_small_gallery_finds_everybody():
    assert chance(3) == {"rank1": 1 / 3, "rank5": 1, "mean_rank": 2}


def test_people_weigh_the_same_however_many_photographs_they_have():
    gallery = Gallery(("a", "b"), np.eye(2))
    probes = np.array([[1.0, 0]] * 9 + [[1.0, 0]])  # nine of a are found, the one of b is not
    figures = figures_of(gallery, probes, np.array(["a"] * 9 + ["b"]))
    assert figures["rank1"] == 0.5
    assert figures["mean_rank"] == 1.5


def test_a_picture_without_a_face_counts_as_not_found():
    gallery = Gallery(("a", "b", "c"), np.eye(3))
    figures = figures_of(gallery, np.array([[1.0, 0, 0], [np.nan] * 3]), np.array(["a", "b"]))
    assert figures["rank1"] == 0.5
    assert figures["mean_rank"] == 2
    assert figures["fnmr"] >= 0.5


def test_missed_at_a_share_of_false_matches():
    own = np.zeros(10, dtype=int)
    wrong = np.linspace(0.5, 1.0, 1000).reshape(10, 100)
    right = np.linspace(0.4, 0.58, 10)[:, None]
    at = missed(np.hstack([right, wrong]), own, false_matches=0.1)
    np.testing.assert_array_equal(at, right[:, 0] >= np.sort(wrong.ravel())[100])
    assert missed(np.hstack([right, wrong]), own).sum() == (right >= np.sort(wrong.ravel())[1]).sum()


def test_where_nobody_was_found_all_are_missed():
    assert missed(np.full((2, 3), np.nan), np.array([0, 1])).all()


def test_updates_add_up(world):
    gallery, probes, people = world
    metric = Retrieval(gallery)
    for part in (slice(0, 50), slice(50, None)):
        metric.update(probes[part], people[part].tolist())
    together = {name: float(value) for name, value in metric.compute().items()}
    assert together == pytest.approx(figures_of(gallery, probes, people))
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert metric.compute() == {}


def test_the_embedder_describes_the_pictures(astronaut):
    crop = astronaut[20:193, 139:312]
    embedder = DlibEmbedder()
    gallery = Gallery.of(embedder.embed([crop, np.rot90(crop)]), ["her", "other"])
    metric = Retrieval(gallery, embedder)
    metric.update([crop[:, ::-1]], ["her"])
    assert float(metric.compute()["rank1"]) == 1


@pytest.mark.parametrize(
    ("people", "templates", "message"),
    [
        (("a", "a"), np.eye(2), "each person one"),
        (("a",), np.eye(1), "at least two"),
        (("a",), np.eye(2), "one"),
    ],
)
def test_galleries_that_find_nobody_are_refused(people, templates, message):
    with pytest.raises(ValueError, match=message):
        Gallery(people, templates)


def test_somebody_who_is_not_there_cannot_be_looked_for(world):
    gallery, probes, _ = world
    with pytest.raises(ValueError, match="not in the gallery: 77"):
        Retrieval(gallery).update(probes[:1], [77])


def test_numbers_that_differ_are_refused(world):
    gallery, probes, _ = world
    with pytest.raises(ValueError, match="2 people"):
        Retrieval(gallery).update(probes[:1], [1, 2])
