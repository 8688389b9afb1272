"""`index.parquet` of a prepared collection: one row for each crop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faceforward.atomic import atomic_file
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import ModuleType

INDEX = "index.parquet"
#: Column -> Arrow type; `name` is the file in `training_images`.
COLUMNS = {
    "name": "string",
    "age": "int32",
    "gender": "string",
    "identity": "string",
    "split": "string",
    "source": "string",
    "device": "string",
    "original": "string",
    "face_height": "float32",
    "sharpness": "float32",
    "exposure": "float32",
    "contrast": "float32",
    "roll": "float32",
    "yaw": "float32",
    "padding": "float32",
    "warnings": "string",
}


def _arrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigurationError(
            f"{INDEX} needs the package pyarrow: pip install 'faceforward[data]'"
        ) from error
    return pyarrow, pyarrow.parquet


def require_arrow() -> None:
    """Say before any work is done that the index could not be written.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    _arrow()


def write_index(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the index atomically.

    Args:
        path: The file.
        rows: Column -> value; what is missing or NaN becomes null.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    schema = arrow.schema([(name, getattr(arrow, kind)()) for name, kind in COLUMNS.items()])
    columns = {name: [_writable(row.get(name)) for row in rows] for name in COLUMNS}
    with atomic_file(path) as temporary:
        parquet.write_table(arrow.table(columns, schema=schema), temporary)


def _writable(value: Any) -> Any:
    """NaN as null; lone surrogates, of which Arrow's text has none, as backslash escapes."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return None if value != value else value


def read_index(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of an index.

    Args:
        path: The file.
        columns: Those that are wanted.

    Raises:
        ConfigurationError: pyarrow is not installed, or the file is no such index.
    """
    arrow, parquet = _arrow()
    try:
        return parquet.read_table(path, columns=list(columns)).to_pylist()
    except (arrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as the index of a prepared collection ({error}): run faceforward prepare "
            "again"
        ) from error
