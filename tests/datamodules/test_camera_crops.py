"""Camera-labelled crops: folders and zips, mirrors with their cameras, and what is wrong with them."""

import pickle
import zipfile

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, default_collate

from faceforward.datamodules.camera_crops import (
    CameraCrops,
    CropDataset,
    CropStore,
    photograph_of,
    yaw_weights,
)
from faceforward.datamodules.camera_labels import write_labels
from faceforward.datamodules.draws import Draw
from faceforward.eg3d import cameras
from faceforward.errors import ConfigurationError
from tiny_crops import crops, write_crops, zipped


@pytest.fixture
def folder(tmp_path, astronaut):
    return write_crops(tmp_path / "faces", astronaut)


def test_folder_and_zip_are_the_same(folder):
    one, other = CropStore(folder), CropStore(zipped(folder))
    assert list(one.labels) == list(other.labels)
    for name in one.labels:
        assert (one.pixels(name, 16) == other.pixels(name, 16)).all()
        torch.testing.assert_close(one.labels[name], other.labels[name])
    assert (pickle.loads(pickle.dumps(other)).pixels("0.png", 8) == other.pixels("0.png", 8)).all()


@pytest.mark.parametrize("in_memory", [False, True])
def test_mirrored_picture_has_the_mirrored_camera(folder, in_memory):
    dataset = CropDataset(CropStore(folder), ["1.png"], 32, mirror=True, in_memory=in_memory)
    plain, turned = dataset[Draw(0, 2)], dataset[Draw(0, 3)]
    assert plain["image"].shape == (3, 32, 32)
    assert plain["image"].abs().max() <= 1
    torch.testing.assert_close(turned["image"], plain["image"].flip(-1))
    torch.testing.assert_close(turned["camera"], cameras.mirrored(plain["camera"]))
    assert plain["camera"][[3, 7, 11]].norm().item() == pytest.approx(2.7)


def test_batches(folder):
    data = crops(folder)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 32, 32)
    assert batch["camera"].shape == (4, 25)
    assert len(list(data.val_dataloader())) == 2


def test_held_out_share_is_by_name(folder):
    data = CameraCrops(str(folder), val_share=0.5, size=16)
    data.setup("fit")
    train, val = (set(data.datasets[split].names) for split in ("train", "val"))
    assert train
    assert val
    assert not train & val
    assert len(train | val) == 8


def test_forked_workers_read_a_zip_that_the_main_process_has_read(folder):
    """A forked worker shares the position of an open file with all others."""
    dataset = CropDataset(
        CropStore(zipped(folder)), [f"{i % 8}.png" for i in range(96)], 16, mirror=False, in_memory=False
    )
    expected = torch.stack([dataset[index]["image"] for index in range(96)])
    loader = DataLoader(
        dataset, batch_size=4, num_workers=2, multiprocessing_context="fork", collate_fn=_pictures
    )
    assert torch.equal(torch.cat(list(loader)), expected)


def _pictures(samples):
    return default_collate([sample["image"] for sample in samples])


def test_zip_with_one_top_folder(tmp_path, folder):
    path = tmp_path / "deep.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"faces/{file.relative_to(folder)}")
        archive.writestr("__MACOSX/faces/._0.png", b"")
    one, other = CropStore(folder), CropStore(path)
    assert list(one.labels) == list(other.labels)
    assert (one.pixels("3.png", 16) == other.pixels("3.png", 16)).all()


def test_a_photograph_and_its_mirror_image_share_a_split(tmp_path, folder):
    names = [
        f"img{n:08d}{face}{side}.png" for n in range(40) for face in ("", "_01") for side in ("", "_mirror")
    ]
    pixels = (folder / "crops" / "0.png").read_bytes()
    (tmp_path / "layout").mkdir()
    for name in names:
        (tmp_path / "layout" / name).write_bytes(pixels)
    label = cameras.labels(cameras.look_at(0.0))[0]
    write_labels(dict.fromkeys(names, label), tmp_path / "layout" / "dataset.json")
    data = CameraCrops(str(tmp_path / "layout"), val_share=0.3, size=16)
    data.setup("fit")
    train, val = ({photograph_of(name) for name in data.datasets[s].names} for s in ("train", "val"))
    assert len(train | val) == 40
    assert len(val) > 4
    assert not train & val
    assert photograph_of("_00.png") == "_00"


def test_pictures_without_ending_and_missing_ones(folder):
    (folder / "crops" / "0.png").rename(folder / "crops" / "0")
    (folder / "dataset.json").write_text((folder / "dataset.json").read_text().replace(".png", ""))
    assert CropStore(folder).pixels("1", 32).shape == (32, 32, 3)
    (folder / "crops" / "3.png").unlink()
    with pytest.raises(ConfigurationError, match="lacks 1 of the 8"):
        CropStore(folder)


def test_bad_pictures(folder):
    (folder / "crops" / "0.png").write_bytes(b"no picture")
    Image.new("RGB", (32, 20)).save(folder / "crops" / "1.png")
    store = CropStore(folder)
    with pytest.raises(ConfigurationError, match=r"0\.png .* cannot be read"):
        store.pixels("0.png", 32)
    with pytest.raises(ConfigurationError, match="squares"):
        store.pixels("1.png", 32)


def test_nothing_there(tmp_path, folder):
    with pytest.raises(ConfigurationError, match="no folder and no zip"):
        CropStore(tmp_path / "none")
    path = zipped(folder)
    with zipfile.ZipFile(tmp_path / "bare.zip", "w") as archive:
        archive.writestr("a.png", b"")
    with pytest.raises(ConfigurationError, match="holds none of"):
        CropStore(tmp_path / "bare.zip")
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.writestr("dataset.json", "{")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        CropStore(tmp_path / "odd.zip")
    data = CameraCrops(str(path), val_share=0.0, size=16)
    with pytest.raises(ConfigurationError, match="no picture for the split 'val'"):
        data.setup("fit")


def test_turned_heads_are_drawn_more_often(folder):
    yaws = [0.0] * 6 + [3.0, -3.0] + [12.0, -13.0] + [40.0]
    labels = torch.cat([cameras.labels(cameras.look_at(yaw)) for yaw in yaws])
    assert yaw_weights(labels, 6.0) == [1.0] * 8 + [4.0, 4.0] + [6.0]
    data = crops(folder, rebalance=4.0)
    data.setup("fit")
    sampler = data.train_dataloader().sampler
    assert sampler.weights.tolist() == pytest.approx(yaw_weights(data.datasets["train"].labels, 4.0))


@pytest.mark.parametrize(
    "wrong", [{"rebalance": 0}, {"rebalance": float("nan")}, {"batch_size": 0}, {"num_workers": -1}]
)
def test_settings_that_cannot_work_are_refused(folder, wrong):
    with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))} is "):
        crops(folder, **wrong)
