"""What every test may count on: no network, no W&B, and a real photograph."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ.setdefault("GOMP_SPINCOUNT", "0")  # threads that spin for one another crawl on a busy machine

import numpy as np
import pytest
import skimage.data
import torch
from diffusers import AutoencoderKL

from faceforward.diffusion.small import new_pipeline


@pytest.fixture(scope="session", autouse=True)
def _threads():
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)  # two cores, two workers


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """A file name that is not UTF-8 in what a test logged would end the worker that has to send it."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="module")
def one_thread():
    """For what is not worth a second thread, and would wait for it for minutes on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """(512, 512, 3) uint8 RGB; NASA, public domain, shipped by scikit-image."""
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def shared_cameras() -> Path:
    """Photographs with official camera labels; a user has none."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "cameras"
    if not folder.is_dir():
        pytest.skip("the labelled photographs are not on this machine")
    return folder


@pytest.fixture(scope="session")
def tiny_vae(tmp_path_factory):
    """Folder of a tiny AutoencoderKL of the real class: 32 px, factor 4, 4 latent channels."""
    folder = tmp_path_factory.mktemp("tiny") / "vae"
    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=0.9,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_sd(tiny_vae):
    """Folder of a tiny Stable Diffusion of the real classes over `tiny_vae`: 8x8 latents."""
    folder = tiny_vae.with_name("sd")
    torch.manual_seed(1)
    pipeline = new_pipeline(
        AutoencoderKL.from_pretrained(tiny_vae),
        block_out_channels=(32, 32),
        head_channels=16,
        text_width=64,
        text_layers=1,
    )
    torch.nn.init.normal_(pipeline.unet.conv_out.weight, std=0.02)  # a zero output would hide everything
    pipeline.save_pretrained(folder)
    return folder
