"""Reading annotation files as users download them: JSON, JSON lines or parquet, the first that is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.benchmark.suites.base import Annotations, Sample, SuiteError


def find(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of the first pattern that matches any, sorted by name.

    Raises:
        SuiteError: none matches; lists what was looked for.
    """
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            return found
    raise SuiteError(f"{folder}: no annotation file; looked for {', '.join(patterns)}")


def rows_of(path: Path) -> list[Any]:
    """Rows of a parquet, JSON lines or JSON array file; pictures embedded in parquet are left unread.

    Raises:
        SuiteError: not of its format.
    """
    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            plain = [one.name for one in file.schema_arrow if not pa.types.is_struct(one.type)]
            return list(file.read(columns=plain).to_pylist())
        if path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines if line.strip()]
        else:
            rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, pa.ArrowInvalid) as error:
        raise SuiteError(f"{path}: not {path.suffix.removeprefix('.')}: {error}") from error
    if not isinstance(rows, list):
        raise SuiteError(f"{path}: an array of records is wanted, got {type(rows).__name__}")
    return rows


def tree_of(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        SuiteError: not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise SuiteError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SuiteError(f"{path}: a JSON object is wanted, got {type(value).__name__}")
    return value


def text(row: Mapping[str, Any], field: str, where: str) -> str:
    """A text field; whole numbers are taken as their digits.

    Raises:
        SuiteError: missing, or neither text nor a whole number.
    """
    if not isinstance(row, Mapping):
        raise SuiteError(f"{where}: not an object but {type(row).__name__}")
    value = row.get(field)
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise SuiteError(f"{where}: {field}: " + ("missing" if value is None else f"not text but {value!r}"))


def texts(row: Mapping[str, Any], field: str, where: str) -> list[str]:
    """A list of text, empty when null.

    Raises:
        SuiteError: anything else.
    """
    value = row.get(field)
    value = (
        [] if value is None else list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
    )
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise SuiteError(f"{where}: {field}: not a list of text")
    return value


def letter(value: str, options: Sequence[str], field: str, where: str) -> str:
    """An option letter that names one of the options.

    Raises:
        SuiteError: it does not.
    """
    if len(value) == 1 and 0 <= ord(value) - ord("A") < len(options):
        return value
    raise SuiteError(f"{where}: {field}: {value!r} is the letter of none of the {len(options)} options")


def collect(rows: Iterable[tuple[str, Any]], make: Callable[[Any, str], Sample], files: Sequence[Path]) -> Annotations:
    """Samples of (where, row) pairs; a record that `make` refuses, or whose id is taken, costs itself alone."""
    samples: list[Sample] = []
    faults: list[str] = []
    seen: set[str] = set()
    for where, row in rows:
        try:
            sample = make(row, where)
        except SuiteError as error:
            faults.append(str(error))
            continue
        if sample.sample_id in seen:
            faults.append(f"{where}: id {sample.sample_id} comes twice")
            continue
        seen.add(sample.sample_id)
        samples.append(sample)
    return Annotations(samples, faults, list(files))


def numbered(path: Path, rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Rows of a file with where they are."""
    return ((f"{path}: record {number}", row) for number, row in enumerate(rows))
