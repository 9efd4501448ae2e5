"""Completions of the teacher, and the table of them. Reads no paths but those in records."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

from tasks.annotate.plan import Kept, Question
from tasks.core.engine.questions import complete, read_clip
from tasks.core.engine.types import Completion, Engine, Request
from tasks.core.prompts import messages
from tasks.core.rewards import accuracy
from tasks.core.schemas.records import CotRow, Record
from tasks.core.text import answer_of, is_well_formed
from tasks.core.video import ReadClip

REWARD_VARIANT = "robust"
Keep = Literal["best", "all"]


def answer_all(
    engine: Engine,
    questions: Sequence[Question],
    read: ReadClip,
    *,
    decode_workers: int = 0,
    template: str,
    system: str,
    seed: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
) -> Iterator[list[dict[str, Any]]]:
    """Log rows of the questions' samples, question by question, as soon as they are done.

    Rows: key, sample, completion, finish_reason, tokens, prompt_tokens, error. A clip that does not decode, or a prompt
    that does not fit, makes rows with finish_reason "error". Clips are decoded by `decode_workers` threads while the
    engine works.
    """

    def request_of(question: Question) -> Request | str:
        record = question.record
        clip = read_clip(record, read)
        if isinstance(clip, str):
            return clip
        chat = messages(record, template=template, system=system, medium=True)
        return Request(question.key, engine.render(chat), clip, record.data_type, question.seed(seed), question.samples)

    for question, completions in complete(
        engine,
        questions,
        request_of,
        workers=decode_workers,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
    ):
        copies = completions if len(completions) == question.samples else completions * question.samples
        yield [log_row(question.key, question.first + place, copy) for place, copy in enumerate(copies)]


def log_row(key: str, sample: int, completion: Completion) -> dict[str, Any]:
    """Log row of one completion."""
    return {
        "key": key,
        "sample": sample,
        "completion": completion.text,
        "finish_reason": completion.finish_reason,
        "tokens": len(completion.token_ids),
        "prompt_tokens": completion.prompt_tokens,
        "error": completion.error,
    }


def cot_rows(
    records: Sequence[Record], keys: Sequence[str], completions: Kept, samples: int, keep: Keep
) -> list[dict[str, Any]]:
    """Rows of COT_SCHEMA in the order of the records and, of a record, of its samples.

    With `keep` best one row a record: the sample with the highest reward; of several such one that is well formed and
    not cut off, and of those the first. A sample that failed has an empty completion, reward 0 and its error.
    """
    rows = []
    for record, key in zip(records, keys, strict=True):
        made = [_cot_row(record, sample, completions[key, sample]) for sample in range(samples)]
        rows += [max(made, key=_rank)] if keep == "best" else made
    return [dataclasses.asdict(row) for row in rows]


def _rank(row: CotRow) -> tuple[bool, float, bool, bool, int]:
    answered = row.finish_reason != "error"
    return answered, row.reward, is_well_formed(row.completion), row.finish_reason == "stop", -row.sample


def _cot_row(record: Record, sample: int, logged: Mapping[str, Any]) -> CotRow:
    text = logged["completion"]
    answered = logged["finish_reason"] != "error"
    return CotRow(
        **dataclasses.asdict(record),
        completion=text,
        answer=answer_of(text) or "",
        reward=accuracy(record.problem_type, text, record.solution, REWARD_VARIANT).value if answered else 0.0,
        finish_reason=logged["finish_reason"],
        sample=sample,
        error=logged["error"],
    )


def metrics(
    rows: Sequence[Mapping[str, Any]],
    keys: Mapping[int, str],
    completions: Kept,
    samples: int,
    not_asked: Container[str] = (),
) -> dict[str, Any]:
    """Counts and means of an annotated table; means are over the answered rows, None where there are none.

    `accuracy` is the mean answer reward, by problem type; `truncated` the share of completions cut off at max_tokens;
    `asked` and the tokens are those of all samples of all questions, each question counted once.

    Args:
        rows: of the table.
        keys: of the questions, by problem_id.
        completions: all that the table was made of.
        samples: asked for of each question.
        not_asked: keys of questions whose completions are others' retold.
    """
    answered = [row for row in rows if row["finish_reason"] != "error"]
    by_type: dict[str, list[float]] = defaultdict(list)
    for row in answered:
        by_type[row["problem_type"]].append(row["reward"])
    questions = [key for key in dict.fromkeys(keys.values()) if key not in not_asked]
    asked = [completions[key, sample] for key in questions for sample in range(samples)]
    tokens = {id(row): completions[keys[row["problem_id"]], row["sample"]]["tokens"] for row in answered}
    return {
        "rows": len(rows),
        "errors": len(rows) - len(answered),
        "mean_reward": _mean(answered, lambda row: row["reward"]),
        "well_formed": _mean(answered, lambda row: float(is_well_formed(row["completion"]))),
        "truncated": _mean(answered, lambda row: float(row["finish_reason"] == "length")),
        "mean_tokens": _mean(answered, lambda row: float(tokens[id(row)])),
        "accuracy": {kind: round(fmean(values), 4) for kind, values in sorted(by_type.items())},
        "samples": samples,
        "asked": len(asked),
        "failed": sum(row["finish_reason"] == "error" for row in asked),
        # A prompt is read once for all samples asked for together.
        "prompt_tokens": sum(row["prompt_tokens"] for row in asked if row["sample"] == 0),
        "completion_tokens": sum(row["tokens"] for row in asked),
    }


def _mean(rows: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float]) -> float | None:
    return round(fmean(map(value, rows)), 4) if rows else None
