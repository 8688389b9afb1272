"""Is a picture nearer to the right person than to everybody else? Ranks in a gallery of people."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from faceforward.faces.identity import Embedder, distance

FALSE_MATCHES = 1e-3  # share of wrong pairs that pass, at which missed right ones are counted
CLOSE = (1, 5)  # ranks at which a person counts as found


def unit(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors at length one, `(..., D)` float64: only their direction is compared.

    Args:
        descriptors: `(..., D)` of any length but zero.
    """
    descriptors = np.asarray(descriptors, dtype=np.float64)
    return descriptors / np.linalg.norm(descriptors, axis=-1, keepdims=True)


def fused(*descriptors: np.ndarray) -> np.ndarray:
    """The mean of several pictures' descriptors, each at length one, at length one again: one probe of all.

    Args:
        descriptors: `(..., D)` each, of one shape: the photograph's and the aged picture's, for example.
    """
    return unit(np.mean([unit(part) for part in descriptors], axis=0))


@dataclass(frozen=True, eq=False)
class Gallery:
    """People to be found in, each one template.

    Attributes:
        people: Whom each template is of.
        templates: `(P, D)` float64 of length one.

    Raises:
        ValueError: A person has two templates, there are fewer than two people, or the numbers differ.
    """

    people: tuple[Hashable, ...]
    templates: np.ndarray

    def __post_init__(self) -> None:
        if len(self.people) != len(self.templates) or len(set(self.people)) != len(self.people):
            raise ValueError(
                f"{len(self.templates)} templates for {len(set(self.people))} people: give each person one"
            )
        if len(self.people) < 2:
            raise ValueError(f"a gallery of {len(self.people)} people finds nobody: give at least two")

    @classmethod
    def of(cls, descriptors: np.ndarray, people: Sequence[Hashable]) -> Gallery:
        """Make a gallery of photographs: the mean of each person's descriptors, as `fused` takes it.

        Args:
            descriptors: `(N, D)` of the photographs.
            people: `(N,)` whom each shows.

        Raises:
            ValueError: See the class.
        """
        names = tuple(dict.fromkeys(people))
        members = {name: [i for i, person in enumerate(people) if person == name] for name in names}
        return cls(names, np.stack([fused(*descriptors[members[name]]) for name in names]))

    @cached_property
    def places(self) -> dict[Hashable, int]:
        """Person -> the row of their template."""
        return {person: place for place, person in enumerate(self.people)}

    def distances(self, probes: np.ndarray) -> np.ndarray:
        """Euclidean distances of probes to all templates, `(N, P)`, both at length one.

        Args:
            probes: `(N, D)` descriptors.
        """
        return distance(unit(probes)[:, None], self.templates[None])

    def rows(self, people: Sequence[Hashable]) -> np.ndarray:
        """`(N,)` rows of people's templates.

        Raises:
            ValueError: Somebody is not in the gallery.
        """
        missing = sorted({str(person) for person in people if person not in self.places})
        if missing:
            raise ValueError(f"not in the gallery: {', '.join(missing)}; leave their photographs out")
        return np.array([self.places[person] for person in people], dtype=np.int64)


