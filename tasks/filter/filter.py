"""The stage as a function: annotated rows in, rows to learn from and rejected rows out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tasks.core.rewards import accuracy
from tasks.core.schemas.records import CotRow, Record
from tasks.filter.rules import Rule, reasoning

REWARD_VARIANT = "robust"


class FilterResult(NamedTuple):
    """Rows of SFT_SCHEMA and of REJECTED_SCHEMA; together as many as came in."""

    kept: list[dict[str, Any]]
    rejected: list[dict[str, Any]]


def filter_rows(rows: Iterable[CotRow], rules: Mapping[str, Rule]) -> FilterResult:
    """Keep the rows that break no rule.

    Rewards are computed anew, so that a changed reward needs no new annotation. A kept row's `process` is the teacher's
    reasoning in its tags; its `solution` stays the true one: the teacher's own answer is not learned from.
    """
    result = FilterResult([], [])
    for given in rows:
        reward = accuracy(given.problem_type, given.completion, given.solution, REWARD_VARIANT).value
        row = dataclasses.replace(given, reward=reward)
        broken = [name for name, holds in rules.items() if not holds(row)]
        if broken:
            result.rejected.append({**dataclasses.asdict(row), "rule": broken[0], "rules": broken})
            continue
        record = {field.name: getattr(row, field.name) for field in dataclasses.fields(Record)}
        result.kept.append({**record, "process": f"<think>{reasoning(row)}</think>", "reward": reward})
    return result


def summarise(result: FilterResult, rules: Mapping[str, Rule]) -> dict[str, Any]:
    """Counts for reports/filter/metrics.json.

    `rejected`: rows by the first rule they break (they sum to `rejected_rows`); `breaking`: rows that break it at all.
    """
    total = len(result.kept) + len(result.rejected)
    first = Counter(row["rule"] for row in result.rejected)
    every = Counter(name for row in result.rejected for name in row["rules"])
    return {
        "rows": total,
        "kept": len(result.kept),
        "rejected_rows": len(result.rejected),
        "rejected_share": round(len(result.rejected) / total, 4) if total else None,
        "rejected": {name: first[name] for name in rules},
        "breaking": {name: every[name] for name in rules},
    }
