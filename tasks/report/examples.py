"""The test questions that are shown, and every model's answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasks.core.schemas.records import truth_of
from tasks.core.text.tags import answer_of, is_well_formed, think_of
from tasks.report.inputs import Inputs
from tasks.report.numbers import split_rows
from tasks.report.pictures import Pictures
from tasks.report.tables import VIEW_NAMES

RIGHT = 0.999
"""From this score on an answer is shown as right; above 0 and below it as partly right."""

Row = Mapping[str, Any]
"""A row of the answer log, or a test record."""


class Plan(NamedTuple):
    """Which test records are shown, before any clip is opened."""

    shown: list[Row]
    shuffled: Row | None
    """A record for the ordered/shuffled comparison, and the model whose answers it shows."""
    shuffled_model: str


class Option(NamedTuple):
    """One lettered option as shown."""

    text: str
    gold: bool


class Answer(NamedTuple):
    """One model's answer to the question shown."""

    model: str
    verdict: str
    """"right", "partly", "wrong" or "error"."""
    score: float
    extracted: str
    reasoning: str
    """Text of the think block; without one the whole completion, unless that is the answer alone."""
    tokens: int
    note: str
    """What is wrong with the form of the answer or why there is none; empty when nothing is."""


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
    lost = [
        record
        for record in records
        if record.get("temporal")
        and record["data_type"] == "video"
        and _is(ordered.get(record["problem_id"]), "right")
        and _is(shuffled.get(record["problem_id"]), "wrong")
    ]
    return min(lost, key=_hash, default=None)


def plan(inputs: Inputs, models: Sequence[str], count: int) -> Plan:
    """Choose examples: `count` questions for all models, and one shuffled clip for the last model that has one."""
    if not count:
        return Plan([], None, "")
    answered = {model: split_rows(inputs.logs.get(model, []), inputs.cap, "ordered") for model in models}
    shown = choose(inputs.test, answered, count)
    for model in reversed(models):
        shuffled = split_rows(inputs.logs.get(model, []), inputs.cap, "shuffled")
        if (record := choose_shuffled(inputs.test, answered[model], shuffled)) is not None:
            return Plan(shown, record, model)
    return Plan(shown, None, "")


def example(record: Row, inputs: Inputs, models: Sequence[str], pictures: Mapping[int, Pictures]) -> dict[str, Any]:
    """A question with every model's answer on ordered frames, as the template shows it."""
    rows = {
        model: split_rows(inputs.logs.get(model, []), inputs.cap, "ordered").get(record["problem_id"])
        for model in models
    }
    answers = [answer_of_row(model, row) for model, row in rows.items() if row is not None]
    return _question(record, pictures) | {"answers": answers}


def shuffled_example(chosen: Plan, inputs: Inputs, pictures: Mapping[int, Pictures]) -> dict[str, Any] | None:
    """One clip in order, shuffled and left out, with one model's answers; None where there is none to show."""
    if chosen.shuffled is None:
        return None
    log, problem_id = inputs.logs[chosen.shuffled_model], chosen.shuffled["problem_id"]
    answers: list[Answer] = []
    for view, name in VIEW_NAMES.items():
        if (row := split_rows(log, inputs.cap, view).get(problem_id)) is not None:
            answers.append(answer_of_row(f"{chosen.shuffled_model}, {name}", row))
    shuffled = pictures[problem_id].shuffled
    return _question(chosen.shuffled, pictures) | {"answers": answers, "shuffled_frames": shuffled}


def _question(record: Row, pictures: Mapping[int, Pictures]) -> dict[str, Any]:
    """What is shown of the question itself."""
    gold, shown = truth_of(record["solution"]), pictures[record["problem_id"]]
    options = [Option(text, text.strip() == gold or text.startswith(f"{gold}.")) for text in record["options"]]
    time = "temporal" if record["temporal"] else "static" if record["temporal"] is False else ""
    about = [f"question {record['problem_id']}", record["data_type"], record["problem_type"], record.get("skill"), time]
    if len(shown.frames) < shown.total:
        about.append(f"{len(shown.frames)} of {shown.total} frames")
    return {
        "about": " · ".join(part for part in about if part),
        "problem": record["problem"],
        "options": options,
        "gold": gold,
        "gold_shown": any(option.gold for option in options),
        "frames": shown.frames,
        "missing": shown.missing,
    }


def answer_of_row(model: str, row: Row) -> Answer:
    """What the page shows of one log row."""
    completion = str(row["completion"])
    extracted = answer_of(completion) or ""
    bare = completion.strip() in (extracted, f"<answer>{extracted}</answer>")
    notes = []
    if row["error"]:
        notes.append(f"not answered: {row['error']}")
    else:
        notes += [] if is_well_formed(completion) else ["not well formed"]
        notes += [] if row["pipeline_extracted"] else ["no answer could be read"]
        notes += ["cut off"] if row["finish_reason"] == "length" else []
    return Answer(
        model=model,
        verdict=verdict(row),
        score=float(row["pipeline"] or 0.0),
        extracted=extracted,
        reasoning=think_of(completion) or ("" if bare else completion.strip()),
        tokens=int(row["tokens"]),
        note="; ".join(notes),
    )


def verdict(row: Row) -> str:
    """Right, partly, wrong, or error where the question was never put to the model."""
    if row["error"]:
        return "error"
    score = float(row["pipeline"] or 0.0)
    return "right" if score >= RIGHT else "partly" if score > 0 else "wrong"


def _disagree(problem_id: Any, answered: Mapping[str, Mapping[Any, Row]]) -> bool:
    return len({verdict(rows[problem_id]) for rows in answered.values() if problem_id in rows}) > 1


def _is(row: Row | None, wanted: str) -> bool:
    return row is not None and verdict(row) == wanted


def _hash(record: Row) -> str:
    return hashlib.sha256(f"{record['problem_id']}/{record['path']}/{record['problem']}".encode()).hexdigest()
