"""How far edited faces are from the person in the photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from faceforward.faces.identity import Embedder, distance
from faceforward.metrics.thresholds import DLIB_RECOGNITION


class IdentityDistance(Metric):
    """Descriptor distance of an edited face to its source, and the share that still passes for the person.

    An edit passes when its distance is below the one that 1 % of pairs of *different* people reach who are of
    the age shown: a fixed false match rate, with a threshold for each age band, since the network tells
    children apart less well than adults.

    `compute` returns `distance` (mean), `share` (passing, in [0, 1]), `count`, and for each age band that
    occurs `distance/<from>`, `share/<from>` and `count/<from>`.

    Args:
        embedder: Describes the pictures; None when `update` is given distances.
        thresholds: First age of each band -> distance; a band reaches to the next. The default belongs to
            `DlibEmbedder` and to nothing else.
        kwargs: As `torchmetrics.Metric`.

    Raises:
        ValueError: There are no thresholds.

    Example:
        >>> import torch
        >>> from faceforward.metrics.identity import IdentityDistance
        >>> metric = IdentityDistance(thresholds={0: 0.2, 20: 0.4})
        >>> metric.update(torch.tensor([0.3, 0.3, 0.5]), ages=torch.tensor([10, 30, 40]))
        >>> figures = metric.compute()
        >>> round(float(figures["share"]), 3), float(figures["share/20"])
        (0.333, 0.5)
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    distances: list[Tensor]
    ages: list[Tensor]

    def __init__(
        self,
        embedder: Embedder | None = None,
        *,
        thresholds: Mapping[int, float] = DLIB_RECOGNITION,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not thresholds:
            raise ValueError("give at least one threshold: {0: distance}")
        self.embedder = embedder
        self.thresholds = dict(sorted(thresholds.items()))
        self.add_state("distances", default=[], dist_reduce_fx="cat")
        self.add_state("ages", default=[], dist_reduce_fx="cat")

    def update(
        self,
        faces: Sequence[np.ndarray] | Tensor,
        sources: Sequence[np.ndarray] | None = None,
        *,
        ages: Sequence[float] | Tensor,
    ) -> None:
        """Add edits.

        Args:
            faces: The edited `(S, S, 3)` uint8 RGB crops, aligned like FFHQ; or, without an embedder, `(N,)`
                distances.
            sources: The photograph that each was made from, aligned alike; only with an embedder.
            ages: `(N,)` age that each edit shows, years: it picks the band.

        Raises:
            ValueError: The numbers differ, or pictures came without an embedder or without their sources.
        """
        if self.embedder is not None:
            if sources is None or len(sources) != len(faces):
                raise ValueError("with an embedder IdentityDistance takes one source picture for each edit")
            edited, original = self.embedder.embed(list(faces)), self.embedder.embed(list(sources))
            distances = torch.from_numpy(distance(edited, original))
        elif isinstance(faces, Tensor) and faces.ndim == 1 and sources is None:
            distances = faces
        else:
            raise ValueError("without an embedder IdentityDistance takes a (N,) tensor of distances")
        shown = torch.as_tensor(ages)
        if distances.shape != shown.shape:
            raise ValueError(f"{tuple(distances.shape)} distances for {tuple(shown.shape)} ages")
        self.distances.append(distances.to(self.device, torch.float64))
        self.ages.append(shown.to(self.device, torch.float64))

    def passing(self, distances: Tensor, ages: Tensor) -> tuple[Tensor, Tensor]:
        """Tell for single edits whether they pass for the person.

        Args:
            distances: `(N,)` descriptor distances.
            ages: `(N,)` age that each edit shows, years.

        Returns:
            `(N,)` places of the age bands, and `(N,)` bool.
        """
        starts = torch.tensor(list(self.thresholds), dtype=torch.float64, device=ages.device)
        limits = torch.tensor(list(self.thresholds.values()), dtype=torch.float64, device=ages.device)
        band = (torch.searchsorted(starts, ages.double(), right=True) - 1).clamp(min=0)
        return band, distances < limits[band]

    def compute(self) -> dict[str, Tensor]:
        """Return the figures described above; empty when no edit came."""
        if len(self.distances) == 0:
            return {}
        distances, ages = dim_zero_cat(self.distances), dim_zero_cat(self.ages)
        band, passing = self.passing(distances, ages)
        passing = passing.double()
        figures = {"distance": distances.mean(), "share": passing.mean(), "count": torch.tensor(len(ages))}
        for index in torch.unique(band).tolist():
            chosen, start = band == index, list(self.thresholds)[index]
            figures[f"distance/{start}"] = distances[chosen].mean()
            figures[f"share/{start}"] = passing[chosen].mean()
            figures[f"count/{start}"] = chosen.sum()
        return figures
