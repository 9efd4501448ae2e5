"""Rows of a source checked in parts, of a long source in several processes: the parts are the same, in the same order.

This process reads the file; what takes long is to check each row, which needs nothing but the row and the media root.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

import pyarrow as pa

from tasks.core.io.cores import usable_cores
from tasks.core.io.orphan import end_with
from tasks.core.io.rows import RawRow
from tasks.ingest.parse import Candidate, Quarantined, parse_rows
from tasks.ingest.pool import Pool
from tasks.ingest.root import MediaRoot
from tasks.ingest.sources import SourceError

PART_ROWS = 4096
SHORT_PARTS = 4
"""Parts that are checked here before any process is started: a short source would wait longer for it than it takes."""


class Part(NamedTuple):
    """Some rows of a source."""

    table: pa.Table
    """Records, of POOL_SCHEMA."""
    quarantined: list[Quarantined]


Check = Callable[[list[RawRow]], Part]


def part_of(items: Iterable[Candidate | Quarantined]) -> Part:
    """Rows that were checked, as a part."""
    pool, quarantined = Pool(), []
    for item in items:
        if isinstance(item, Quarantined):
            quarantined.append(item)
        else:
            pool.add(item.record, item.source, item.row)
    return Part(pool.table(), quarantined)


def checked_parts(
    rows: Iterable[RawRow], *, source: str, split: str, media_root: MediaRoot, workers: int
) -> Iterator[Part]:
    """Check every row, as `parse_rows` does.

    Args:
        rows: of the source.
        source: its name.
        split: where its records go.
        media_root: under which their media lie.
        workers: processes; no more than there are cores are used, and none beside this one for a short source.

    Raises:
        SourceError: a process was killed; names the source.
    """
    check = partial(_checked, source=source, split=split, media_root=media_root)
    left = iter(rows)
    parts = iter(lambda: list(islice(left, PART_ROWS)), [])
    yield from map(check, islice(parts, SHORT_PARTS))
    workers = min(workers, usable_cores())
    if workers == 1:
        yield from map(check, parts)
    elif (first := next(parts, None)) is not None:
        try:
            yield from _in_processes(check, first, parts, workers)
        except BrokenProcessPool as error:
            raise SourceError(f"ingest.sources: '{source}': a process that checked its rows was killed") from error


def _in_processes(check: Check, first: list[RawRow], parts: Iterator[list[RawRow]], workers: int) -> Iterator[Part]:
    pool = ProcessPoolExecutor(workers, initializer=_begin, initargs=(os.getpid(), check))
    waiting: deque[Future[Part]] = deque()
    parts = chain([first], parts)
    try:
        while True:
            for part in islice(parts, 2 * workers - len(waiting)):
                waiting.append(_sent(pool, check, part))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _sent(pool: ProcessPoolExecutor, check: Check, rows: list[RawRow]) -> Future[Part]:
    """What becomes of a part in another process, or here if it holds a row that is nested too deep to be sent."""
    try:
        # Plain tuples take two thirds of the time of named ones.
        pickled = pickle.dumps(list(map(tuple, rows)), pickle.HIGHEST_PROTOCOL)
    except RecursionError:
        done: Future[Part] = Future()
        done.set_result(check(rows))
        return done
    return pool.submit(_check_here, pickled)


def _checked(rows: list[RawRow], *, source: str, split: str, media_root: MediaRoot) -> Part:
    return part_of(parse_rows(rows, source=source, split=split, media_root=media_root))


_check: Check | None = None
"""Of this process, when it is one of several."""


def _begin(parent: int, check: Check) -> None:
    global _check
    end_with(parent)
    _check = check


def _check_here(pickled: bytes) -> Part:
    assert _check is not None
    return _check(list(map(RawRow._make, pickle.loads(pickled))))
