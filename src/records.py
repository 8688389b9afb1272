"""What passes between the stages: one frozen record for each arrow in the way of a photograph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    from faceforward.faces.align import Alignment
    from faceforward.faces.mesh import Mesh

Gender = Literal["female", "male"]
Status = Literal["done", "skipped", "failed"]
Origin = Literal["given", "estimated"]


@dataclass(frozen=True, eq=False)
class Photo:
    """One photograph as read, upright and in sRGB.

    Attributes:
        id: Case id: the file's stem made safe for a folder name, unique in the run.
        file: The file as the user named it.
        pixels: `(H, W, 3)` uint8 RGB, after EXIF orientation.
        age: Age in the photograph in years, when the user knows it.
        gender: When the user knows it.
        targets: Target ages for this photograph alone; None means the run's.
        face: Which face to take, 1 = the largest; None means the run's choice.
        notes: What the reader had to say ("animated: the first of 8 frames was taken").
        readable: Of a damaged file, the box `(x0, y0, x1, y1)` of what could be read; None for all.
    """

    id: str
    file: str
    pixels: np.ndarray
    age: float | None = None
    gender: Gender | None = None
    targets: tuple[int, ...] | None = None
    face: int | None = None
    notes: tuple[str, ...] = ()
    readable: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Rejected:
    """A photograph that yields no result, and why.

    Attributes:
        id: Case id.
        file: The file as the user named it.
        status: `skipped` when the input is unusable, `failed` when our side went wrong.
        reason: In words, for the person who sent the photograph.
    """

    id: str
    file: str
    status: Status
    reason: str


@dataclass(frozen=True, eq=False)
class Detection:
    """One face in a photograph, in pixels of that photograph.

    Attributes:
        box: `(x0, y0, x1, y1)`.
        landmarks: `(5, 2)` float: left eye, right eye, nose, left and right mouth corner. Left and right are
            the image's, for an upright face: the left eye has the smaller x.
        score: Confidence in [0, 1].
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float


@dataclass(frozen=True)
class Quality:
    """How good a photograph is for the method.

    Attributes:
        face_height: Height of the face box in pixels of the photograph.
        sharpness: Variance of the Laplacian of the grey crop at a fixed size; higher is sharper.
        exposure: Mean luminance of the face in [0, 1].
        contrast: Standard deviation of that luminance.
        roll: Degrees, positive when the head tips to the image's right.
        yaw: Degrees, positive when the nose points to the image's right; a rough estimate from five points.
        warnings: One sentence for each known reason why the method may fail here.
    """

    face_height: float
    sharpness: float
    exposure: float
    contrast: float
    roll: float
    yaw: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class AgeEstimate:
    """Age and gender that a network reads off a face.

    Attributes:
        years: Expected age.
        std: Standard deviation of the distribution, years.
        distribution: Probabilities of the ages in `support`, or None.
        support: Ages in years that `distribution` speaks of, or None.
        gender: The likelier gender.
        gender_probability: Its probability in [0.5, 1].
        estimator: Which network said so.
    """

    years: float
    std: float
    distribution: np.ndarray | None = None
    support: np.ndarray | None = None
    gender: Gender | None = None
    gender_probability: float | None = None
    estimator: str = ""


@dataclass(frozen=True, eq=False)
class Face:
    """The face that was taken from a photograph, aligned.

    Attributes:
        pixels: `(S, S, 3)` uint8 RGB crop, aligned like FFHQ.
        alignment: The transform between crop and photograph.
        detection: The face that was taken.
        others: Further faces in the photograph, largest first.
        detector: Which detector ran.
        quality: Figures and warnings.
        age: Age in the photograph, years.
        age_origin: Whether the user gave the age or a network estimated it.
        gender: Or None when nobody knows.
        gender_origin: As `age_origin`; None when the gender is unknown.
        estimate: What the network said, whether used or not; None when no estimator ran.
        judged: What the second reader, the judge, said; None when none ran.
        mesh: The face's surface in the pixels of the crop; None when none was fitted.
        notes: How the face was found and which others there are, one sentence each.
    """

    pixels: np.ndarray
    alignment: Alignment
    detection: Detection
    others: tuple[Detection, ...]
    detector: str
    quality: Quality
    age: float
    age_origin: Origin
    gender: Gender | None
    gender_origin: Origin | None
    estimate: AgeEstimate | None = None
    notes: tuple[str, ...] = ()
    judged: AgeEstimate | None = None
    mesh: Mesh | None = None


@dataclass(frozen=True, eq=False)
class AgeEdit:
    """One face at several ages, at the diffusion model's own size.

    Attributes:
        images: Target age in years -> `(s, s, 3)` uint8 RGB.
        reconstruction: The autoencoder's own reconstruction of the source, `(s, s, 3)` uint8: the ceiling.
        inverted: The same edit under the source's own prompt, `(s, s, 3)` uint8: what would come back if
            nothing were changed. Of the first shape, where a face grows.
        inversion_psnr: dB of `inverted` against `reconstruction`.
        source_prompt: The prompt of the inversion.
        target_prompts: Target age -> prompt.
        unet_evaluations: UNet sample evaluations spent (a backward counts 2).
        source: The crop as the model saw it, `(s, s, 3)` uint8; None when the caller keeps it.
        references: Target age -> the same edit, of the same shape, under the source's own prompt,
            `(s, s, 3)` uint8: an image less its reference is the change of age alone.
        fields: Target age -> the warp that let the crop grow first, `(S, S, 2)` as `Growth.field` gives it;
            None where the shape stayed.
    """

    images: dict[int, np.ndarray]
    reconstruction: np.ndarray
    inverted: np.ndarray
    inversion_psnr: float
    source_prompt: str
    target_prompts: dict[int, str]
    unet_evaluations: int
    source: np.ndarray | None = None
    references: dict[int, np.ndarray] = field(default_factory=dict)
    fields: dict[int, np.ndarray | None] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CaseResult:
    """Everything about one photograph that goes to disk.

    Attributes:
        photo: The photograph.
        face: The face taken from it.
        edit: The edit, at the model's own size.
        aged: Target age -> `(S, S, 3)` uint8 RGB, what people look at; of the size of the face's crop after
            detail transfer, of 512 pixels when enlarged.
        estimates: Target age -> age read off that picture; empty when no estimator ran.
        judged: The same by the second reader, the judge; empty when none ran.
        identity: Target age -> descriptor distance between that picture and the photograph's crop (lower is
            more alike); empty when no embedder ran.
        seconds: Wall time spent on this photograph.
        settings: What decided the result (JSON values only): the same settings make the same result.
        identity_limits: Target age -> distance from which on it could be a stranger's; empty when not known.
        reconstruction_identity: The same distance for the edit under the source's own prompt at the model's
            size: what the model itself loses. None when no embedder ran.
    """

    photo: Photo
    face: Face
    edit: AgeEdit
    aged: dict[int, np.ndarray]
    estimates: dict[int, AgeEstimate]
    identity: dict[int, float]
    seconds: float
    settings: dict[str, Any] = field(default_factory=dict)
    reconstruction_identity: float | None = None
    judged: dict[int, AgeEstimate] = field(default_factory=dict)
    identity_limits: dict[int, float] = field(default_factory=dict)
