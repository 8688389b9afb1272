"""Detail transfer: the change of age is carried onto the photograph; its own pixels give everything else."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from faceforward.checks import check_shares
from faceforward.diffusion.color import LUMA
from faceforward.errors import ConfigurationError
from faceforward.faces.fields import warp
from faceforward.faces.fringe import hair_over_face
from faceforward.faces.mesh import EYES, LIPS
from faceforward.faces.motion import at_side, blurred, motion, moved
from faceforward.faces.symmetry import mirror_field, two_sided

if TYPE_CHECKING:
    from faceforward.faces.mesh import Mesh
    from faceforward.records import AgeEdit, Face, Photo

WORKING_SIDES = (256, 512)  # least and most side at which the change is worked out, pixels
# Lengths in sides of the crop.
FACE = -0.06  # by which the face's outline is drawn in: models draw a second jaw just beside the first
HEAD = 0.55  # by which the face's outline is widened to hold hair, ears and neck
FRINGE = 0.4  # share of other hair's change that hair over the face gets: a forehead would shine through it
FACE_EDGE, HEAD_EDGE = 0.025, 0.05  # s.d. of the soft edges of face and head
LIGHT = 0.15  # s.d. beyond which a change of lightness or colour counts as light and is held
FINE = 0.006  # s.d. of the photograph's fine detail, which is damped where the edit smooths
LOCAL, BAND = 0.012, 0.024  # s.d. of the windows in which outlines are compared, and of what counts as one
#: Outlines of what a change of age leaves as it is, as numbers of the mesh's points, and by how much each is
#: widened: the eyes' openings, and the lips with the teeth behind them.
FEATURES = (*((eye, 0.25) for eye in EYES), (LIPS, 0.35))
FEATURE_EDGE = 0.012  # s.d. of their soft edge
MOST_MOTION = 0.015  # softly limits the flow: a longer one pulls bulges out of jaws that hair lies on
# Grey levels.
MOST_LIGHTER, MOST_DARKER, MOST_COLOUR = 90.0, 68.0, 38.0  # where the change is softly limited
FAINT = 4.0  # variance of an outline that is not told from noise
STRONG = 60.0  # variance of an outline that must not be doubled
TINTED, COLOURED = 2.0, 6.0  # s.d. of the hue's own variation in a tinted print and in a colour photograph


@dataclass(frozen=True)
class Amount:
    """How much of a model's change is shown.

    Args:
        strength: Factor of the change, 0 to 3; 1 is the model's.
        hair: Share of it that hair, ears and neck get, 0 to 1: a missing person is looked for with the hair
            of the photograph.
        features: Share that eyes and mouth get, 0 to 1.
        outlines: How far the change is left out where an outline of the photograph is neither kept nor
            explained by a motion, 0 to 1.
        halves: How far shadows and locks that the model adds to one half of the face alone are taken off, 0
            to 1, see `two_sided`.

    Raises:
        ConfigurationError: A number is out of range.
    """

    strength: float = 1.3
    hair: float = 0.3
    features: float = 0.9
    outlines: float = 0.8
    halves: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 3:
            raise ConfigurationError(
                f"finisher: a strength of {self.strength} was given; give a number from 0 to 3"
            )
        check_shares(self, "finisher", ("hair", "features", "outlines", "halves"))

    def towards(self, other: Amount, share: float) -> Amount:
        """The amount between this (share 0) and another (share 1)."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Amount(*((1 - share) * mine + share * theirs for mine, theirs in pairs))


CHANGE = Amount()
#: For a child who had to grow up first: the more of such a change is shown, the older the picture reads and
#: the less it finds its person (benchmarks/README.md, "How much of the change").
GROWN_UP = Amount(strength=0.7, hair=0.15, features=0.35, outlines=1.0, halves=0.0)
#: Target ages between which a grown child's amount passes over into that of everybody else: a smaller change
#: keeps the person at 20 to 30, but still shows a child at 70.
PASSING = (30, 60)


class FaceParts(NamedTuple):
    """Where in a crop a change acts, `(S, S)` float32 in [0, 1] with soft edges, and what mirrors what.

    Attributes:
        face: The face, without hair that hangs over it.
        head: The head with hair, ears and neck; less of it where hair hangs over the face.
        features: The eyes' openings and the mouth.
        mirror: `(S, S, 2)` where the other half of the face has the same place, see `mirror_field`.
    """

    face: np.ndarray
    head: np.ndarray
    features: np.ndarray
    mirror: np.ndarray


