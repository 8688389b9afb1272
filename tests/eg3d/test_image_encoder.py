"""The image encoder: shapes, what it sees, files."""

import pytest
import torch

from faceforward.eg3d.image_encoder import ImageEncoder, load_encoder, save_encoder
from faceforward.errors import ConfigurationError


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return ImageEncoder(8, resolution=16, widths=(4, 6, 8), hidden=12)


def test_any_size_and_the_camera_counts(encoder, cameras):
    images = torch.rand(2, 3, 40, 40) * 2 - 1
    w = encoder(images, cameras)
    assert w.shape == (2, 8)
    assert not torch.allclose(w, encoder(images, cameras.flip(0)))


def test_written_and_read(encoder, cameras, tmp_path):
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    images = torch.rand(2, 3, 16, 16)
    read = load_encoder(tmp_path / "encoder.safetensors")
    torch.testing.assert_close(read(images, cameras), encoder(images, cameras))
    save_encoder(encoder, tmp_path / "half.safetensors", dtype=torch.float16)
    assert load_encoder(tmp_path / "half.safetensors").out.weight.dtype == torch.float32


def test_refused(encoder, tmp_path):
    with pytest.raises(ValueError, match="3 widths end at 16 px, not 64"):
        ImageEncoder(8, widths=(4, 6, 8))
    (tmp_path / "odd.safetensors").write_bytes(b"no")
    for name in ("none.safetensors", "odd.safetensors"):
        with pytest.raises(ConfigurationError, match="no encoder"):
            load_encoder(tmp_path / name)
    with pytest.raises(OSError, match="cannot be written"):
        save_encoder(encoder, tmp_path / "none" / "encoder.safetensors")
