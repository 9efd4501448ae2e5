"""The stage as functions: annotated rows in, rows to learn from and rejected rows out, one question at a time."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from tasks.core.rewards import accuracy
from tasks.core.schemas.records import PROBLEM_TYPES, CotRow, Record
from tasks.filter.rules import Rule, Sample, same_answer, sample_of

REWARD_VARIANT = "robust"
PUBLISHED_VARIANT, PUBLISHED_THRESHOLD = "strict", 0.6
"""The published filter: generate_cot_vllm.py, `select = reward > 0.6`."""
SURPLUS = "surplus"
EXAMPLES = 3
_SHOWN_CHARS = 600


class Decision(NamedTuple):
    """What becomes of one annotated row."""

    row: dict[str, Any]
    """Row of SFT_SCHEMA when it is kept, of REJECTED_SCHEMA when not."""
    broken: list[str]
    """Rules that it breaks; none when it is kept."""
    problem_type: str
    is_published: bool
    """Whether the published threshold alone would keep it."""


def filter_rows(
    rows: Iterable[CotRow], rules: Mapping[str, Rule], max_per_question: int | None = 1
) -> Iterator[Decision]:
    """Decide on every row; completions of one question stand together.

    Rewards are computed anew, so that a changed reward needs no new annotation. A kept row's `process` is the teacher's
    reasoning in its tags; its `solution` stays the true one: the teacher's own answer is not learned from.

    Args:
        rows: annotated.
        rules: by name; a rejected row is charged to the first it breaks.
        max_per_question: most rows kept of a question, by reward and then by order; None keeps all.
    """
    for _, group in groupby(rows, key=lambda row: row.problem_id):
        samples = _samples(list(group))
        broken = [[name for name, holds in rules.items() if not holds(sample)] for sample in samples]
        good = [place for place, rules_broken in enumerate(broken) if not rules_broken]
        best = sorted(good, key=lambda place: (-samples[place].row.reward, place))
        for place in best[max_per_question:] if max_per_question is not None else []:
            broken[place] = [SURPLUS]
        yield from (_decide(sample, names) for sample, names in zip(samples, broken, strict=True))


def _samples(rows: list[CotRow]) -> list[Sample]:
    """The completions of one question, with how far they agree."""
    scored = [
        dataclasses.replace(row, reward=accuracy(row.problem_type, row.completion, row.solution, REWARD_VARIANT).value)
        for row in rows
    ]
    if len(scored) == 1:
        return [sample_of(scored[0])]
    samples = [sample_of(row) for row in scored]
    answers = [same_answer(sample.row.problem_type, sample.answer) for sample in samples]
    counts = Counter(answers)
    return [
        sample._replace(consistency=counts[answer] / len(samples))
        for sample, answer in zip(samples, answers, strict=True)
    ]


def _decide(sample: Sample, broken: list[str]) -> Decision:
    row = sample.row
    published = accuracy(row.problem_type, row.completion, row.solution, PUBLISHED_VARIANT).value > PUBLISHED_THRESHOLD
    if broken:
        values = {**_values(row), "rule": broken[0], "rules": broken}
    else:
        record = {field.name: getattr(row, field.name) for field in dataclasses.fields(Record)}
        values = {**record, "process": f"<think>{sample.reasoning}</think>", "reward": row.reward}
    return Decision(values, broken, row.problem_type, published)


def _values(row: CotRow) -> dict[str, Any]:
    # Not dataclasses.asdict: it copies what nobody changes.
    return {field.name: getattr(row, field.name) for field in dataclasses.fields(CotRow)}


class Tally:
    """Counts of a filter's decisions."""

    def __init__(self, rules: Iterable[str]) -> None:
        self._rules = [*rules, SURPLUS]
        self._first: Counter[str] = Counter()
        self._every: Counter[str] = Counter()
        self._by_type: dict[str, Counter[str]] = defaultdict(Counter)
        self._rows: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        self._published: Counter[tuple[bool, bool]] = Counter()
        self._examples: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def count(self, decision: Decision) -> None:
        """Take one decision in."""
        kind, broken = decision.problem_type, decision.broken
        self._rows[kind] += 1
        self._kept[kind] += not broken
        self._published[not broken, decision.is_published] += 1
        if broken:
            self._first[broken[0]] += 1
            self._every.update(broken)
            self._by_type[broken[0]][kind] += 1
            if len(self._examples[broken[0]]) < EXAMPLES:
                self._examples[broken[0]].append(_example(decision.row))

    def summary(self) -> dict[str, Any]:
        """Counts for reports/filter/metrics.json.

        `rejected`: rows by the first rule they break (they sum to `rejected_rows`); `breaking`: rows that break it at
        all; `funnel`: rows left behind each rule; `published`: beside what the published threshold alone keeps.
        """
        total, kept = self._rows.total(), self._kept.total()
        left, funnel = total, []
        for name in self._rules:
            left -= self._first[name]
            funnel.append({"rule": name, "left": left})
        alone = self._published[True, True] + self._published[False, True]
        return {
            "rows": total,
            "kept": kept,
            "rejected_rows": total - kept,
            "rejected_share": round((total - kept) / total, 4) if total else None,
            "rejected": {name: self._first[name] for name in self._rules},
            "breaking": {name: self._every[name] for name in self._rules},
            "funnel": funnel,
            "by_type": {
                kind: {
                    "rows": self._rows[kind],
                    "kept": self._kept[kind],
                    "rejected": {name: self._by_type[name][kind] for name in self._rules if self._by_type[name][kind]},
                }
                for kind in PROBLEM_TYPES
                if self._rows[kind]
            },
            "published": {
                "rule": f"{PUBLISHED_VARIANT} reward > {PUBLISHED_THRESHOLD}",
                "kept": alone,
                "kept_share": round(alone / total, 4) if total else None,
                "kept_by_both": self._published[True, True],
                "kept_here_alone": self._published[True, False],
            },
            "examples": {name: self._examples[name] for name in self._rules if self._examples[name]},
        }


def _example(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in ("problem_id", "source", "problem_type", "problem", "completion", "solution")}
    return {
        **{name: value[:_SHOWN_CHARS] if isinstance(value, str) else value for name, value in shown.items()},
        "reward": round(row["reward"], 4),
        "rules": row["rules"],
    }
