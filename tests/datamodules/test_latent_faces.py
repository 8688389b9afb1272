import pytest
import torch
from diffusers import AutoencoderKL

from faceforward.datamodules import latent_faces
from faceforward.datamodules.draws import Draw
from faceforward.datamodules.latent_faces import LatentFaces
from faceforward.errors import ConfigurationError
from full_disk import full_disk
from training_data import write_archive


@pytest.fixture
def data(tmp_path, astronaut, tiny_vae):
    archive = write_archive(tmp_path / "faces.zip", astronaut)
    module = LatentFaces(str(archive), str(tiny_vae), cache_dir=str(tmp_path / "cache"), batch_size=4)
    module.prepare_data()
    module.setup("fit")
    return module


def test_latents_are_the_autoencoders(data, tiny_vae):
    from faceforward.datamodules.aligned_faces import AlignedFacesDataset, read_labels

    images = AlignedFacesDataset(data.archive, read_labels(data.archive), 32)
    vae = AutoencoderKL.from_pretrained(tiny_vae).eval()
    with torch.inference_mode():
        expected = vae.encode(images[0]["image"].flip(-1)[None]).latent_dist.parameters[0]
    error = (data.datasets["train"].moments[0, 1].float() - expected).pow(2).mean().sqrt()
    assert error < 0.02 * expected.std()  # encoded in bfloat16


def test_both_mirror_images_are_served(data):
    served = torch.stack([data.datasets["train"][Draw(0, seed)]["moments"] for seed in range(20)])
    assert len(served.unique(dim=0)) == 2


def test_cache_is_made_once(data):
    (cached,) = data.cache_dir.iterdir()
    before = cached.stat().st_mtime_ns
    data.prepare_data()
    assert cached.stat().st_mtime_ns == before


def test_another_autoencoder_makes_another_cache(data, tiny_vae, tmp_path):
    other = tmp_path / "vae"
    vae = AutoencoderKL.from_pretrained(tiny_vae)
    torch.nn.init.ones_(vae.decoder.conv_out.bias)
    vae.save_pretrained(other)
    LatentFaces(str(data.archive), str(other), cache_dir=str(data.cache_dir)).prepare_data()
    assert len(list(data.cache_dir.iterdir())) == 2


def test_balance_draws_rare_ages_more_often(data):
    data.balance = 1.0
    labels = [label.age // 5 for label in data.datasets["train"].labels]
    weights = data.train_dataloader().sampler.weights
    for group in set(labels):
        total = sum(w for w, b in zip(weights, labels, strict=True) if b == group)
        assert total == pytest.approx(1.0)


def test_balance_outside_its_range_is_refused():
    with pytest.raises(ConfigurationError, match="balance is 2"):
        LatentFaces("a.zip", "vae", balance=2)


def test_folder_without_weights_is_named(data, tmp_path):
    data.vae = tmp_path
    with pytest.raises(ConfigurationError, match="is no AutoencoderKL folder"):
        data.prepare_data()


def test_empty_split_is_refused(tmp_path, astronaut, tiny_vae):
    archive = write_archive(tmp_path / "faces.zip", astronaut, val=0)
    module = LatentFaces(str(archive), str(tiny_vae), cache_dir=str(tmp_path / "cache"))
    module.prepare_data()
    with pytest.raises(ConfigurationError, match=r"split 'val': its labels\.csv has to hold train and val"):
        module.setup("fit")


def test_one_age_only_is_refused(data, tmp_path, astronaut, tiny_vae):
    archive = write_archive(tmp_path / "one.zip", astronaut, train=1)
    module = LatentFaces(str(archive), str(tiny_vae), cache_dir=str(tmp_path / "cache"))
    module.prepare_data()
    with pytest.raises(ConfigurationError, match=r"all 1 training photographs of .*one\.zip are 5 years old"):
        module.setup("fit")


def test_cache_that_cannot_be_written_says_what_to_do(data, tmp_path):
    (tmp_path / "a file").touch()
    data.cache_dir = tmp_path / "a file"
    with pytest.raises(ConfigurationError, match=r"cannot be written to .*data\.init_args\.cache_dir"):
        data.prepare_data()


def test_full_disk_leaves_no_half_cache(data, tmp_path, monkeypatch):
    monkeypatch.setattr(latent_faces, "encode", lambda vae, faces: torch.zeros(11, 2, 8, 64, 64))
    data.cache_dir = tmp_path / "other"
    with full_disk(), pytest.raises(ConfigurationError, match=r"cannot be written to .*Make room"):
        data.prepare_data()
    assert list(data.cache_dir.iterdir()) == []


def test_a_test_split_is_not_invented(data):
    with pytest.raises(ConfigurationError, match=r"train and val only: take train\.py validate"):
        data.setup("test")
