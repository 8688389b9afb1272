"""Latents are made once, kept through kills, and made anew when anything changes."""

import dataclasses
import logging
import os
import pickle

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file

from aihub_corpus import picture
from faceforward.datamodules import latent_cache
from faceforward.datamodules.draws import Draw
from faceforward.datamodules.face_crops import CropMaker
from faceforward.datamodules.latent_cache import LatentCache, LatentFacesDataset
from faceforward.datamodules.moments import encode_batch, load_vae, vae_weights
from faceforward.datamodules.stored_files import stored
from faceforward.errors import ConfigurationError
from labelled_photos import photo


@pytest.fixture
def photos(astronaut, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(5):
        (folder / f"{index}.png").write_bytes(picture(astronaut, index, side=32))
    return [photo(str(index), file=stored(folder / f"{index}.png", f"{index}.png")) for index in range(5)]


@pytest.fixture
def cache(tmp_path, tiny_vae):
    return make(tmp_path, tiny_vae)


def make(tmp_path, vae, size=32, alignment="none"):
    return LatentCache(tmp_path / "cache", vae_weights(vae), CropMaker(size, alignment))


def shards(cache):
    return {path.name: path.stat().st_mtime_ns for path in cache.folder.glob("*.safetensors")}


def test_moments_are_the_autoencoders_of_the_crops(cache, photos, tiny_vae):
    assert cache.fill(photos, shard=2) == []
    assert len(shards(cache)) == 3
    there, moments = cache.known(photos)
    assert there == photos
    crop = torch.from_numpy(cache.crops(photos[3]).pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    expected = encode_batch(load_vae(vae_weights(tiny_vae)), crop)[0]
    for mirrored in (0, 1):
        torch.testing.assert_close(moments[3, mirrored], expected[mirrored], atol=0.02, rtol=0.02)
    again = pickle.loads(pickle.dumps(moments))
    assert torch.equal(again[3, 1], moments[3, 1])
    assert len(again) == 5


def test_nothing_is_done_twice_and_only_what_is_new_is_encoded(cache, photos):
    cache.fill(photos[:3])
    before = shards(cache)
    cache.fill(photos[:3])
    assert shards(cache) == before
    cache.fill(photos)
    assert before.items() < shards(cache).items()
    (new,) = shards(cache).keys() - before.keys()
    assert load_file(cache.folder / new)["moments"].shape == (2, 2, 8, 8, 8)


def test_padding_is_kept_beside_the_moments(cache, photos, tmp_path):
    mask = np.zeros((32, 32), np.uint8)
    mask[:, :6] = 255  # of cells four wide: the first, and half of the second
    Image.fromarray(mask).save(tmp_path / "mask.png")
    padded = dataclasses.replace(photos[0], padding=stored(tmp_path / "mask.png", "mask.png"))
    cache.fill([padded, photos[1]])
    labels, moments = cache.known([padded, photos[1]])
    data = LatentFacesDataset(moments, labels)
    seeds = {mirrored: next(s for s in range(9) if s % 2 == mirrored) for mirrored in (0, 1)}
    row = torch.tensor([1.0, 0.5, 0, 0, 0, 0, 0, 0])
    for mirrored, expected in ((0, row), (1, row.flip(0))):
        sample = data[Draw(0, seeds[mirrored])]
        torch.testing.assert_close(sample["padding"], expected.expand(8, 8), rtol=0, atol=0.003)
        assert torch.equal(sample["moments"], moments[0, mirrored].float())
        assert not data[Draw(1, seeds[mirrored])]["padding"].any()


def test_changes_of_content_name_or_points_are_seen(cache, photos, astronaut):
    cache.fill(photos)
    path = photos[0].file.path
    with open(path, "wb") as stream:  # noqa: PTH123
        stream.write(picture(astronaut, 30, side=32))
    changed = [
        dataclasses.replace(photos[0], file=stored(type(cache.folder)(path), "0.png")),
        dataclasses.replace(photos[1], name="other"),
        dataclasses.replace(photos[2], landmarks=((1.0, 2.0),) * 5),
        photos[3],
    ]
    assert cache.known(changed)[0] == [photos[3]]
    cache.fill(changed)
    there, moments = cache.known(changed)
    assert there == changed
    assert not torch.equal(moments[0, 0], cache.known(photos[:1])[1][0, 0])


def test_vae_size_and_alignment_have_caches_of_their_own(tmp_path, tiny_vae, cache):
    other = tmp_path / "vae"
    vae = AutoencoderKL.from_pretrained(tiny_vae)
    torch.nn.init.ones_(vae.encoder.conv_in.bias)
    vae.save_pretrained(other)
    folders = {make(tmp_path, other).folder, make(tmp_path, tiny_vae, size=64).folder}
    folders |= {make(tmp_path, tiny_vae, alignment="ffhq").folder, cache.folder}
    folders.add(make(tmp_path, tiny_vae, alignment="detector").folder)
    assert len(folders) == 5


class Killed(BaseException):
    """Ends a run as a signal would."""


def test_a_killed_run_goes_on_after_its_last_shard(cache, photos, monkeypatch):
    monkeypatch.setattr(latent_cache, "PIXELS", 32 * 32)  # batches of one
    written = []

    def write(self, keys, rows, original=LatentCache._write):
        if len(written) == 1:
            raise Killed
        written.append(list(keys))
        original(self, keys, rows)

    with monkeypatch.context() as patched:
        patched.setattr(LatentCache, "_write", write)
        with pytest.raises(Killed):
            cache.fill(photos, shard=2)
    before = shards(cache)
    assert len(before) == 1
    assert [path.name for path in cache.folder.iterdir()] == list(before)  # no half shard
    cache.fill(photos, shard=2)
    assert before.items() < shards(cache).items()
    assert cache.known(photos)[0] == photos


def test_what_cannot_be_decoded_is_rejected_and_tried_again(cache, photos, astronaut):
    path = cache.folder.parents[1] / "photos" / "bad.png"
    path.write_bytes(picture(astronaut, 1, side=32)[:300])
    bad = photo("bad", file=stored(path, "photos/bad.png"))
    for _ in range(2):
        (rejection,) = cache.fill([*photos, bad])
        assert rejection.file == "photos/bad.png"
        assert "damaged" in rejection.reason
    assert cache.known([bad, *photos])[0] == photos
    only = LatentCache(cache.folder / "only", cache.weights, cache.crops)
    assert len(only.fill([bad])) == 1
    assert not shards(only)


def test_a_decoder_that_fails_otherwise_is_no_crash(cache, photos, monkeypatch, caplog):
    def fail(self, photo):
        raise MemoryError("too large")

    monkeypatch.setattr(CropMaker, "__call__", fail)
    (rejection,) = cache.fill(photos[:1])
    assert rejection.reason == "making the crop failed: MemoryError: too large"
    assert "the crop of 0.png failed" in caplog.text


def test_latents_that_are_not_finite_are_rejected(tmp_path, tiny_vae, photos):
    vae = AutoencoderKL.from_pretrained(tiny_vae)
    torch.nn.init.constant_(vae.quant_conv.weight, 1e7)
    vae.save_pretrained(tmp_path / "wild")
    rejected = make(tmp_path, tmp_path / "wild").fill(photos[:2])
    assert [item.reason for item in rejected] == ["the autoencoder gives no finite latent"] * 2


def test_a_damaged_shard_is_made_again(cache, photos, caplog):
    cache.fill(photos)
    (shard,) = cache.folder.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:50])
    with caplog.at_level(logging.WARNING):
        assert cache.known(photos)[0] == []
    assert "is damaged" in caplog.text
    cache.fill(photos)
    assert cache.known(photos)[0] == photos


def test_files_of_killed_runs_are_removed_when_they_are_old(cache, photos):
    cache.folder.mkdir(parents=True)
    old, new = cache.folder / ".a.faceforward-tmp1", cache.folder / ".b.faceforward-tmp2"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    cache.fill(photos)
    assert (old.exists(), new.exists()) == (False, True)


def test_cache_that_cannot_be_written_says_what_to_do(cache, photos, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ConfigurationError, match=r"cannot be written to .* data\.init_args\.cache_dir"):
        cache.fill(photos)


@pytest.mark.slow
def test_workers_make_the_same_crops(cache, photos, tmp_path, tiny_vae):
    cache.fill(photos)
    other = LatentCache(tmp_path / "second", cache.weights, cache.crops)
    other.fill(photos, num_workers=2)
    one, two = cache.known(photos)[1], other.known(photos)[1]
    assert all(torch.equal(one[index, 0], two[index, 0]) for index in range(5))
