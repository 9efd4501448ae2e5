"""Completions about clips played backwards that nobody is asked for: those of the forward clips retold. Pure.

With `annotate.retell` a reversed row whose answer turns round with its clip has, sample by sample, its forward row's
completion with every word of direction and every letter in reasoning and answer exchanged (`retelling.py`). It is then
scored against its own truth as any other: a wrong completion stays wrong. A reversed row whose answer stays is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasks.annotate.plan import Kept
from tasks.core.schemas.mapping import Mapped, mapped
from tasks.core.schemas.pairs import reversed_id
from tasks.core.schemas.records import Record, is_reversed
from tasks.core.schemas.retelling import Retold, retold, turned
from tasks.core.text import answer_of, is_well_formed, think_of


class Told(NamedTuple):
    """A row that is retold, and what of."""

    key: str
    """Of the reversed row's question."""
    forward: Record
    forward_key: str
    backwards: Mapped


def told_backwards(records: Sequence[Record], keys: Sequence[str]) -> list[Told]:
    """The reversed rows whose answer turns round with the clip, with their forward rows; `keys` of all questions."""
    forward = {record.problem_id: (record, key) for record, key in zip(records, keys, strict=True)}
    told = []
    for record, key in zip(records, keys, strict=True):
        if is_reversed(record):
            asked, asked_key = forward[reversed_id(record.problem_id)]
            backwards = mapped(asked, "reversed")
            if isinstance(backwards, Mapped) and backwards.relation == "change":
                told.append(Told(key, asked, asked_key, backwards))
    return told


def retold_completions(told: Sequence[Told], completions: Kept, samples: int) -> dict[tuple[str, int], dict[str, Any]]:
    """Log rows of the reversed questions, as those of completions; where a rule retells none, an error says why."""
    return {
        (row.key, sample): _retold_row(row, sample, completions[row.forward_key, sample])
        for row in told
        for sample in range(samples)
    }


def _retold_row(row: Told, sample: int, logged: Mapping[str, Any]) -> dict[str, Any]:
    text = _retold_text(row, logged)
    tokens = {"tokens": logged["tokens"], "prompt_tokens": 0}
    if isinstance(text, Retold):
        said = {"completion": text.text, "finish_reason": logged["finish_reason"], "error": ""}
    else:
        said = {"completion": "", "finish_reason": "error", "error": f"not retold: {text}"}
    return {"key": row.key, "sample": sample, **tokens, **said}


def _retold_text(row: Told, logged: Mapping[str, Any]) -> Retold | str:
    text = logged["completion"]
    if logged["finish_reason"] == "error":
        return "the forward clip has no completion"
    if not is_well_formed(text):
        return "the forward completion is not one think and one answer block"
    reasoning = retold(row.forward, row.backwards, think_of(text) or "")
    if isinstance(reasoning, str):
        return reasoning
    answer = turned(row.forward, answer_of(text) or "")
    return Retold(f"<think>{reasoning.text}</think>\n<answer>{answer}</answer>")


def retold_counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`retold`, and `not_retold`: how many completions no rule retells, by reason.

    Args:
        rows: of `retold_completions`.
    """
    refused = Counter(row["error"].removeprefix("not retold: ") for row in rows if row["error"])
    return {"retold": len(rows) - refused.total(), "not_retold": dict(refused)}
