"""Several collections in one run: people, shares, cache."""

import pytest
import torch

from aihub_corpus import picture
from faceforward.cli import FaceforwardCLI
from faceforward.datamodules.aged_faces import Collections
from faceforward.datamodules.labelled_collection import LabelledCollection, draw_weights, keep_people_together
from faceforward.datamodules.labelled_folder import FolderSource
from faceforward.datamodules.splits import Filters
from faceforward.errors import ConfigurationError
from labelled_photos import photo
from tiny_training import QUIET, collections
from training_data import write_archive

pytestmark = QUIET


@pytest.fixture
def archives(astronaut, tmp_path):
    """Two zips with the same file names, the second all of children and without a val split."""
    first = write_archive(tmp_path / "first.zip", astronaut, train=8, val=3)
    (tmp_path / "second").mkdir()
    rows = []
    for index in range(4):
        (tmp_path / "second" / f"{index:05d}.png").write_bytes(picture(astronaut, 30 + index, side=32))
        rows.append(f"{index:05d}.png,{2 + index},train\n")
    (tmp_path / "second" / "labels.csv").write_text("file,age,split\n" + "".join(rows))
    return first, tmp_path / "second"


def make(archives, vae, tmp_path, shares=(None, None), **changes):
    parts = [LabelledCollection(FolderSource(a), share=s) for a, s in zip(archives, shares, strict=True)]
    arguments = {"cache_dir": str(tmp_path / "cache"), "val_share": 0.0, "test_share": 0.0, "batch_size": 2}
    data = Collections(parts, str(vae), **arguments | changes)
    data.prepare_data()
    data.setup("fit")
    return data


def test_collections_are_one_run(archives, tiny_vae, tmp_path):
    data = make(archives, tiny_vae, tmp_path)
    train, val = data.datasets["train"], data.datasets["val"]
    assert [label.age for label in train.labels] == [5 + 7 * i for i in range(8)] + [2, 3, 4, 5]
    assert [label.age for label in val.labels] == [61, 68, 75]
    assert len(list((tmp_path / "cache").glob("*/"))) == 1  # one cache
    assert data.weights() is None  # in proportion
    alone = make(archives[1:], tiny_vae, tmp_path, shares=(None,), val_share=0.5)
    assert all(
        torch.equal(alone.datasets["train"].moments[i, 0], train.moments[8 + place, 0])
        for i, place in enumerate(label.age - 2 for label in alone.datasets["train"].labels)
    )


def test_shares_say_how_much_is_drawn_from_each(archives, tiny_vae, tmp_path):
    data = make(archives, tiny_vae, tmp_path, shares=(1.0, 3.0), balance=1.0)
    weights = torch.tensor(data.weights())
    assert weights.mean().item() == pytest.approx(1)
    assert weights[8:].sum() / weights.sum() == pytest.approx(0.75)
    drawn = data.train_dataloader().sampler.order(0)
    assert len(drawn) == 12


def test_ages_are_balanced_over_all_collections():
    """Ages of 0 to 4 are rare in the first collection and common in both together."""
    ages = [[1] + [30] * 4, [2] * 4]
    weights = draw_weights(ages, [None, None], 1.0, None)
    assert weights[0] == pytest.approx(weights[5])
    assert sum(weights[:1] + weights[5:]) == pytest.approx(sum(weights[1:5]))
    assert draw_weights(ages, [None, None], 0.0, None) is None
    shared = draw_weights(ages, [1.0, 1.0], 0.0, None)
    assert sum(shared[:5]) == pytest.approx(sum(shared[5:])) == pytest.approx(4.5)


def test_a_person_of_two_collections_is_in_one_split():
    ann = [photo(f"ann{i}", identity="ann") for i in range(3)]
    first = {"train": [*ann[:2], photo("x")], "val": [photo("y")], "test": []}
    second = {"train": [photo("y")], "val": [ann[2], photo("x")], "test": []}
    keep_people_together([first, second])
    assert [p.name for p in first["train"]] == ["x"]  # photographs of unknown people stay
    assert [p.name for p in first["val"]] == ["ann0", "ann1", "y"]
    assert [p.name for p in second["val"]] == ["ann2", "x"]


def test_filters_and_lists_are_each_collections_own(archives, tiny_vae, tmp_path):
    (tmp_path / "list.csv").write_text("file\n00000.jpg\n")
    parts = [
        LabelledCollection(FolderSource(archives[0]), filters=Filters(exclude=str(tmp_path / "list.csv"))),
        LabelledCollection(FolderSource(archives[1]), filters=Filters(max_age=3)),
    ]
    data = Collections(parts, str(tiny_vae), cache_dir=str(tmp_path / "cache"))
    (first, second), _ = data.photos()
    assert "00000" not in {p.name for p in first["train"]}
    assert {p.name for p in second["train"] + second["val"] + second["test"]} == {"00000", "00001"}


def test_what_cannot_work_is_refused(archives, tiny_vae, tmp_path):
    with pytest.raises(ConfigurationError, match="1 of 2 collections have a share"):
        make(archives, tiny_vae, tmp_path, shares=(1.0, None))
    with pytest.raises(ConfigurationError, match="share is 0"):
        LabelledCollection(FolderSource(archives[0]), share=0)
    with pytest.raises(ConfigurationError, match="collections is empty"):
        Collections([], str(tiny_vae))
    ffhq = LabelledCollection(FolderSource(archives[0]), alignment="ffhq")
    with pytest.raises(ConfigurationError, match="gives no landmarks"):
        Collections([ffhq], str(tiny_vae)).photos()


def test_yaml_names_collections(archives, tiny_vae, tiny_sd, tmp_path):
    cli = FaceforwardCLI(
        args=[
            "--model=faceforward.modules.specialization.Specialization",
            f"--model.init_args.init_from={tiny_sd}",
            "--data=faceforward.datamodules.aged_faces.Collections",
            f"--data.init_args.vae={tiny_vae}",
            collections(*archives),
            "--seed_everything=1",
        ],
        run=False,
    )
    assert [str(part.source.root) for part in cli.datamodule.collections] == [str(a) for a in archives]
    assert cli.datamodule.where == f"{archives[0]}, {archives[1]}"
