"""Take one face from a photograph, ready for the networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from faceforward.errors import UnusablePhotoError
from faceforward.faces.align import align, alignment_of
from faceforward.faces.detect import Detector, find_faces
from faceforward.faces.quality import quality_of
from faceforward.records import AgeEstimate, Detection, Face, Gender, Photo

if TYPE_CHECKING:
    from faceforward.faces.age import AgeEstimator

#: When a gender that was read off a face is used. Measured by `benchmarks/gender.py --photos 200`, in colour
#: and grey: below 10 years 8 to 20 % are wrong even where two readers agree. From 10 on, two that agree with
#: at least SURE_TOGETHER are wrong in 2 % at most of every band of ages; one alone, with SURE_ALONE, in 5 %.
READABLE_AGE = 10  # years
SURE_TOGETHER, SURE_ALONE = 0.6, 0.95
GIVE = "in the column `gender` (female or male) of the CSV beside the photographs"
USED = f"The gender was not given. It was read off the picture: {{}}. If that is wrong, give it {GIVE}."
LEFT_OPEN = (
    "The gender was not given, and {}. The estimates are drawn without one; if it is known, give it "
    f"{GIVE} and run again."
)


def take_face(
    photo: Photo,
    detector: Detector,
    *,
    face: int | None = None,
    size: int | tuple[int, int] = 512,
    age_estimator: AgeEstimator | None = None,
    judge: AgeEstimator | None = None,
) -> Face:
    """Find the face in a photograph, align it and learn its age and gender.

    Args:
        photo: The photograph. Its own `face`, `age` and `gender` come before the arguments and the estimator.
        detector: Finds the faces.
        face: Which face to take, 1 = the largest; None takes the largest.
        size: Side of the aligned crop in pixels; of a pair, what the photograph itself gives between the two.
        age_estimator: Reads age and gender off the crop; what the user gave is kept, the estimate beside it.
        judge: A second reader. Its age is kept and decides nothing; where it reads another gender than the
            first, the gender stays open.

    Returns:
        The face, with the others that were found, quality warnings and notes.

    Raises:
        UnusablePhotoError: There is no face, not the wanted one, or its age is neither known nor estimated.
    """
    taken, found, notes = choose_face(photo, detector, face=face)
    if isinstance(size, tuple):
        size = int(np.clip(round(alignment_of(taken.landmarks, 512).scale * 512), *size))
    pixels, alignment = align(photo.pixels, taken.landmarks, size)
    estimate = None if age_estimator is None else age_estimator.estimate([pixels])[0]
    judged = None if judge is None else judge.estimate([pixels])[0]
    if photo.age is not None:
        age = photo.age
    elif estimate is not None:
        age = estimate.years
    else:
        raise UnusablePhotoError(
            "The age in the photograph is not known and no age estimator is at hand: give it in the "
            "column `age` of the CSV beside the photographs."
        )
    read, said = (None, ()) if photo.gender else read_gender(float(age), estimate, judged)
    gender = photo.gender or read
    return Face(
        pixels=pixels,
        alignment=alignment,
        detection=taken,
        others=tuple(other for other in found if other is not taken),
        detector=detector.name,
        quality=quality_of(photo.pixels, taken),
        age=float(age),
        age_origin="estimated" if photo.age is None else "given",
        gender=gender,
        gender_origin="given" if photo.gender else "estimated" if gender else None,
        estimate=estimate,
        notes=(*notes, *said),
        judged=judged,
    )


def read_gender(
    age: float, estimate: AgeEstimate | None, judged: AgeEstimate | None = None
) -> tuple[Gender | None, tuple[str, ...]]:
    """Decide whether the gender that was read off a face is used: a wrong one makes another person.

    Args:
        age: Of the person in the photograph, years.
        estimate: What the first reader says.
        judged: What the second one says.

    Returns:
        The gender, or None when it stays open and the prompts say "child" or "person"; and what there is to
        say about it to the person who sent the photograph, one sentence or none.
    """
    said = [each for each in (estimate, judged) if each is not None and each.gender is not None]
    if not said:
        return None, ()
    if age < READABLE_AGE:
        return None, (LEFT_OPEN.format(f"below {READABLE_AGE} years it cannot be read reliably off a face"),)
    if len({each.gender for each in said}) > 1:
        return None, (LEFT_OPEN.format("the two programs that looked at the face do not agree about it"),)
    certainty = min(each.gender_probability or 0.0 for each in said)
    if certainty < (SURE_TOGETHER if len(said) > 1 else SURE_ALONE):
        return None, (LEFT_OPEN.format("it could not be read off the picture with enough certainty"),)
    return said[0].gender, (USED.format(said[0].gender),)


def choose_face(
    photo: Photo, detector: Detector, *, face: int | None = None
) -> tuple[Detection, list[Detection], tuple[str, ...]]:
    """Find the faces in a photograph and take one.

    Args:
        photo: The photograph. Its own `face` comes before the argument.
        detector: Finds the faces.
        face: Which face to take, 1 = the largest; None takes the largest.

    Returns:
        The face, all that were found, largest first, and what there is to say about it, one sentence each.

    Raises:
        UnusablePhotoError: There is no face, or not the wanted one.
    """
    height, width = photo.pixels.shape[:2]
    found, notes = find_faces(photo.pixels, detector)
    if not found and photo.readable is not None:
        raise UnusablePhotoError(
            "No face was found in the part of the picture that could be read; the rest of the file is "
            "damaged or missing: copy or send it again."
        )
    if not found:
        raise UnusablePhotoError(
            f"No face was found in the photograph ({width} x {height} pixels, {detector.name}): crop it to "
            "the head and shoulders, or take another one in which both eyes can be seen."
        )
    number = next((wanted for wanted in (photo.face, face) if wanted is not None), 1)
    if not 1 <= number <= len(found):
        raise UnusablePhotoError(f"There is no face {number} in the photograph. Found: {_listed(found)}.")
    taken = found[number - 1]
    if photo.readable is not None and not _within(taken, photo.readable):
        raise UnusablePhotoError(
            "The face lies in the part of the picture that could not be read: the file is damaged or cut "
            "off. Copy or send it again."
        )
    if len(found) > 1:
        chosen = "the largest" if number == 1 else f"number {number}"
        others = _listed(found, leave_out=number)
        notes += (f"{len(found)} faces were found and {chosen} was taken. The others: {others}.",)
    return taken, found, notes


def _within(face: Detection, readable: tuple[int, int, int, int]) -> bool:
    """Whether a face's box lies in what was read of the photograph, where that ends inside of it."""
    x0, y0, x1, y1 = face.box
    return x0 >= readable[0] - 1 and y0 >= readable[1] - 1 and x1 <= readable[2] + 1 and y1 <= readable[3] + 1


def _listed(faces: Sequence[Detection], leave_out: int = 0) -> str:
    """Return the boxes in words: "1 at x 120-480, y 60-500 (score 0.99); 2 at ..."."""
    boxes = [[round(edge) for edge in face.box] for face in faces]
    return "; ".join(
        f"{number} at x {x0}-{x1}, y {y0}-{y1} (score {face.score:.2f})"
        for number, (face, (x0, y0, x1, y1)) in enumerate(zip(faces, boxes, strict=True), start=1)
        if number != leave_out
    )
