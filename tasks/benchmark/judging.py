"""A judge model for answers that no rule can score."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.benchmark.base import JudgePrompt
from tasks.benchmark.marking import sample_of
from tasks.benchmark.protocols.official import official_text
from tasks.benchmark.suites import REGISTRY
from tasks.core.engine.endpoint import Endpoint
from tasks.core.engine.openai import OpenAIEngine
from tasks.core.engine.types import Request

BATCH = 64


def unjudged(rows: Sequence[Mapping[str, Any]], model: str) -> list[Mapping[str, Any]]:
    """Rows under `official` that need a judge and have no reply of this one."""
    return [
        row
        for row in rows
        if row["protocol"] == "official"
        and not row["error_class"]
        and (not row["judge_reply"] or row["judge_model"] != model)
        and question_of(row) is not None
    ]


def question_of(row: Mapping[str, Any]) -> JudgePrompt | None:
    """Question for the judge about a row; None where a rule scores it."""
    suite = REGISTRY[row["benchmark"]]
    return None if suite.judge is None else suite.judge(sample_of(row), official_text(suite, row))


def judge_rows(
    rows: Sequence[Mapping[str, Any]], *, base_url: str, model: str, max_tokens: int
) -> Iterator[list[dict[str, Any]]]:
    """The rows with the judge's replies, batch by batch; a refused question has an empty reply.

    The judge answers at temperature 0, so that a reply can be reproduced.

    Raises:
        EngineError: the judge cannot be reached.
    """
    with OpenAIEngine(Endpoint(base_url, model)) as engine:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            replies = engine.generate(list(map(_request, batch)), temperature=0.0, top_p=1.0, max_tokens=max_tokens)
            yield [
                {**row, "judge_model": model, "judge_reply": reply.text}
                for row, [reply] in zip(batch, replies, strict=True)
            ]


def _request(row: Mapping[str, Any]) -> Request:
    prompt = question_of(row)
    if prompt is None:
        raise ValueError(f"{row['key']}: nothing to judge")
    turns = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
    return Request(row["key"], json.dumps(turns), None, "video", seed=0)
