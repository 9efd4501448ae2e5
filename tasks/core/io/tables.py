"""Typed parquet tables between stages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.io.atomic import replacing
from tasks.core.io.errors import StageError

ROWS_AT_ONCE = 4096
_READ_BYTES = 1 << 16


class TableError(StageError):
    """A table is missing, unreadable or not of its schema; the message names file, column and, where known, the row."""


def read_table(path: Path, schema: pa.Schema | None = None) -> list[dict[str, Any]]:
    """Read a parquet table as rows; with `schema`, exactly its columns in its order and types.

    Raises:
        TableError: no such file (with the stage that makes it), not parquet, or a column missing or of another type.
    """
    return [row for part in iter_parts(path, schema) for row in part.to_pylist()]


def iter_table(path: Path, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """Rows as `read_table` gives them, a few thousand in memory at a time.

    Raises:
        TableError: as there, at the first row or where the file breaks off.
    """
    for part in iter_parts(path, schema, ROWS_AT_ONCE):
        yield from part.to_pylist()


def iter_parts(path: Path, schema: pa.Schema | None, rows: int = 1 << 16) -> Iterator[pa.Table]:
    """A parquet table in pieces of at most `rows` rows, columns as in `read_table`; an empty table is one empty piece.

    Raises:
        TableError: no such file (with the stage that makes it), not parquet, or a column missing or of another type.
    """
    if not path.exists():
        raise TableError(f"{path}: no such table; run `dvc repro {path.parent.name}` first")
    try:
        with open_parquet(path) as file:
            held = file.schema_arrow
            missing = [name for name in (schema or held).names if name not in held.names]
            if missing:
                raise TableError(f"{path}: no column {', '.join(missing)}; it holds {', '.join(held.names)}")
            wanted = held if schema is None else schema
            plain = pa.schema([held.field(name) for name in wanted.names])
            for batch in file.iter_batches(rows, columns=wanted.names):
                yield _cast(path, pa.Table.from_batches([batch]), wanted)
            if not file.metadata.num_rows:
                yield _cast(path, plain.empty_table(), wanted)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a parquet table: {error}") from error


def open_parquet(path: Path) -> pq.ParquetFile:
    """A parquet file of which memory holds what is looked at, however large its row groups are.

    As it is, pyarrow reads the columns of a row group whole; a table written in one go is a single row group.
    """
    return pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False)


def _cast(path: Path, table: pa.Table, schema: pa.Schema) -> pa.Table:
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise TableError(f"{path}: not of its schema: {error}") from error


class TableWriter:
    """Writes rows as they come."""

    def __init__(self, file: pq.ParquetWriter, schema: pa.Schema, where: str) -> None:
        self._file, self._schema, self._where = file, schema, where
        self._rows: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row.

        Raises:
            TableError: it, or one of the last few thousand, has other keys or types than the schema.
        """
        self._rows.append(row)
        if len(self._rows) == ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Hand on what is held back."""
        self._file.write_table(check_rows(self._rows, self._schema, self._where))
        self._rows = []


@contextmanager
def writing_table(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """A table that is written row by row and appears whole or, after an error, not at all."""
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as file:
        writer = TableWriter(file, schema, str(path))
        yield writer
        writer.flush()


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
