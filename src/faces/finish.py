"""How an edit at the model's size becomes the picture that people look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from faceforward.diffusion.color import restore_colors
from faceforward.faces.crops import resized
from faceforward.faces.upscale import RealESRGANUpscaler

if TYPE_CHECKING:
    from faceforward.faces.upscale import Upscaler
    from faceforward.records import AgeEdit, Face, Photo

LEAST_SIDE, MOST_SIDE = 512, 1024  # pixels of a finished picture, as large as the photograph gives


class Finisher(Protocol):
    """Makes the pictures that people look at."""

    name: str

    def finish(self, edit: AgeEdit, face: Face, photo: Photo) -> dict[int, np.ndarray]:
        """Finish every target of an edit.

        Args:
            edit: What the model made, at its own size.
            face: The face that was edited; its crop gives the size and the frame of the result.
            photo: The photograph it was taken from.

        Returns:
            Target age -> `(S, S, 3)` uint8 RGB.
        """
        ...


class Enlarging:
    """Enlarges what the model drew: every pixel is a network's, as in FADING's own program.

    Args:
        upscaler: Enlarges pictures below 512 pixels; None takes Real-ESRGAN.
        restore_colors: Give back the colours that the autoencoder loses, see `color.restore_colors`.
    """

    name = "enlarging"

    def __init__(self, upscaler: Upscaler | None = None, *, restore_colors: bool = True) -> None:
        self.upscaler = upscaler or RealESRGANUpscaler()
        self.restore_colors = restore_colors

    def finish(self, edit: AgeEdit, face: Face, photo: Photo) -> dict[int, np.ndarray]:
        """Enlarge every target to 512 pixels; see `Finisher.finish`."""
        finished = {}
        for age, picture in edit.images.items():
            if self.restore_colors and edit.source is not None:
                picture = restore_colors(picture[None], edit.source, edit.reconstruction)[0]
            finished[age] = self.enlarge(picture)
        return finished

    def enlarge(self, picture: np.ndarray) -> np.ndarray:
        """A picture of the model, `(s, s, 3)` uint8 RGB, at 512 pixels; through the upscaler when smaller."""
        while picture.shape[0] < LEAST_SIDE:
            picture = self.upscaler.upscale(picture)
        return resized(picture, LEAST_SIDE)
