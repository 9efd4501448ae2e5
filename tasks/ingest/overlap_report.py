"""Overlaps of the tables of ingest: which there are, what is left out for them, and how they are listed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from tasks.ingest.held_out import SPLIT as HELD_OUT
from tasks.ingest.manifest import MediaRow, Medium
from tasks.ingest.overlap import LEAKS, REPEATS, Match, Questions, leaks, repeats
from tasks.ingest.parse import table_id
from tasks.ingest.pool import BATCH_ROWS, Refusal, media_of
from tasks.ingest.wording import UNKNOWN, Asked, Hashes, asked

Action = Literal["report", "quarantine"]
TRAINED = ("train", "rl")
HELD = ("test", HELD_OUT)
EXAMPLES = 5
_SHOWN_CHARS = 300


class Policy(NamedTuple):
    """What becomes of an overlap; the fields of `params.Overlap`."""

    repeats: Action
    leaks: Action
    leaked_texts: Action
    similarity: float

    def of(self, split: str, kind: str) -> Action:
        """For a row of a table: only those that are learned from are ever left out."""
        if split not in TRAINED:
            return "report"
        if kind in REPEATS:
            return self.repeats
        return self.leaked_texts if kind == "text" else self.leaks


class Row(NamedTuple):
    """Where a row stands."""

    split: str
    source: str
    row: int
    problem_id: int
    """Its number in the table."""
    problem: str


class Overlap(NamedTuple):
    """One overlap."""

    row: Row
    other: Row
    kind: str
    similarity: float
    is_left_out: bool

    def values(self) -> dict[str, Any]:
        """Row of OVERLAP_SCHEMA."""
        row, other = self.row, self.other
        return {
            **{"split": row.split, "source": row.source, "row": row.row, "problem_id": row.problem_id},
            **{"kind": self.kind, "similarity": self.similarity, "is_left_out": self.is_left_out},
            **{"other_split": other.split, "other_source": other.source},
            **{"other_row": other.row, "other_id": other.problem_id},
        }


class Overlaps(NamedTuple):
    """What the tables share."""

    listed: list[Overlap]
    refusals: dict[str, list[Refusal]]
    """By split."""


def overlaps(
    tables: Mapping[str, pa.Table],
    media: Mapping[Medium, MediaRow],
    sources: Mapping[str, Sequence[str]],
    policy: Policy,
) -> Overlaps:
    """Repeats within every table but the held-out one, and what train and rl share with the held-out rows.

    Args:
        tables: of POOL_SCHEMA, by split.
        media: facts of their files.
        sources: names by split, in the order of params.yaml.
        policy: what becomes of them.
    """
    questions = {split: questions_of(table, media) for split, table in tables.items()}
    listed: list[Overlap] = []
    refusals: dict[str, dict[int, Refusal]] = defaultdict(dict)
    for split in tables:
        row_at = Places(split, tables[split], sources[split])
        matches = {split: repeats(questions[split], policy.similarity)} if split != HELD_OUT else {}
        if split in TRAINED:
            matches |= {held: leaks(questions[split], questions[held], policy.similarity) for held in HELD}
        for other, of_other in matches.items():
            other_at = Places(other, tables[other], sources[other])
            for match in of_other:
                leaves = policy.of(split, match.kind) == "quarantine"
                item = Overlap(row_at[match.place], other_at[match.other], match.kind, match.similarity, leaves)
                listed.append(item)
                if leaves:
                    refusals[split].setdefault(match.place, _refusal(match, item))
    return Overlaps(
        listed, {split: [of_split[place] for place in sorted(of_split)] for split, of_split in refusals.items()}
    )


class Places:
    """Rows of a table by their place in it."""

    def __init__(self, split: str, table: pa.Table, sources: Sequence[str]) -> None:
        self._split = split
        self._columns = [table.column(name) for name in ("source", "row", "problem_id", "problem")]
        self._order = {name: place for place, name in enumerate(sources)}

    def __getitem__(self, place: int) -> Row:
        source, row, own, problem = (column[place].as_py() for column in self._columns)
        return Row(self._split, source, row, table_id(own, source, self._order[source]), problem)


def questions_of(table: pa.Table, media: Mapping[Medium, MediaRow]) -> Questions:
    """Rows of a table as they are compared."""
    parts = [_asked(batch) for batch in table.to_batches(BATCH_ROWS)]
    columns = zip(*parts, strict=True) if parts else [[], [], []]
    joined = Asked(*(np.concatenate([np.zeros(0, np.uint64), *column]) for column in columns))
    return Questions(joined, _contents(table, media), table.column("problem"))


def _asked(batch: pa.RecordBatch) -> Asked:
    is_choice = batch.column("problem_type").to_numpy(zero_copy_only=False) == "multiple choice"
    return asked(batch.column("problem"), batch.column("options"), batch.column("solution"), is_choice)


def summary(listed: Sequence[Overlap], rows: Mapping[str, int], policy: Policy) -> dict[str, Any]:
    """Counts and examples for reports/ingest/metrics.json; `rows` by split."""
    return {
        "similarity": policy.similarity,
        "held_against": {split: rows[split] for split in HELD},
        **{
            name: {
                **{"action": action, "left_out": sum(item.is_left_out for item in listed if item.kind in kinds)},
                "by_kind": {kind: sum(item.kind == kind for item in listed) for kind in kinds},
                "by_source": _by_source(item for item in listed if item.kind in kinds),
                "examples": _examples(listed, kinds),
            }
            for name, kinds, action in (
                ("repeats", REPEATS, policy.repeats),
                ("leaks", LEAKS[:2], policy.leaks),
                ("leaked_texts", LEAKS[2:], policy.leaked_texts),
            )
        },
    }


def sentence(counts: Mapping[str, Any]) -> str:
    """What `summary` counted, in a line."""
    parts = []
    for name, words in (("repeats", "asked before"), ("leaks", "leaked"), ("leaked_texts", "leaked by their words")):
        kinds = ", ".join(f"{rows} {kind}" for kind, rows in counts[name]["by_kind"].items() if rows)
        left_out = f", {counts[name]['left_out']} left out" if counts[name]["left_out"] else ""
        parts.append(f"{sum(counts[name]['by_kind'].values())} rows {words}{f' ({kinds}{left_out})' if kinds else ''}")
    return "; ".join(parts)


def _by_source(listed: Iterable[Overlap]) -> list[dict[str, Any]]:
    counts = Counter((item.row.split, item.row.source, item.kind, item.other.source) for item in listed)
    names = ("split", "source", "kind", "other_source")
    return [{**dict(zip(names, key, strict=True)), "rows": rows} for key, rows in sorted(counts.items())]


def _examples(listed: Sequence[Overlap], kinds: Sequence[str]) -> list[dict[str, Any]]:
    shown = [item for kind in kinds for item in [item for item in listed if item.kind == kind][:EXAMPLES]]
    return [
        {"kind": item.kind, "similarity": item.similarity, "row": _shown(item.row), "other": _shown(item.other)}
        for item in shown
    ]


def _shown(row: Row) -> dict[str, Any]:
    return row._asdict() | {"problem": row.problem[:_SHOWN_CHARS]}


def _refusal(match: Match, overlap: Overlap) -> Refusal:
    other = f"{overlap.other.source} row {overlap.other.row}"
    says = {
        "exact": f"asks what {other} asks",
        "contradicting": f"asks what {other} asks, with another truth",
        "near": f"asks nearly what {other} asks (similarity {overlap.similarity})",
        "question": f"asks nearly what the held-out {other} asks of the same medium (similarity {overlap.similarity})",
        "medium": f"its medium is that of the held-out {other}",
        "text": f"nearly the words and the truth of the held-out {other} (similarity {overlap.similarity})",
    }
    kind = "repeat" if match.kind in REPEATS else "leak"
    return Refusal(match.place, kind, "path" if match.kind == "medium" else "problem", says[match.kind])


def _contents(table: pa.Table, media: Mapping[Medium, MediaRow]) -> Hashes:
    digests = (media[medium].sha256 if medium.path else "" for medium in media_of(table))
    return np.array([int(digest[:16], 16) if digest else UNKNOWN for digest in digests], dtype=np.uint64)
