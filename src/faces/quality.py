"""Say how good a photograph is for the method, in figures and in warnings."""

from __future__ import annotations

import cv2
import numpy as np

from faceforward.faces.align import align, padded_share
from faceforward.records import Detection, Quality

MEASURED_SIZE = 256  # pixels of the crop on which sharpness, exposure and contrast are measured
FACE = (slice(80, 224), slice(64, 192))  # rows and columns of the face itself in that crop

# Where a face stops being the same face: 48 portraits (181 to 296 pixels high, sharpness 25 to 658) were made
# worse step by step; given is the 90th percentile of the dlib descriptor's distance to the photograph before.
# 1 % of pairs of different people are closer than 0.415.
LEAST_HEIGHT = 40  # 64 pixels: 0.20, 40: 0.30, 32: 0.38, 24: 0.47, 16: 0.63
LEAST_SHARPNESS = 8.0  # Gaussian blur of 1 % of the face's height: 11 to 18, 0.26; of 2 %: 4 to 7, 0.43
MOST_SHARPNESS = 3000.0  # grain of 25 grey values: 1950, 0.34; of 50: 6550, 0.52
LEAST_EXPOSURE = 0.12  # a fifth of the light: 0.35; an eighth (exposure 0.07): 0.40
MOST_EXPOSURE = 0.85  # half as much light again (exposure 0.80, highlights lost): 0.45
LEAST_CONTRAST = 0.04  # a quarter of the contrast: 0.39; an eighth (0.02): 0.54
MOST_YAW = 40.0  # degrees; one eye is hardly seen beyond
MOST_PADDING = 0.15  # share of the crop beyond the photograph's edge; a cut forehead or chin is more

# Weak perspective on the standard five points in 3D: the nose stands 0.374 before the line from the eyes to
# the mouth, the eyes lie 0.311 to either side of it.
NOSE_TO_EYE = 0.374 / 0.311


def quality_of(pixels: np.ndarray, detection: Detection) -> Quality:
    """Measure one face.

    Args:
        pixels: `(H, W, 3)` uint8 RGB photograph.
        detection: The face.

    Returns:
        The figures, with a warning for each that lies where the method is known to fail.
    """
    crop, alignment = align(pixels, detection.landmarks, MEASURED_SIZE)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[FACE].astype(np.float32)
    width, height = detection.box[2] - detection.box[0], detection.box[3] - detection.box[1]
    on_its_side = 45 < abs(alignment.roll) < 135
    figures = Quality(
        face_height=float(width if on_its_side else height),
        sharpness=float(cv2.Laplacian(grey, cv2.CV_32F, ksize=1).var()),
        exposure=float(grey.mean() / 255),
        contrast=float(grey.std() / 255),
        roll=alignment.roll,
        yaw=_yaw(alignment.points_to_crop(detection.landmarks)),
    )
    padding = padded_share(alignment, pixels.shape)
    return Quality(**{**vars(figures), "warnings": tuple(_warnings(figures, padding))})


def _yaw(landmarks: np.ndarray) -> float:
    """Estimate yaw in degrees: how far the nose leaves the middle of eyes and mouth (upright landmarks)."""
    left, right, nose, *mouth = landmarks
    eyes, lips = (left + right) / 2, np.mean(mouth, axis=0)
    share = (nose[1] - eyes[1]) / max(lips[1] - eyes[1], 1e-6)
    middle = eyes[0] + np.clip(share, 0, 1) * (lips[0] - eyes[0])
    half = max((right[0] - left[0]) / 2, 1e-6)
    return float(np.degrees(np.arctan2((nose[0] - middle) / half, NOSE_TO_EYE)))


def _warnings(quality: Quality, padding: float) -> list[str]:
    """Return one sentence for each reason to doubt the result."""
    q = quality
    side = "right" if q.yaw > 0 else "left"
    reasons = (
        (
            q.face_height < LEAST_HEIGHT,
            f"The face is only {q.face_height:.0f} pixels high: below {LEAST_HEIGHT} much of the result is "
            "invented; scan the photograph at a higher resolution.",
        ),
        (
            q.sharpness < LEAST_SHARPNESS,
            f"The face is blurred (sharpness {q.sharpness:.1f}, {LEAST_SHARPNESS:.0f} is needed): the "
            "likeness of the result is uncertain.",
        ),
        (
            q.sharpness > MOST_SHARPNESS,
            f"The face is very grainy (sharpness {q.sharpness:.0f}, above {MOST_SHARPNESS:.0f} it is noise): "
            "the grain may be taken for wrinkles.",
        ),
        (
            q.exposure < LEAST_EXPOSURE,
            f"The face is very dark ({q.exposure:.0%} of full light): brighten the photograph.",
        ),
        (
            q.exposure > MOST_EXPOSURE,
            f"The face is overexposed ({q.exposure:.0%} of full light): its features are lost.",
        ),
        (
            q.contrast < LEAST_CONTRAST,
            f"The face has hardly any contrast ({q.contrast:.1%}): restore the photograph's contrast.",
        ),
        (
            abs(q.yaw) > MOST_YAW,
            f"The head is turned about {abs(q.yaw):.0f} degrees to the picture's {side}: the hidden half "
            "of the face is invented; use a photograph from the front.",
        ),
        (
            padding > MOST_PADDING,
            f"The head reaches over the edge of the photograph: {padding:.0%} of the crop is filled up, "
            "not seen.",
        ),
    )
    return [text for applies, text in reasons if applies]
