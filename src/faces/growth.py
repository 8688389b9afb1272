"""How a face's shape changes with age, carried onto one face of a photograph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from faceforward.errors import ConfigurationError
from faceforward.faces.align import alignment_of
from faceforward.faces.fields import enlarged, smooth_field, warp
from faceforward.faces.mesh import EYES, POINTS, Mesh
from faceforward.faces.procrustes import similarity
from faceforward.pretrained import require
from faceforward.records import Gender

__all__ = ["FaceShapes", "Growth", "five_points", "warp"]

FILE = "face_growth.npz"
GROWN = 20  # years: targets from here on share one shape
ADULT = 25.0  # whose shape that is
#: Sides of the crop: a smaller mean change of shape is not warped. It is the noise of a mesh, and photographs
#: at 15 to 17, whose change is smaller, come no nearer to their adult selves (benchmarks/growth.py fgnet).
LEAST_CHANGE = 0.0034
GENDERS: tuple[Gender, Gender] = ("female", "male")
NOSE, MOUTH_CORNERS = 4, (61, 291)
NEIGHBOURS = 10  # points whose plane gives a point's normal
LEAST_WEIGHT = 0.02  # of a point on the far side of the face


@dataclass(frozen=True, eq=False)
class FaceShapes:
    """Mean shapes of the face by age and gender, as `benchmarks/growth.py fit` learns them.

    Every shape is symmetric, looks at the viewer and is aligned as FFHQ aligns a crop, so that growth shows
    as what changes relative to that frame.

    Attributes:
        ages: `(A,)` years, rising.
        shapes: `(2, A, 468, 3)` of women and of men: x right, y down, z away from the viewer, in sides of the
            crop, from its middle.
        mirrored: `(468,)` what each point is called on the mirrored face.
    """

    ages: np.ndarray
    shapes: np.ndarray
    mirrored: np.ndarray

    def at(self, age: float, gender: Gender | None) -> np.ndarray:
        """The mean shape at an age, `(468, 3)`; ages beyond the ends give the ends, no gender the middle."""
        shapes = self.shapes.mean(axis=0) if gender is None else self.shapes[GENDERS.index(gender)]
        place = float(np.interp(age, self.ages, np.arange(len(self.ages))))
        first = min(int(place), len(self.ages) - 2)
        return shapes[first] + (place - first) * (shapes[first + 1] - shapes[first])

    @classmethod
    def load(cls, path: Path) -> FaceShapes:
        """Read what `save` wrote.

        Raises:
            ConfigurationError: The file holds no such shapes.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                shapes = stored["mean"].astype(np.float64) + stored["change"].astype(np.float64)
                ages, mirrored = stored["ages"].astype(np.float64), stored["mirrored"].astype(int)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(
                f"{path} does not hold shapes of benchmarks/growth.py fit: {error}"
            ) from error
        if shapes.shape != (2, len(ages), POINTS, 3) or len(ages) < 2:
            raise ConfigurationError(f"{path} holds shapes of {shapes.shape}, not (2, ages, {POINTS}, 3)")
        return cls(ages, shapes, mirrored)

    def save(self, path: Path) -> None:
        """Write the mean as float32, and what each age differs by as float16."""
        mean = self.shapes.mean(axis=(0, 1))
        with path.open("wb") as stream:
            np.savez_compressed(
                stream,
                allow_pickle=False,
                ages=self.ages.astype(np.float32),
                mean=mean.astype(np.float32),
                change=(self.shapes - mean).astype(np.float16),
                mirrored=self.mirrored.astype(np.int16),
            )


