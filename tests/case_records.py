"""A complete case made from the astronaut; its estimates are the tinted photograph."""

import numpy as np
import skimage.data
from PIL import Image

from faceforward.faces.align import alignment_of
from faceforward.records import AgeEdit, AgeEstimate, CaseResult, Detection, Face, Photo, Quality

SETTINGS = {
    "model": {"name": "tiny", "sha256": "0" * 64, "licence": "Research only."},
    "inversion": {"class": "DirectInversion", "steps": 50},
    "edit": {"guidance_scale": 7.5},
    "embedder": "dlib",
    "finisher": "detail-transfer",
    "age_estimator": "some-estimator",
}


def make_result(id="a", file="a.jpg", age=32.0, targets=(20, 40, 60), warnings=(), others=0, known=True):
    """Build a `CaseResult`."""
    astronaut = skimage.data.astronaut()
    crop = np.asarray(Image.fromarray(astronaut[0:240, 110:350]).resize((512, 512)))
    small = np.asarray(Image.fromarray(crop).resize((64, 64)))
    detection = Detection(
        (10.0, 20.0, 110.0, 140.0),
        np.array([[210.0, 90], [245, 90], [228, 110], [214, 130], [242, 130]]),
        0.99,
    )
    support = np.arange(101)
    weights = np.exp(-((support - 31.0) ** 2) / 50)
    estimate = AgeEstimate(31.0, 5.0, weights / weights.sum(), support, "female", 0.98, "some-estimator")
    face = Face(
        crop,
        alignment_of(detection.landmarks),
        detection,
        (detection,) * others,
        "mtcnn",
        Quality(120.0, 300.0, 0.5, 0.2, 1.0, -3.0, tuple(warnings)),
        age,
        "given" if known else "estimated",
        "female",
        "estimated",
        estimate,
        judged=AgeEstimate(33.0, 4.0, estimator="faceres"),
    )
    images = {t: np.clip(small.astype(int) + t - 30, 0, 255).astype(np.uint8) for t in targets}
    edit = AgeEdit(
        images,
        small,
        small,
        float("inf"),
        "photo of 32 year old woman",
        {t: f"photo of {t} year old woman" for t in targets},
        300,
        small,
    )
    aged = {t: np.asarray(Image.fromarray(i).resize((512, 512), 1)) for t, i in images.items()}
    photo = Photo(id, file, astronaut, age, notes=())
    estimates = {t: AgeEstimate(t + 2.0, 5.0, estimator="some-estimator") for t in targets}
    judged = {t: AgeEstimate(t - 1.0, 5.0, estimator="faceres") for t in targets}
    return CaseResult(
        photo, face, edit, aged, estimates, dict.fromkeys(targets, 0.3), 4.2, dict(SETTINGS), 0.15, judged
    )
