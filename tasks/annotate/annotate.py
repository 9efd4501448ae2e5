"""Teacher answers for records, and their scores. Knows no path but those inside records."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from tasks.core.engine.questions import build_request, read_clip
from tasks.core.engine.types import Completion, Engine, failed
from tasks.core.rewards import accuracy
from tasks.core.schemas.records import CotRow, Record
from tasks.core.text import answer_of, is_well_formed
from tasks.core.video import ReadClip, in_batches

REWARD_VARIANT = "robust"


def answer_all(
    engine: Engine,
    records: Sequence[Record],
    read: ReadClip,
    *,
    decode_workers: int = 0,
    batch_size: int,
    template: str,
    system: str,
    seed: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
) -> Iterator[list[dict[str, Any]]]:
    """Raw answers, batch by batch: problem_id, completion, finish_reason, tokens, error.

    A record whose clip does not decode, or whose prompt does not fit, becomes a row with finish_reason "error".
    The next batch's clips are decoded by `decode_workers` threads while the engine answers.
    """
    for batch, clips in in_batches(records, batch_size, partial(read_clip, read=read), decode_workers):
        requests = [
            build_request(engine, record, clip, key="annotate", template=template, system=system, seed=seed)
            for record, clip in zip(batch, clips, strict=True)
            if not isinstance(clip, str)
        ]
        results = iter(engine.generate(requests, temperature=temperature, top_p=top_p, max_tokens=max_tokens))
        yield [
            raw_answer(record, failed(clip) if isinstance(clip, str) else next(results)[0])
            for record, clip in zip(batch, clips, strict=True)
        ]


def raw_answer(record: Record, completion: Completion) -> dict[str, Any]:
    """Log row of one answer."""
    return {
        "problem_id": record.problem_id,
        "completion": completion.text,
        "finish_reason": completion.finish_reason,
        "tokens": len(completion.token_ids),
        "error": completion.error,
    }


def cot_rows(records: Sequence[Record], answers: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of COT_SCHEMA in record order; an answer that failed has an empty completion and reward 0."""
    return [_cot_row(record, answers[record.problem_id]) for record in records]


def _cot_row(record: Record, answer: Mapping[str, Any]) -> dict[str, Any]:
    text = answer["completion"]
    answered = answer["finish_reason"] != "error"
    score = accuracy(record.problem_type, text, record.solution, REWARD_VARIANT).value if answered else 0.0
    row = CotRow(
        **dataclasses.asdict(record),
        completion=text,
        answer=answer_of(text) or "",
        reward=score,
        finish_reason=answer["finish_reason"],
        error=answer["error"],
    )
    return dataclasses.asdict(row)


def metrics(rows: Sequence[Mapping[str, Any]], answers: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Counts and means of an annotated table; means are over the answered rows, None where there are none.

    `accuracy` is the mean answer reward, by problem type; `truncated` the share of answers cut off at max_tokens.
    """
    answered = [row for row in rows if row["finish_reason"] != "error"]
    by_type: dict[str, list[float]] = defaultdict(list)
    for row in answered:
        by_type[row["problem_type"]].append(row["reward"])
    return {
        "rows": len(rows),
        "errors": len(rows) - len(answered),
        "mean_reward": _mean(answered, lambda row: row["reward"]),
        "well_formed": _mean(answered, lambda row: float(is_well_formed(row["completion"]))),
        "truncated": _mean(answered, lambda row: float(row["finish_reason"] == "length")),
        "mean_tokens": _mean(answered, lambda row: float(answers[row["problem_id"]]["tokens"])),
        "accuracy": {kind: round(fmean(values), 4) for kind, values in sorted(by_type.items())},
    }


def _mean(rows: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float]) -> float | None:
    return round(fmean(map(value, rows)), 4) if rows else None
