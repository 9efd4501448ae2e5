"""From weights back to raw rows: the chain of stages in dvc.lock, and one question through every table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.io.digests import value_digest
from tasks.core.io.jsonl import read_jsonl
from tasks.core.io.tables import TableError

HASH_CHARS = 10
Lock = Mapping[str, Any]
"""Parsed dvc.lock."""


class Link(NamedTuple):
    """One stage of a chain."""

    stage: str
    cmd: str
    inputs: str
    """Digest of command, dependencies and parameters."""
    deps: dict[str, str]
    """Path -> md5."""
    outs: dict[str, str]
    params: dict[str, Any]
    """As DVC names them: a section, or `section.field`."""


class Sighting(NamedTuple):
    """One row of a table that belongs to a question."""

    table: str
    row: int
    values: dict[str, Any]


def maker(folder: str, lock: Lock) -> str | None:
    """Name of the stage whose output holds a path; None where no stage of the lock makes it."""
    for name, stage in lock.get("stages", {}).items():
        if any(covers(str(out["path"]), folder) for out in stage.get("outs", [])):
            return str(name)
    return None


def chain(folder: str, lock: Lock) -> list[Link]:
    """The stages behind a path: the one that made it first, then those that made what it read, back to the inputs."""
    first = maker(folder, lock)
    links, pending, seen = [], [first] if first else [], set()
    while pending:
        name = pending.pop(0)
        if name in seen:
            continue
        seen.add(name)
        link = _link(name, lock["stages"][name])
        links.append(link)
        pending += [other for other, made in lock["stages"].items() if _feeds(made, link.deps)]
    return links


def sources(links: list[Link]) -> dict[str, str]:
    """Path -> md5 of what the chain read and no stage of it made: raw data, given models, code."""
    made = [path for link in links for path in link.outs]
    read = {path: md5 for link in links for path, md5 in link.deps.items()}
    return {path: md5 for path, md5 in sorted(read.items()) if not any(_touch(path, other) for other in made)}


def as_json(folder: str, links: list[Link], commit: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    """A chain as JSON; nothing in it depends on the machine.

    Args:
        folder: what the chain ends in.
        links: `chain`.
        commit: of the code.
        counts: stage -> its report (rows by filter rule, seeds, skipped rows).
    """
    return {
        "model": folder,
        "commit": commit,
        "stages": [{**link._asdict(), "report": counts.get(link.stage, {})} for link in links],
        "sources": sources(links),
    }


def stage_report(reports: Path, stage: str) -> dict[str, Any]:
    """The metrics of a stage or of its item; empty where there are none.

    Args:
        reports: the project's reports folder.
        stage: DVC's name.
    """
    name, _, item = stage.partition("@")
    path = reports / name / f"{item or 'metrics'}.json"
    metrics: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return metrics


def covers(outer: str, inner: str) -> bool:
    """Whether a path is another or holds it."""
    return inner == outer or inner.startswith(f"{outer.rstrip('/')}/")


def trace(problem_id: int, data: Path, models: Mapping[str, str]) -> Iterator[Sighting]:
    """Every row of every table below `data` that has a problem id, in the order of the pipeline.

    Args:
        problem_id: of the question.
        data: folder of the stages' tables.
        models: benchmarked models, whose logs are JSON lines.

    Raises:
        TableError: names the table that is damaged.
    """
    order = ("ingest", "annotate", "filter", "sft", "grpo")
    for path in (path for stage in order for path in sorted((data / stage).glob("*.parquet"))):
        try:
            if "problem_id" not in pq.read_schema(path).names:
                continue
            column = pq.read_table(path, columns=["problem_id"]).column("problem_id").to_pylist()
            rows = [row for row, value in enumerate(column) if str(value) == str(problem_id)]
            table = pq.read_table(path).take(rows).to_pylist() if rows else []
        except (pa.ArrowInvalid, OSError) as error:
            raise TableError(f"{path}: not a parquet table: {error}") from error
        for row, values in zip(rows, table, strict=True):
            yield Sighting(str(path), row, values)
    logs = [path for model in models for path in [data / "benchmark" / f"{model}.jsonl"]]
    logs += [path for model in models for path in sorted((data / "benchmark" / model).glob("*.jsonl"))]
    for path in logs:
        for row, values in enumerate(read_jsonl(path)):
            if str(values.get("problem_id")) == str(problem_id):
                yield Sighting(str(path), row, values)


def _link(name: str, entry: Mapping[str, Any]) -> Link:
    return Link(
        stage=name,
        cmd=str(entry.get("cmd", "")),
        inputs=value_digest({key: entry.get(key) for key in ("cmd", "deps", "params")})[:HASH_CHARS],
        deps={str(dep["path"]): _md5(dep) for dep in entry.get("deps", [])},
        outs={str(out["path"]): _md5(out) for out in entry.get("outs", [])},
        params=dict(entry.get("params", {}).get("params.yaml", {})),
    )


def _feeds(made: Mapping[str, Any], deps: Mapping[str, str]) -> bool:
    """Whether a stage makes one of the dependencies; one that only writes reports makes none."""
    outs = [str(out["path"]) for out in made.get("outs", [])]
    if all(out.startswith("reports/") for out in outs):
        return False
    return any(_touch(out, dep) for out in outs for dep in deps)


def _touch(first: str, second: str) -> bool:
    return covers(first, second) or covers(second, first)


def _md5(entry: Mapping[str, Any]) -> str:
    return str(entry.get("md5") or entry.get("hash") or "")
