import copy
import doctest

import numpy as np
import pytest
import torch
import torch.multiprocessing
from scipy.stats import spearmanr

import faceforward.metrics.age as age_module
from faceforward.faces.age import DlibAgeEstimator
from faceforward.metrics.age import AgeError, spearman

TARGETS = torch.tensor([10.0, 20, 30, 70] * 25)
AGES = (TARGETS + 12 * torch.randn(100, generator=torch.Generator().manual_seed(0))).round()


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(age_module).failed == 0


def test_spearman_is_scipys_with_ties():
    expected = spearmanr(AGES, TARGETS).statistic
    assert float(spearman(AGES, TARGETS)) == pytest.approx(expected)
    assert torch.isnan(spearman(torch.ones(3), torch.arange(3.0)))


def test_figures_are_those_of_the_formulas():
    metric = AgeError()
    metric.update(AGES[:30], TARGETS[:30])
    metric.update(AGES[30:], TARGETS[30:])
    figures = {key: float(value) for key, value in metric.compute().items()}
    error = (AGES - TARGETS).numpy()
    assert figures["mae"] == pytest.approx(np.abs(error).mean())
    assert figures["bias"] == pytest.approx(error.mean())
    assert figures["spearman"] == pytest.approx(spearmanr(AGES, TARGETS).statistic)
    assert figures["spearman_groups"] == pytest.approx(1)
    assert figures["count"] == 100
    seventies = error[TARGETS.numpy() == 70]
    assert figures["mae/70"] == pytest.approx(np.abs(seventies).mean())
    assert figures["bias/70"] == pytest.approx(seventies.mean())
    assert figures["std/70"] == pytest.approx(seventies.std())
    assert figures["count/70"] == 25
    assert {key for key in figures if key.startswith("mae/")} == {"mae/10", "mae/20", "mae/30", "mae/70"}


def test_no_edit_no_figure():
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert AgeError().compute() == {}


def test_reset_forgets():
    metric = AgeError()
    metric.update(AGES, TARGETS)
    metric.reset()
    metric.update(torch.tensor([31.0]), torch.tensor([30]))
    assert float(metric.compute()["mae"]) == 1


def test_the_estimator_reads_the_pictures(astronaut):
    crops = [astronaut[20:193, 139:312], astronaut[20:193, 139:312][:, ::-1]]
    metric = AgeError(DlibAgeEstimator())
    metric.update(crops, [30, 40])
    years = DlibAgeEstimator().estimate(crops)[0].years
    assert float(metric.compute()["mae"]) == pytest.approx((abs(years - 30) + abs(years - 40)) / 2, abs=1e-3)
    assert float(copy.deepcopy(metric).compute()["count"]) == 2


def test_pictures_without_an_estimator_are_refused():
    with pytest.raises(ValueError, match="estimator"):
        AgeError().update([np.zeros((64, 64, 3), np.uint8)], [30])


def test_numbers_that_differ_are_refused():
    with pytest.raises(ValueError, match="targets"):
        AgeError().update(torch.tensor([1.0, 2.0]), torch.tensor([1]))


def _rank(rank, file, results):
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    metric = AgeError()
    part = slice(0, 30) if rank == 0 else slice(30, None)  # ranks hold different numbers of edits
    metric.update(AGES[part], TARGETS[part])
    results[rank] = {key: float(value) for key, value in metric.compute().items()}
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(tmp_path):
    alone = AgeError()
    alone.update(AGES, TARGETS)
    expected = {key: float(value) for key, value in alone.compute().items()}
    results = torch.multiprocessing.get_context("spawn").Manager().dict()
    torch.multiprocessing.spawn(_rank, (tmp_path / "store", results), nprocs=2)
    for rank in (0, 1):
        assert results[rank] == pytest.approx(expected)
