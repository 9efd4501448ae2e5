"""Putting answers that no rule can score to a judge model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tasks.benchmark.base import JudgePrompt
from tasks.benchmark.marking import sample_of
from tasks.benchmark.protocols.official import official_text
from tasks.benchmark.suites import REGISTRY
from tasks.core.engine.endpoint import Endpoint
from tasks.core.engine.openai import chat

BATCH = 64


def unjudged(rows: Sequence[Mapping[str, Any]], model: str) -> list[Mapping[str, Any]]:
    """Rows under `official` that ask for a judge and have no reply of this one."""
    return [
        row
        for row in rows
        if row["protocol"] == "official"
        and not row["error_class"]
        and (not row["judge_reply"] or row["judge_model"] != model)
        and question_of(row) is not None
    ]


def question_of(row: Mapping[str, Any]) -> JudgePrompt | None:
    """What a judge is asked about a row; None where a rule scores it."""
    suite = REGISTRY[row["benchmark"]]
    return None if suite.judge is None else suite.judge(sample_of(row), official_text(suite, row))


def judge_rows(
    rows: Sequence[Mapping[str, Any]], *, base_url: str, model: str, max_tokens: int
) -> Iterator[list[dict[str, Any]]]:
    """The rows with the judge's replies, batch by batch; a refused question keeps an empty one.

    The judge answers at temperature 0, so that a judgement can be repeated.

    Raises:
        EngineError: the judge cannot be reached.
    """
    endpoint = Endpoint(base_url, model)
    client = endpoint.client()

    def reply(row: Mapping[str, Any]) -> dict[str, Any]:
        prompt = question_of(row)
        if prompt is None:
            raise ValueError(f"{row['key']}: nothing to judge")
        turns = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
        completion = chat(client, model, turns, temperature=0.0, max_tokens=max_tokens)[0]
        return {**row, "judge_model": model, "judge_reply": completion.text}

    with ThreadPoolExecutor(endpoint.concurrency) as pool:
        for start in range(0, len(rows), BATCH):
            yield list(pool.map(reply, rows[start : start + BATCH]))