class DetailTransfer:
    """Adds `edit(target) - edit(the source's own prompt)` to the photograph at its own resolution.

    Both pictures are of one inversion, so what the model and its autoencoder lose of the photograph cancels
    out, and only the change of age is left. It is carried over as follows.

    - Where outlines move, the photograph's detail moves along a dense flow from the one picture to the other
      (DIS, Kroeger et al., arXiv 1603.03590), where the flow is the same in both directions.
    - Where an outline of the photograph is neither kept nor explained by the flow, the change is left out as
      far as `Amount.outlines` says: the photograph's own outline stays, so that nothing is doubled.
    - The light stays the photograph's: low frequencies of the change are taken off, and what is left is
      softly limited. A photograph without colours gets none; a tinted print keeps its tint.
    - Where the edit smooths, the photograph's fine detail is damped by the ratio of local contrast.
    - The change acts on the face; on hair, ears and neck weakly; outside the head not at all.

    Args:
        change: How much of the change is shown.
        grown: The same where a child had to grow up first; from 30 to 60 years it passes over into `change`.
        hold: Share of the change's low frequencies that is taken off, 0 to 1.

    Raises:
        ConfigurationError: `hold` is not a share.
    """

    name = "detail-transfer"

    def __init__(self, *, change: Amount = CHANGE, grown: Amount = GROWN_UP, hold: float = 0.9) -> None:
        self.change = change
        self.grown = grown
        self.hold = hold
        check_shares(self, "finisher", ("hold",))

    def amount(self, age: float, target: float, *, grew: bool) -> Amount:
        """How much of a change is shown.

        Args:
            age: In the photograph, years.
            target: Years.
            grew: Whether the face's shape was changed first.
        """
        if not grew or target <= age:
            return self.change
        first, last = PASSING
        return self.grown.towards(self.change, float(np.clip((target - first) / (last - first), 0, 1)))

    def finish(self, edit: AgeEdit, face: Face, photo: Photo) -> dict[int, np.ndarray]:
        """Carry every target's change onto the crop; see `Finisher.finish`.

        Raises:
            ValueError: The face has no mesh, or the edit no pictures of the source's own prompt.
        """
        if face.mesh is None or edit.references.keys() != edit.images.keys():
            raise ValueError("detail transfer needs the face's mesh and an edit with its references")
        own = face_parts(face.mesh, face.pixels)
        finished = {}
        for age, picture in edit.images.items():
            crop, parts, field = face.pixels, own, edit.fields.get(age)
            if field is not None:
                crop, parts = warp(crop, field), FaceParts(*(moved(part, field) for part in own))
            amount = self.amount(face.age, age, grew=field is not None)
            finished[age] = self.transfer(crop, picture, edit.references[age], parts, amount)
        return finished

    def transfer(
        self,
        crop: np.ndarray,
        edited: np.ndarray,
        reference: np.ndarray,
        parts: FaceParts,
        amount: Amount | None = None,
    ) -> np.ndarray:
        """Carry one change onto a crop.

        Args:
            crop: `(S, S, 3)` uint8 RGB, the photograph's.
            edited: `(s, s, 3)` uint8 RGB of the model: the target.
            reference: `(s, s, 3)` uint8 RGB of the model: the source's own prompt.
            parts: Of the crop.
            amount: How much of the change is shown; None takes `change`.

        Returns:
            `(S, S, 3)` uint8 RGB.
        """
        size = crop.shape[0]
        amount = amount or self.change
        strength = amount.strength
        side = int(np.clip(2 * edited.shape[0], *WORKING_SIDES))
        side = min(side, size)
        inner, outer, features = (at_side(part, side) for part in parts[:3])
        after, before = (at_side(picture.astype(np.float32), side) for picture in (edited, reference))
        flow = _bounded(motion(after, before), MOST_MOTION * side) * outer[..., None] * min(strength, 1.0)
        before = moved(before, flow)

        mirror = at_side(parts.mirror, side) * (side / size)
        difference = after - before
        difference += amount.halves * (two_sided(difference, mirror, inner) - difference)
        lightness, colour = self._change(difference, inner, outer)
        colour *= own_colours(crop)
        doubled, smoothing = _compared(after @ LUMA, before @ LUMA, side)
        kept = 1 - amount.outlines * doubled
        weight = (inner + (outer - np.minimum(inner, outer)) * amount.hair) * kept * strength
        weight *= 1 - (1 - amount.features) * features
        damping = 1 - (1 - smoothing) * inner * kept * min(strength, 1.0)

        source = moved(crop.astype(np.float32), at_side(flow, size) * (size / side))
        coarse = blurred(source, FINE * size)
        change = at_side(weight[..., None] * (lightness[..., None] + colour), size)
        result = coarse + (source - coarse) * at_side(damping, size)[..., None] + change
        # Outside the head the photograph is left as it is, to the last bit.
        result = crop + (result - crop) * np.minimum(1.0, 4 * parts.head)[..., None]
        return np.clip(np.rint(result), 0, 255).astype(np.uint8)

    def _change(
        self, difference: np.ndarray, inner: np.ndarray, outer: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The change of lightness `(D, D)` and of colour `(D, D, 3)`, its light held and its size limited."""
        side = difference.shape[0]
        seen = (inner + 0.05 * outer)[..., None]
        light = blurred(difference * seen, LIGHT * side) / (
            blurred(seen[..., 0], LIGHT * side)[..., None] + 1e-3
        )
        held = difference - self.hold * light
        lightness = held @ LUMA
        colour = held - lightness[..., None]
        limit = np.where(lightness > 0, MOST_LIGHTER, MOST_DARKER)
        return limit * np.tanh(lightness / limit), MOST_COLOUR * np.tanh(colour / MOST_COLOUR)


def face_parts(mesh: Mesh, crop: np.ndarray) -> FaceParts:
    """Find the parts of a face by its mesh; hair that hangs over the face is not a part of it.

    Args:
        mesh: In the pixels of the crop.
        crop: `(S, S, 3)` uint8 RGB.
    """
    size = crop.shape[0]
    side = min(size, WORKING_SIDES[0])
    points = (mesh.points[:, :2].astype(np.float32) + 0.5) * (side / size) - 0.5
    outline = cv2.convexHull(points)[:, 0]
    features = [_filled(points[list(places)], wider, side) for places, wider in FEATURES]
    masks = (
        (_filled(outline, FACE, side), FACE_EDGE),
        (_filled(outline, HEAD, side), HEAD_EDGE),
        (np.maximum.reduce(features), FEATURE_EDGE),
    )
    face, head, features = (np.clip(at_side(blurred(mask, edge * side), size), 0, 1) for mask, edge in masks)
    hair = hair_over_face(crop, mesh)
    head *= 1 - (1 - FRINGE) * hair
    return FaceParts(face * (1 - hair), head, features, mirror_field(mesh, size))


def _filled(outline: np.ndarray, widened: float, side: int) -> np.ndarray:
    """The convex hull of an outline `(N, 2)`, widened about its middle, as a `(side, side)` mask."""
    middle = outline.mean(axis=0)
    hull = cv2.convexHull((middle + (outline - middle) * (1 + widened)).astype(np.float32))
    mask = np.zeros((side, side), np.float32)
    cv2.fillConvexPoly(mask, np.rint(hull * 16).astype(np.int32), 1.0, cv2.LINE_AA, 4)
    return mask


def own_colours(crop: np.ndarray) -> float:
    """How far a photograph has colours of its own, 0 (grey, sepia, a faded print) to 1.

    The hue of a tinted print follows from its lightness: what a parabola over lightness does not explain of
    its colours is the photograph's own.

    Args:
        crop: `(S, S, 3)` uint8 RGB.
    """
    pixels = at_side(crop.astype(np.float32), 64).reshape(-1, 3)
    lightness = pixels @ LUMA
    colour = pixels - lightness[:, None]
    terms = np.stack([np.ones_like(lightness), lightness / 255, (lightness / 255) ** 2], axis=1)
    explained = terms @ np.linalg.lstsq(terms, colour, rcond=None)[0]
    spread = float(np.sqrt(((colour - explained) ** 2).mean()))
    return float(np.clip((spread - TINTED) / (COLOURED - TINTED), 0, 1))


def _bounded(flow: np.ndarray, most: float) -> np.ndarray:
    """The flow `(D, D, 2)` with its lengths softly limited to `most` pixels."""
    share = np.hypot(flow[..., 0], flow[..., 1])[..., None] / most
    return flow * np.where(share > 1e-6, np.tanh(share) / np.maximum(share, 1e-6), 1)


def _compared(after: np.ndarray, before: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Where outlines would be doubled, `(D, D)` in [0, 1], and the ratio of local contrast, in [.35, 1]."""
    now, then = (picture - blurred(picture, BAND * side) for picture in (after, before))
    both, energy, own = (blurred(p, LOCAL * side) for p in (now * then, now * now, then * then))
    likeness = both / np.sqrt((energy + FAINT) * (own + FAINT))
    doubled = np.clip((0.75 - likeness) / 0.5, 0, 1) * own / (own + STRONG)
    reach = 2 * round(0.006 * side) + 1
    doubled = blurred(cv2.dilate(doubled, np.ones((reach, reach))), LOCAL * side)
    fine_now, fine_then = (
        blurred((picture - blurred(picture, BAND / 3 * side)) ** 2, BAND * side)
        for picture in (after, before)
    )
    smoothing = np.clip(np.sqrt((fine_now + 2) / (fine_then + 2)), 0.35, 1)
    return doubled, smoothing