def ranks(distances: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The place of the right person among all by distance, 1 = the nearest; ties get their mean place.

    Args:
        distances: `(N, P)` of probes to templates; a row of nan is a picture without a face and comes last.
        own: `(N,)` column of the right person.

    Returns:
        `(N,)` float64 in [1, P].
    """
    right = np.take_along_axis(distances, own[:, None], axis=1)
    before = (distances < right).sum(axis=1) + ((distances == right).sum(axis=1) - 1) / 2
    return np.where(np.isnan(right[:, 0]), distances.shape[1], 1.0 + before)


def missed(distances: np.ndarray, own: np.ndarray, false_matches: float = FALSE_MATCHES) -> np.ndarray:
    """Which probes are not recognised at a fixed share of false matches (their mean is the FNMR).

    The limit is the distance that this share of the pairs of a probe and *another* person's template are
    below, over all probes of the call: it rests on `N (P - 1)` pairs, so a share of 1e-3 wants thousands.

    Args:
        distances: `(N, P)` of probes to templates; a row of nan is missed.
        own: `(N,)` column of the right person.
        false_matches: Share of wrong pairs that pass.

    Returns:
        `(N,)` bool.
    """
    right = np.take_along_axis(distances, own[:, None], axis=1)[:, 0]
    others = np.ones_like(distances, dtype=bool)
    np.put_along_axis(others, own[:, None], False, axis=1)
    wrong = np.sort(distances[others & np.isfinite(distances)])
    if len(wrong) == 0:
        return np.ones(len(own), dtype=bool)
    limit = wrong[min(int(false_matches * len(wrong)), len(wrong) - 1)]
    return ~(right < limit)


def chance(people: int) -> dict[str, float]:
    """What a probe that knows nothing reaches in a gallery of that many: `rank1`, `rank5`, `mean_rank`."""
    figures = {f"rank{place}": min(place / people, 1.0) for place in CLOSE}
    return figures | {"mean_rank": (people + 1) / 2}


class Retrieval(Metric):
    """How well pictures find their person in a gallery.

    `compute` returns `rank1` and `rank5` (share of a person's pictures with the right person at rank 1, or
    among the first five), `mean_rank` and `fnmr` (see `missed`), each the mean over people of the mean of
    their pictures, so that people with many photographs do not weigh more; `chance/rank1`, `chance/rank5`,
    `chance/mean_rank`; `count` of pictures and `people` of those that were looked for.

    Set the unchanged photograph's figures and those of the mean of both (`fused`) beside an aged picture's: a
    picture that finds fewer people than the photograph it was made from does harm.

    Args:
        gallery: The people.
        embedder: Describes the pictures; None when `update` is given descriptors.
        kwargs: As `torchmetrics.Metric`.

    Example:
        >>> import numpy as np
        >>> from faceforward.metrics.retrieval import Gallery, Retrieval
        >>> metric = Retrieval(Gallery(("ann", "bob"), np.eye(2)))
        >>> metric.update(np.array([[1.0, 0.2], [0.9, 0.1]]), ["ann", "bob"])
        >>> figures = metric.compute()
        >>> float(figures["rank1"]), float(figures["mean_rank"]), float(figures["chance/mean_rank"])
        (0.5, 1.5, 1.5)
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    distances: list[Tensor]
    own: list[Tensor]

    def __init__(self, gallery: Gallery, embedder: Embedder | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gallery = gallery
        self.embedder = embedder
        self.add_state("distances", default=[], dist_reduce_fx="cat")
        self.add_state("own", default=[], dist_reduce_fx="cat")

    def update(self, pictures: Sequence[np.ndarray] | np.ndarray, people: Sequence[Hashable]) -> None:
        """Add pictures.

        Args:
            pictures: `(S, S, 3)` uint8 RGB crops, aligned like FFHQ; or, without an embedder, `(N, D)`
                descriptors, a row of nan for a picture in which no face was found.
            people: `(N,)` whom each shows.

        Raises:
            ValueError: The numbers differ, or somebody is not in the gallery.
        """
        probes = np.asarray(pictures) if self.embedder is None else self.embedder.embed(list(pictures))
        if probes.ndim != 2 or len(probes) != len(people):
            raise ValueError(f"{probes.shape} descriptors for {len(people)} people: give one (N, D) row each")
        own = torch.from_numpy(self.gallery.rows(people))
        self.distances.append(torch.from_numpy(self.gallery.distances(probes)).to(self.device))
        self.own.append(own.to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """Return the figures described above; empty when no picture came."""
        if len(self.own) == 0:
            return {}
        distances, own = dim_zero_cat(self.distances).cpu().numpy(), dim_zero_cat(self.own).cpu().numpy()
        places = ranks(distances, own)
        values = {f"rank{place}": (places <= place).astype(np.float64) for place in CLOSE}
        values |= {"mean_rank": places, "fnmr": missed(distances, own).astype(np.float64)}
        counts = np.bincount(own)
        there = counts > 0
        figures = {
            name: torch.tensor((np.bincount(own, value)[there] / counts[there]).mean())
            for name, value in values.items()
        }
        for name, expected in chance(len(self.gallery.people)).items():
            figures[f"chance/{name}"] = torch.tensor(expected, dtype=torch.float64)
        return figures | {"count": torch.tensor(len(own)), "people": torch.tensor(int(there.sum()))}
