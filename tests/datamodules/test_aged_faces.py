"""The data modules of labelled collections; through the command line in test_aged_faces_cli.py."""

import csv
import logging

import numpy as np
import pytest
import torch

from aihub_corpus import picture
from faceforward.datamodules.aged_faces import AgedFaces
from faceforward.datamodules.aihub import AIHubAging
from faceforward.datamodules.draws import Draw
from faceforward.datamodules.labelled_folder import LabelledFolder
from faceforward.datamodules.latent_photos import LatentPhotos
from faceforward.datamodules.splits import Filters
from faceforward.errors import ConfigurationError
from tiny_training import QUIET

pytestmark = QUIET


def make(delivery, tiny_vae, **changes):
    root = delivery[0]
    arguments = {"cache_dir": str(root.parent / "cache"), "batch_size": 4, "rejected": None, **changes}
    return AIHubAging(str(root), str(tiny_vae), **arguments)


def ready(data, stage="fit"):
    data.prepare_data()
    data.setup(stage)
    return data


def test_batches(delivery, tiny_vae):
    data = ready(make(delivery, tiny_vae, balance=1.0, seed=3))
    batch = next(iter(data.train_dataloader()))
    assert batch["moments"].shape == (4, 8, 8, 8)
    assert batch["moments"].dtype == torch.float32
    assert batch["padding"].shape == (4, 8, 8)
    assert 0 <= batch["padding"].min() <= batch["padding"].max() <= 1
    assert batch["age"].dtype == batch["seed"].dtype == torch.int64
    assert batch["gender"] == ["female"] * 4
    again = next(iter(ready(make(delivery, tiny_vae, balance=1.0, seed=3)).train_dataloader()))
    assert torch.equal(batch["seed"], again["seed"])
    assert torch.equal(batch["moments"], again["moments"])
    validation = list(data.val_dataloader())
    assert sum(len(batch["age"]) for batch in validation) == len(data.datasets["val"])


def test_fadings_own_form_has_no_genders(tiny_vae, tmp_path, astronaut):
    images = tmp_path / "data" / "training_images"
    images.mkdir(parents=True)
    for index in range(6):
        (images / f"{index}.png").write_bytes(picture(astronaut, index, 32))
    rows = np.array([[f"{index}.png", str(5 + index)] for index in range(6)])
    np.save(tmp_path / "data" / "training_ages.npy", rows)
    data = LabelledFolder(
        str(tmp_path / "data"), str(tiny_vae), alignment="none", val_share=0.3, cache_dir=str(tmp_path / "c"),
        batch_size=2, rejected=str(tmp_path / "rejected.csv"),
    )  # fmt: skip
    batch = next(iter(ready(data).train_dataloader()))
    assert batch["gender"] == [None, None]
    assert batch["moments"].shape == (2, 8, 8, 8)


def test_only_training_is_mirrored(delivery, tiny_vae):
    data = ready(make(delivery, tiny_vae))
    for split, kinds in (("train", 2), ("val", 1)):
        served = torch.stack([data.datasets[split][Draw(0, seed)]["moments"] for seed in range(6)])
        assert len(served.unique(dim=0)) == kinds


def test_every_fault_is_in_rejected_csv_and_counted(delivery, tiny_vae, tmp_path, caplog):
    _, names, by_label, by_picture = delivery
    path = tmp_path / "bad" / "rejected.csv"
    with caplog.at_level(logging.INFO):
        data = ready(make(delivery, tiny_vae, rejected=str(path)))
    with path.open(newline="", encoding="utf-8") as stream:
        reasons = {row["file"]: row["reason"] for row in csv.DictReader(stream)}
    for end, reason in (by_label | by_picture).items():
        assert any(file.endswith(end) and reason in said for file, said in reasons.items()), end
    assert len(reasons) == len(by_label) + len(by_picture)
    assert f"{len(reasons)} files are not (see {path})" in caplog.text
    used = {label.name for dataset in data.datasets.values() for label in dataset.labels}
    assert used < set(names)  # the rest is test


def test_splits_are_by_person_and_each_stage_reads_its_own(delivery, tiny_vae):
    data = ready(make(delivery, tiny_vae))
    assert data.datasets.keys() == {"train", "val"}
    ready(data, "test")
    people = [{label.identity for label in dataset.labels} for dataset in data.datasets.values()]
    assert len(set.union(*people)) == sum(map(len, people)) == 7
    assert sum(len(batch["age"]) for batch in data.test_dataloader()) == len(data.datasets["test"])


def test_filters_move_nobody_into_another_split(delivery, tiny_vae):
    whole, older = (
        make(delivery, tiny_vae, filters=f).photos()[0][0] for f in (Filters(), Filters(min_age=19))
    )
    where = {photo.identity: split for split, own in whole.items() for photo in own}
    assert sum(map(len, older.values())) < sum(map(len, whole.values()))
    assert all(where[photo.identity] == split for split, own in older.items() for photo in own)


