"""A generator's own samples, with everything about them known: what new views are best learnt from."""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from faceforward.checks import at_least, check_shares
from faceforward.datamodules.draws import Draw, as_draw, ordered_loader, training_loader
from faceforward.eg3d import cameras
from faceforward.eg3d.checkpoint import load_generator
from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.pretrained import generator_file


class Seeds(Dataset):
    """Seeds of samples; the pictures are made where the batch is.

    Args:
        size: Samples.
        maker: Makes single ones, for what looks at the same heads again and again.
    """

    def __init__(self, size: int, maker: SyntheticFaces) -> None:
        self.size, self.maker = size, maker

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: Draw | int) -> dict[str, Any]:
        draw = as_draw(place)
        seed = as_draw(draw.index).seed if self.maker.repeat else draw.seed
        return {"seed": seed, "file": f"sample-{seed}", "gender": None}

    def pair(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A picture `(3, S, S)` in about [-1, 1] and its camera `(25,)`, the same each time."""
        made = self.maker.made([as_draw(index).seed], torch.device("cpu"))
        return made["image"][0], made["camera"][0]


class SyntheticFaces(LightningDataModule):
    """Batches of a generator's own heads, made on the fly on each rank from seeds.

    Batches: `image` `(B, 3, S, S)` and `camera` `(B, 25)` of one view, `other_image` and `other_camera` of
    another one of the same head, `ws` `(B, num_ws, w)` of both, `seed` `(B,)`, from which all of a sample
    follows on any number of ranks, `file` a list. Planes are those of `ws`.

    Pictures are made on the device that trains, by a frozen generator in float32.

    Args:
        generator: A generator file, or a registered name.
        size: Samples of one pass; each pass has others.
        repeat: Have the same ones in each pass.
        val_size: Samples of validation; the same each time.
        batch_size: Of each rank.
        truncation: Of the codes, in [0, 1].
        yaw: Degrees to either side, drawn evenly.
        pitch: The same up and down.
        seed: Of the order and the draws.

    Raises:
        ConfigurationError: There is no such generator, or a number is out of its range.
    """

    def __init__(
        self,
        generator: str = "face-eg3d-128",
        *,
        size: int = 100_000,
        val_size: int = 64,
        batch_size: int = 4,
        truncation: float = 0.8,
        yaw: float = 40.0,
        pitch: float = 15.0,
        repeat: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        at_least(1, size=size, val_size=val_size, batch_size=batch_size)
        at_least(0, yaw=yaw, pitch=pitch)
        self.source = generator
        self.size, self.val_size, self.batch_size = size, val_size, batch_size
        self.truncation, self.yaw, self.pitch, self.seed = truncation, yaw, pitch, seed
        self.repeat = repeat
        check_shares(self, "data.init_args", ("truncation",))
        self.datasets: dict[str, Seeds] = {}
        self._generators: dict[torch.device, TriPlaneGenerator] = {}

    def setup(self, stage: str) -> None:
        """Divide the seeds, and see that the generator is there."""
        self.generator_on(torch.device("cpu"))
        self.datasets = {"train": Seeds(self.size, self), "val": Seeds(self.val_size, self)}

    def generator_on(self, device: torch.device) -> TriPlaneGenerator:
        """The generator on a device, loaded once."""
        if device not in self._generators:
            made = load_generator(generator_file(self.source)).requires_grad_(False)
            self._generators[device] = made.to(device)
        return self._generators[device]

    @torch.no_grad()
    def made(self, seeds: list[int], device: torch.device) -> dict[str, torch.Tensor]:
        """Samples of seeds; see the class."""
        generator = self.generator_on(device)
        codes, turns = [], []
        for seed in seeds:
            rng = torch.Generator().manual_seed(seed)
            codes.append(torch.randn(generator.config.z, generator=rng))
            turns.append(torch.rand(2, 2, generator=rng) * 2 - 1)
        angles = torch.stack(turns)  # (B, two views, yaw and pitch)
        first, second = (
            cameras.labels(cameras.look_at(angles[:, n, 0] * self.yaw, angles[:, n, 1] * self.pitch)).to(
                device
            )
            for n in (0, 1)
        )
        with torch.autocast(device.type, enabled=False):
            ws = generator.map(torch.stack(codes).to(device), first, truncation=self.truncation)
            planes = generator.planes(ws)
            seen = [generator.render(planes, camera, ws).image.clamp(-1, 1) for camera in (first, second)]
        return {
            "image": seen[0],
            "camera": first,
            "other_image": seen[1],
            "other_camera": second,
            "ws": ws,
        }

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Make the pictures of a batch of seeds where it has come to."""
        return batch | self.made(batch["seed"].tolist(), batch["seed"].device)

    def train_dataloader(self) -> DataLoader:
        """Shuffled seeds; the last incomplete batch is dropped."""
        return training_loader(self.trainer, self.datasets["train"], self.batch_size, seed=self.seed)

    def val_dataloader(self) -> DataLoader:
        """The same samples each time."""
        return ordered_loader(self.datasets["val"], self.batch_size, seed=self.seed)