class Growth:
    """Warps a face from the shape of one age to that of another.

    What is added to the face's own shape is the difference of the mean shapes of both ages, turned into the
    face's pose: people stay as different from one another as they are. Adults keep their shape: only growing
    up, and an adult becoming a child, changes it.

    Args:
        file: Shapes of `benchmarks/growth.py fit`; None means the package's own.
        share: How much of the difference is applied; 0 switches growth off. By default three quarters: on
            FG-NET that brings most children nearer to their adult selves (benchmarks/README.md, "Growth").

    Raises:
        WeightsUnavailableError: The package's shapes are not there.
        ConfigurationError: The file holds no shapes, or the share is negative or beyond 2.
    """

    name = "face-growth"

    def __init__(self, file: Path | None = None, *, share: float = 0.75) -> None:
        if not 0 <= share <= 2:
            raise ConfigurationError(f"the share of growth has to lie between 0 and 2, not {share}")
        self.file = Path(file) if file is not None else require(self.name) / FILE
        self.share = share
        self.shapes = FaceShapes.load(self.file)

    def shape_age(self, age: float, target: float) -> float | None:
        """The age whose shape a target gets.

        Args:
            age: Of the face in the photograph, years.
            target: Years.

        Returns:
            One and the same age for all targets from `GROWN` on; None when nothing is to be warped: between
            adults, and where the change is within the error of a mesh (`LEAST_CHANGE`).
        """
        wanted = ADULT if target >= GROWN else float(target)
        if (age >= GROWN and target >= GROWN) or self.share * self.change(age, wanted) < LEAST_CHANGE:
            return None
        return wanted

    def change(self, age: float, shape_age: float, gender: Gender | None = None) -> float:
        """How far the points of the mean face move, root mean square, in sides of the crop."""
        moved = self._difference(age, shape_age, gender)[:, :2]
        return float(np.sqrt((moved**2).sum(axis=1).mean()))

    def points(
        self, mesh: Mesh, size: int, *, age: float, shape_age: float, gender: Gender | None
    ) -> np.ndarray:
        """The face's points when it has grown, `(468, 3)` in the pixels of its crop; arguments as `field`."""
        own = np.asarray(mesh.points, dtype=np.float64)
        scale, turn, _ = similarity(self.shapes.at(min(age, ADULT), gender), own)
        grown = own + self.share * scale * self._difference(age, shape_age, gender) @ turn.T
        before, after = (alignment_of(five_points(points)[:, :2], size) for points in (own, grown))
        grown[:, :2] = before.points_to_photo(after.points_to_crop(grown[:, :2]))
        grown[:, 2] *= before.scale / after.scale
        return grown

    def field(
        self, mesh: Mesh, size: int, *, age: float, shape_age: float, gender: Gender | None
    ) -> np.ndarray:
        """The warp that lets the face of a crop grow.

        The grown face is aligned as the crop is, its surroundings follow smoothly, and the crop's border
        stays where it is. The warp does not fold (see `smooth_field`).

        Args:
            mesh: The face's mesh in the pixels of its crop.
            size: Side of that crop.
            age: Of the face, years.
            shape_age: Whose shape it gets, as `shape_age` says.
            gender: Of the person; None takes the mean of both.

        Returns:
            `(size, size, 2)` float32 in pixels: the grown picture's pixel p shows `crop[p + field[p]]`.
        """
        own = np.asarray(mesh.points, dtype=np.float64)
        grown = self.points(mesh, size, age=age, shape_age=shape_age, gender=gender)
        _, turn, _ = similarity(self.shapes.at(min(age, ADULT), gender), own)
        facing = -(self._normals @ turn.T)[:, 2]
        weights = np.clip((facing + 0.1) / 0.3, LEAST_WEIGHT, 1.0)
        shifts = (own - grown)[:, :2] / size
        return enlarged(smooth_field((grown[:, :2] + 0.5) / size, shifts, weights), size)

    def _difference(self, age: float, shape_age: float, gender: Gender | None) -> np.ndarray:
        before, after = (self.shapes.at(min(years, ADULT), gender) for years in (age, shape_age))
        return after - before

    @cached_property
    def _normals(self) -> np.ndarray:
        """Of the mean face's surface, `(468, 3)`, outwards."""
        mean = self.shapes.shapes.mean(axis=(0, 1))
        inside = mean.mean(axis=0) + np.array([0.0, 0.0, np.ptp(mean[:, 2])])
        apart = np.linalg.norm(mean[:, None] - mean[None], axis=-1)
        near = mean[np.argsort(apart, axis=1)[:, :NEIGHBOURS]]
        _, _, axes = np.linalg.svd(near - near.mean(axis=1, keepdims=True))
        normals = axes[:, 2]
        outwards = np.sign(((mean - inside) * normals).sum(axis=1, keepdims=True))
        return normals * outwards


def five_points(points: np.ndarray) -> np.ndarray:
    """The five landmarks of a mesh, `(5, D)` in the order of `Detection`, of its points `(468, D)`."""
    eyes = [points[list(eye)].mean(axis=0) for eye in EYES]
    return np.stack([*eyes, points[NOSE], *(points[corner] for corner in MOUTH_CORNERS)])
