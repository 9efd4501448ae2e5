"""Rows of a source checked in one process and in two."""

import json
import os
import signal

import pytest

from tasks.core.io.rows import RawRow, RowsError
from tasks.ingest import parts
from tasks.ingest.parse import parse_rows
from tasks.ingest.pool import joined
from tasks.ingest.root import MediaRoot
from tasks.ingest.sources import SourceError

ROW = {
    "problem": "How many?",
    "data_type": "image",
    "problem_type": "numerical",
    "options": [],
    "process": "",
    "solution": "<answer>4</answer>",
    "path": "a.png",
    "data_source": "",
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Parts of three rows, processes from the second on."""
    monkeypatch.setattr(parts, "PART_ROWS", 3)
    monkeypatch.setattr(parts, "SHORT_PARTS", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


@pytest.fixture
def root(tmp_path):
    (tmp_path / "a.png").touch()
    return MediaRoot(tmp_path)


def rows(count):
    """Every fourth row has a fault, of three kinds."""
    faults = [{"problem": ""}, {"path": "gone.png"}, {"solution": "4"}]
    values = [{**ROW, "problem_id": i, **(faults[i // 4 % 3] if i % 4 == 3 else {})} for i in range(count)]
    return [RawRow(i, value, "line 5: not JSON" if i == 5 else "") for i, value in enumerate(values)]


def checked(given, media_root, workers):
    return list(parts.checked_parts(given, source="s", split="train", media_root=media_root, workers=workers))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 40])
def test_two_processes_give_what_one_gives(root, count):
    given = rows(count)
    plain = parts.part_of(parse_rows(given, source="s", split="train", media_root=root))
    for workers in (1, 2):
        made = checked(given, root, workers)
        assert joined([part.table for part in made]).equals(joined([plain.table]))
        assert [row for part in made for row in part.quarantined] == plain.quarantined


def test_the_rows_are_checked_elsewhere(root):
    class Telling:
        def locate(self, path, where):
            return str(os.getpid())

    made = [part.table.column("path").to_pylist() for part in checked(rows(40), Telling(), 2)]
    assert set(made[0]) == {str(os.getpid())}
    assert str(os.getpid()) not in {path for paths in made[1:] for path in paths}


@pytest.mark.parametrize("depth", [400, 900])
def test_a_row_that_is_nested_too_deep_to_be_sent_costs_nobody(root, depth):
    deep = json.loads("[" * depth + "]" * depth)
    given = [*rows(10), RawRow(10, {**ROW, "problem_id": 10, "extra": deep}), RawRow(11, {**ROW, "options": deep})]
    made = [checked([*given, *rows(20)[12:]], root, workers) for workers in (1, 2)]
    tables = [joined([part.table for part in parts_]) for parts_ in made]
    assert tables[0].equals(tables[1]) and 10 in tables[1].column("row").to_pylist()
    quarantined = [[row for part in parts_ for row in part.quarantined] for parts_ in made]
    assert quarantined[0] == quarantined[1] and 11 in {row.row for row in quarantined[1]}


def test_a_short_source_starts_no_process(root, monkeypatch):
    monkeypatch.setattr(parts, "ProcessPoolExecutor", None)
    assert len(checked(rows(3), root, 2)) == 1


def test_what_reading_raises_is_raised(root):
    def broken():
        yield from rows(20)
        raise RowsError("a.json: breaks off")

    with pytest.raises(RowsError, match="breaks off"):
        checked(broken(), root, 2)


def test_a_killed_process_is_told_with_the_source():
    class Killing:
        def locate(self, path, where):
            if where == "s row 20":
                os.kill(os.getpid(), signal.SIGKILL)
            return path

    with pytest.raises(SourceError, match="'s': a process that checked its rows was killed"):
        checked(rows(40), Killing(), 2)
