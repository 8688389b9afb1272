"""Colours that an autoencoder loses, given back from the photograph."""

from __future__ import annotations

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
BLUR = 3 / 128  # of the side, s.d.: colours are given back in areas, never as lines


def restore_colors(edited: np.ndarray, source: np.ndarray, roundtrip: np.ndarray) -> np.ndarray:
    """Add what the autoencoder lost of the source's colours to its edits.

    Only colour, and blurred: lightness, and with it every line and wrinkle, stays the model's. A small
    autoencoder that has seen few hair colours turns light hair brown; the photograph knows better.

    Args:
        edited: `(N, s, s, 3)` uint8 RGB, decoded edits that lie over the source.
        source: `(s, s, 3)` uint8 RGB, the photograph.
        roundtrip: `(s, s, 3)` uint8 RGB, the photograph through the autoencoder.

    Returns:
        Like `edited`.
    """
    lost = source.astype(np.float32) - roundtrip
    lost -= (lost @ LUMA)[..., None]
    side = source.shape[0]
    lost = cv2.GaussianBlur(lost, (0, 0), BLUR * side, borderType=cv2.BORDER_REFLECT)
    return np.clip(np.rint(edited + lost), 0, 255).astype(np.uint8)
