"""Limits of likeness that follow from where a person's descriptor lies."""

import json

import numpy as np
import pytest

from faceforward.metrics.strangers import FORMAT, Strangers, shipped_strangers, stranger_limits


def _table(**changed):
    row = {"offset": 0.1, "slopes": [0.5, 0.25], "means": [[0.0, 0.0], [1.0, 0.0]]}
    rows = [{"from_age": 0, **row}, {"from_age": 20, **row, "offset": 0.2}]
    return {"format": FORMAT, "embedder": "e", "share": 0.01, "rows": rows, **changed}


def test_the_limit_is_the_plane_of_the_age_at_the_nearer_end():
    table = Strangers.from_json(_table())
    near, far = np.array([0.0, 0.0]), np.array([0.0, 2.0])
    assert table.limit(5, near) == pytest.approx(0.1 + 0.25)
    assert table.limit(20, near) == pytest.approx(0.2 + 0.25)
    assert table.limit(-1, far) == pytest.approx(0.1 + 1 + 0.25 * 5**0.5)
    assert table.limit(99, far, near) == table.limit(99, near)


def test_another_format_is_refused():
    with pytest.raises(ValueError, match=FORMAT):
        Strangers.from_json(_table(format="2"))


def test_the_shipped_table_is_whole_and_for_one_embedder():
    table = shipped_strangers()
    assert [row.from_age for row in table.rows] == [0, 10, 20, 30]
    assert all(row.means.shape == (2, 128) for row in table.rows)
    middle = table.rows[2].means[0]
    limits = stranger_limits(table.embedder, middle, {25: middle, 40: middle + 0.05})
    assert list(limits) == [25, 40]
    assert all(0.2 < limit < 0.7 for limit in limits.values())
    assert stranger_limits("another", middle, {25: middle}) == {}
    assert json.dumps(limits)


def test_without_an_age_the_strictest_limit_holds():
    table = shipped_strangers()
    middle = table.rows[0].means[0]
    assert table.limit(None, middle) == min(table.limit(row.from_age, middle) for row in table.rows)
