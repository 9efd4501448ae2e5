"""Typed parquet tables between stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.io.atomic import replacing
from tasks.core.io.errors import StageError


class TableError(StageError):
    """A table is missing, unreadable or not of its schema; the message names file, column and, where known, the row."""


def read_table(path: Path, schema: pa.Schema | None = None) -> list[dict[str, Any]]:
    """Read a parquet table as rows; with `schema`, exactly its columns in its order and types.

    Raises:
        TableError: no such file (with the stage that makes it), not parquet, or a column missing or of another type.
    """
    if not path.exists():
        raise TableError(f"{path}: no such table; run `dvc repro {path.parent.name}` first")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a parquet table: {error}") from error
    if schema is None:
        return list(table.to_pylist())
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise TableError(f"{path}: no column {', '.join(missing)}; it holds {', '.join(table.column_names)}")
    try:
        return list(table.select(schema.names).cast(schema).to_pylist())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise TableError(f"{path}: not of its schema: {error}") from error


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """Write rows as parquet, atomically; an empty table keeps its columns. Returns the number of rows.

    Raises:
        TableError: a row has other keys than the schema, or a value of another type; names row and column.
    """
    table = check_rows(rows, schema, str(path))
    with replacing(path) as temporary:
        pq.write_table(table, temporary)
    return int(table.num_rows)


def write_arrow(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    """Write a table that is in columns already, atomically."""
    with replacing(path) as temporary:
        pq.write_table(table.cast(schema), temporary)


def check_rows(rows: Iterable[Mapping[str, Any]], schema: pa.Schema, where: str) -> pa.Table:
    """Rows as a table of `schema`.

    Raises:
        TableError: a row has other keys than the schema, or a value of another type; names `where`, row and column.
    """
    listed = [dict(row) for row in rows]
    names = set(schema.names)
    for number, row in enumerate(listed):
        if row.keys() != names:
            missing, unknown = sorted(names - row.keys()), sorted(row.keys() - names)
            raise TableError(f"{where}: row {number}: columns missing {missing}, unknown {unknown}")
    columns = [_column(where, field, [row[field.name] for row in listed]) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(where: str, field: pa.Field, values: list[Any]) -> pa.Array:
    if not field.nullable and any(value is None for value in values):
        raise TableError(f"{where}: row {values.index(None)}: {field.name} is empty")
    try:
        return pa.array(values, type=field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, OverflowError) as error:
        raise TableError(f"{where}: {field.name}: {error}") from error