def test_the_autoencoder_runs_once(delivery, tiny_vae, caplog):
    ready(make(delivery, tiny_vae))
    shards = {p: p.stat().st_mtime_ns for p in (delivery[0].parent / "cache").rglob("*.safetensors")}
    with caplog.at_level(logging.INFO):
        ready(make(delivery, tiny_vae, filters=Filters(min_age=10), seed=5))
    assert "4 photographs are encoded" not in caplog.text
    assert shards == {p: p.stat().st_mtime_ns for p in (delivery[0].parent / "cache").rglob("*.safetensors")}


def test_one_age_only_is_refused(delivery, tiny_vae):
    data = make(delivery, tiny_vae, filters=Filters(min_age=18, max_age=18))
    with pytest.raises(ConfigurationError, match=r"all 3 training photographs .* are 18 years old"):
        data.prepare_data()


def test_empty_splits_are_refused(delivery, tiny_vae):
    data = make(delivery, tiny_vae, val_share=0.0, test_share=0.5)
    with pytest.raises(ConfigurationError, match=r"no photograph left for the split 'val'.*val_share"):
        data.prepare_data()
    data = make(delivery, tiny_vae, val_share=0.5, test_share=0.0)
    data.prepare_data()
    with pytest.raises(ConfigurationError, match=r"no photograph left for the split 'test'.*test_share"):
        data.setup("test")


def test_an_empty_train_split_gets_advice_of_its_own(tiny_vae, tmp_path, astronaut):
    for index in range(2):
        (tmp_path / f"{index}.png").write_bytes(picture(astronaut, index, side=32))
    (tmp_path / "labels.csv").write_text("file,age,split\n0.png,3,test\n1.png,9,val\n")
    data = LabelledFolder(str(tmp_path), str(tiny_vae), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(
        ConfigurationError,
        match=r"left for the split 'train': .* smaller data\.init_args\.val_share and test_share "
        r"\(now 0\.05 val, 0\.05 test\), or people whom the collection does not hold out \(AI Hub: .*\)",
    ):
        data.prepare_data()


def test_the_validation_half_alone_can_be_trained_on(tiny_vae, delivery, tmp_path):
    arguments = {"val_share": 0.3, "cache_dir": str(tmp_path), "rejected": str(tmp_path / "rejected.csv")}
    data = AIHubAging(str(delivery[0] / "Validation"), str(tiny_vae), **arguments)
    ready(data)
    assert data.datasets["train"]
    assert data.datasets["val"]


def test_latents_that_are_not_there_are_named(delivery, tiny_vae, tmp_path):
    data = make(delivery, tiny_vae, cache_dir=str(tmp_path))
    with pytest.raises(
        ConfigurationError, match=r"no latent of the split 'train' .* data\.init_args\.cache_per_node"
    ):
        data.setup("fit")
    assert not data.prepare_data_per_node
    assert make(delivery, tiny_vae, cache_per_node=True).prepare_data_per_node


def test_landmarks_are_needed_for_ffhqs_crop(delivery, tiny_vae, tmp_path, astronaut):
    from aihub_corpus import picture

    (tmp_path / "a.png").write_bytes(picture(astronaut, 0, side=32))
    (tmp_path / "labels.csv").write_text("file,age\na.png,3\n")
    data = LabelledFolder(str(tmp_path), str(tiny_vae), alignment="ffhq", cache_dir=str(tmp_path / "cache"))
    with pytest.raises(ConfigurationError, match=r"gives no landmarks: set data\.init_args\.alignment"):
        data.prepare_data()


def test_wrong_arguments_are_refused(delivery, tiny_vae, tmp_path):
    with pytest.raises(ConfigurationError, match="balance is 2"):
        make(delivery, tiny_vae, balance=2.0)
    with pytest.raises(ConfigurationError, match=r"balance_cap is 0\.5"):
        make(delivery, tiny_vae, balance_cap=0.5)
    with pytest.raises(ConfigurationError, match="is no AutoencoderKL folder"):
        AIHubAging(str(delivery[0]), str(tmp_path))


def test_base_reads_nothing(tiny_vae):
    with pytest.raises(NotImplementedError):
        AgedFaces("x", str(tiny_vae)).read()
    with pytest.raises(NotImplementedError):
        LatentPhotos(str(tiny_vae)).photos()


def test_reading_in_worker_processes(delivery, tiny_vae):
    data = ready(make(delivery, tiny_vae))
    expected = [batch["seed"].tolist() for batch in data.val_dataloader()]
    data.num_workers = 1
    batches = list(data.val_dataloader())
    assert [batch["seed"].tolist() for batch in batches] == expected
    assert all(batch["moments"].isfinite().all() for batch in batches)
