"""The index of a prepared collection."""

import sys

import pytest

from faceforward.datamodules.index import COLUMNS, read_index, require_arrow, write_index
from faceforward.errors import ConfigurationError


def test_index_is_plain_parquet(tmp_path):
    import pyarrow.parquet

    write_index(tmp_path / "index.parquet", [{"name": "한.jpg", "age": 3, "sharpness": 2.5}])
    table = pyarrow.parquet.read_table(tmp_path / "index.parquet")
    assert table.column_names == list(COLUMNS)
    assert table.to_pylist()[0] == dict.fromkeys(COLUMNS) | {"name": "한.jpg", "age": 3, "sharpness": 2.5}
    assert [path.name for path in tmp_path.iterdir()] == ["index.parquet"]


def test_text_that_arrow_cannot_hold_is_escaped(tmp_path):
    write_index(tmp_path / "index.parquet", [{"name": "한.jpg", "original": "\udcff.png"}])
    assert read_index(tmp_path / "index.parquet", ["name", "original"]) == [
        {"name": "한.jpg", "original": "\\udcff.png"}
    ]


def test_a_failure_leaves_the_old_index(tmp_path):
    import pyarrow

    write_index(tmp_path / "index.parquet", [{"name": "a"}])
    with pytest.raises(pyarrow.ArrowInvalid):
        write_index(tmp_path / "index.parquet", [{"name": "a", "age": "young"}])
    assert read_index(tmp_path / "index.parquet", ["name"]) == [{"name": "a"}]
    assert [path.name for path in tmp_path.iterdir()] == ["index.parquet"]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigurationError, match=r"cannot be read as the index .* run faceforward prepare"):
        read_index(tmp_path / "index.parquet", ["name"])


def test_missing_pyarrow_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'faceforward\[data\]'"):
        require_arrow()
