"""Which test questions are shown, and what every model said about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasks.core.text.tags import think_of

RIGHT = 0.999
"""From this reward on an answer is shown as right; above 0 and below it as partly right."""

Row = Mapping[str, Any]
"""One line of a benchmark log."""


class Answer(NamedTuple):
    """One model's answer to the question shown."""

    model: str
    verdict: str
    """"right", "partly", "wrong" or "error"."""
    reward: float
    extracted: str
    reasoning: str
    """Text of the think block; without one the whole completion, unless that is the answer alone."""
    tokens: int
    note: str
    """What is wrong with the form of the answer or why there is none; empty when nothing is."""


def by_question(rows: Sequence[Row], view: str) -> dict[Any, Row]:
    """Rows of one view by problem id; a later line replaces an earlier one of the same question."""
    return {row["problem_id"]: row for row in rows if row["view"] == view}


def choose(records: Sequence[Row], answered: Mapping[str, Mapping[Any, Row]], count: int) -> list[Row]:
    """At most `count` test records: one per skill in turn, those first on which the models disagree.

    Within a skill, order is by a hash of the question, so no model's success decides what is shown.

    Args:
        records: Test records.
        answered: Model -> problem id -> log row, on ordered frames.
        count: Most records.
    """
    queues: dict[str, list[Row]] = {}
    for record in records:
        if any(record["problem_id"] in rows for rows in answered.values()):
            queues.setdefault(str(record.get("skill") or record["problem_type"]), []).append(record)
    for queue in queues.values():
        queue.sort(key=lambda r: (not _disagree(r["problem_id"], answered), _hash(r)))
    # Questions of time first: they are what the training is about.
    names = sorted(queues, key=lambda name: (not queues[name][0].get("temporal"), name))
    picked: list[Row] = []
    while len(picked) < count and any(queues.values()):
        for name in names:
            if queues[name] and len(picked) < count:
                picked.append(queues[name].pop(0))
    return picked


def choose_shuffled(records: Sequence[Row], ordered: Mapping[Any, Row], shuffled: Mapping[Any, Row]) -> Row | None:
    """A temporal video question whose answer changes when its frames are shuffled: right before, wrong after.

    None when there is no such question.
    """
    found = [
        record
        for record in records
        if record.get("temporal")
        and record["data_type"] == "video"
        and _is_right(ordered.get(record["problem_id"]))
        and _is_wrong(shuffled.get(record["problem_id"]))
    ]
    return min(found, key=_hash, default=None)


def answer_of_row(model: str, row: Row) -> Answer:
    """What the page shows of one log row."""
    completion, extracted = str(row.get("completion") or ""), str(row.get("extracted") or "")
    bare = completion.strip() in (extracted, f"<answer>{extracted}</answer>")
    reward = float(row.get("reward") or 0.0)
    notes = []
    if row.get("error"):
        notes.append(f"not answered: {row['error']}")
    else:
        notes += [] if row.get("well_formed") else ["not well formed"]
        notes += [] if row.get("parsed", True) else ["no answer could be read"]
        notes += ["cut off"] if row.get("finish_reason") == "length" else []
    return Answer(
        model=model,
        verdict=verdict(row),
        reward=reward,
        extracted=extracted,
        reasoning=think_of(completion) or ("" if bare else completion.strip()),
        tokens=int(row.get("tokens") or 0),
        note="; ".join(notes),
    )


def verdict(row: Row) -> str:
    """Right, partly, wrong, or error where the question was never put to the model."""
    if row.get("error"):
        return "error"
    reward = float(row.get("reward") or 0.0)
    return "right" if reward >= RIGHT else "partly" if reward > 0 else "wrong"


def _disagree(problem_id: Any, answered: Mapping[str, Mapping[Any, Row]]) -> bool:
    return len({verdict(rows[problem_id]) for rows in answered.values() if problem_id in rows}) > 1


def _is_right(row: Row | None) -> bool:
    return row is not None and verdict(row) == "right"


def _is_wrong(row: Row | None) -> bool:
    return row is not None and verdict(row) == "wrong"


def _hash(record: Row) -> str:
    return hashlib.sha256(f"{record['problem_id']}/{record['path']}/{record['problem']}".encode()).hexdigest()
