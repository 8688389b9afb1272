"""How well edited faces show the age that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from faceforward.faces.age import AgeEstimator


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Return Spearman's rank correlation, ties sharing their mean rank; nan when it is not defined.

    Args:
        a: `(N,)` values.
        b: `(N,)` values.
    """
    ranks = torch.stack([_ranks(a), _ranks(b)])
    centred = ranks - ranks.mean(dim=1, keepdim=True)
    scale = centred.square().sum(dim=1).prod().sqrt()
    return (centred[0] * centred[1]).sum() / scale if scale > 0 else torch.tensor(torch.nan)


def _ranks(values: Tensor) -> Tensor:
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[inverse]


class AgeError(Metric):
    """Error of the estimated age of edited faces against the age that was asked for.

    The figures hold the estimator's own error as well: set them beside those on real photographs of the same
    ages (`benchmarks/estimator_error.py`).

    `compute` returns `mae` and `bias` (mean of estimated - target) in years, `spearman` over all edits,
    `spearman_groups` over the mean estimate of each target age, `count`, and for each decade of target ages
    that occurs `mae/<from>`, `bias/<from>`, `std/<from>` (of the error) and `count/<from>`.

    Args:
        estimator: Reads ages off the pictures; None when `update` is given ages in years.
        kwargs: As `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> from faceforward.metrics.age import AgeError
        >>> metric = AgeError()
        >>> metric.update(torch.tensor([12.0, 24.0, 33.0]), torch.tensor([10, 20, 30]))
        >>> figures = metric.compute()
        >>> round(float(figures["mae"]), 6), round(float(figures["spearman"]), 6), float(figures["bias/20"])
        (3.0, 1.0, 4.0)
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    estimated: list[Tensor]
    targets: list[Tensor]

    def __init__(self, estimator: AgeEstimator | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.estimator = estimator
        self.add_state("estimated", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, faces: Sequence[np.ndarray] | Tensor, targets: Sequence[float] | Tensor) -> None:
        """Add edits.

        Args:
            faces: `(S, S, 3)` uint8 RGB crops aligned like FFHQ; or, without an estimator, `(N,)` ages.
            targets: `(N,)` ages asked for, years.

        Raises:
            ValueError: The numbers of faces and targets differ, or pictures came and there is no estimator.
        """
        if self.estimator is not None:
            ages = torch.tensor([estimate.years for estimate in self.estimator.estimate(list(faces))])
        elif isinstance(faces, Tensor) and faces.ndim == 1:
            ages = faces
        else:
            raise ValueError(
                "without an estimator AgeError takes a (N,) tensor of ages: give it an estimator"
            )
        wanted = torch.as_tensor(targets)
        if ages.shape != wanted.shape:
            raise ValueError(f"{tuple(ages.shape)} estimated ages for {tuple(wanted.shape)} targets")
        self.estimated.append(ages.to(self.device, torch.float64))
        self.targets.append(wanted.to(self.device, torch.float64))

    def compute(self) -> dict[str, Tensor]:
        """Return the figures described above; empty when no edit came."""
        if len(self.estimated) == 0:
            return {}
        estimated, targets = dim_zero_cat(self.estimated), dim_zero_cat(self.targets)
        error = estimated - targets
        groups = torch.unique(targets)
        means = torch.stack([estimated[targets == age].mean() for age in groups])
        figures = {
            "mae": error.abs().mean(),
            "bias": error.mean(),
            "spearman": spearman(estimated, targets),
            "spearman_groups": spearman(means, groups),
            "count": torch.tensor(len(error)),
        }
        decades = targets.div(10, rounding_mode="floor").int() * 10
        for decade in torch.unique(decades).tolist():
            part = error[decades == decade]
            figures[f"mae/{decade}"] = part.abs().mean()
            figures[f"bias/{decade}"] = part.mean()
            figures[f"std/{decade}"] = part.std(correction=0)
            figures[f"count/{decade}"] = torch.tensor(len(part))
        return figures
