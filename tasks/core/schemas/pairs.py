"""Reversed pairs among rows (`annotate.pairs`, `grpo.rows.pairs`): what gives one answer away misleads on the other.

    rows about order   a b c d e ...      those whose answer on the reversed clip a rule tells (core/schemas/mapping.py)
    become             a A c C e ...      A: the clip of a backwards, with the answer that it then has

So there are as many rows as before, half of those about order reversed, and every other row stays. Nothing is written:
a reversed clip is the same frames in the other order. A reversed row has the id -1 - i where its forward row has i.
`python -m measure.contest` compares such pairs (`sft_pairs`, `grpo_pairs`) with plain rows and with placebos, at equal
operations. Its pairs are files by `tasks.counterfactual`, of moving figures alone: same answers, clips encoded anew.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from tasks.core.schemas.mapping import Mapped, mapped
from tasks.core.schemas.records import Record

_QUOTED = re.compile(r"(?<= )(['\"]).*\1(?= )", re.DOTALL)
"""Words of a row within a reason."""


class Paired(NamedTuple):
    """Rows to learn from, in the order of those given."""

    records: list[Record]
    reversed_ids: frozenset[int]
    """Problem ids of rows whose clip is shown backwards."""
    counts: dict[str, Any]
    """`pairs`, and `not_paired`: how many rows no rule maps, by reason."""


def paired(records: Sequence[Record]) -> Paired:
    """Every second row about order replaced by the reverse of the one before it; a last one without a second stays."""
    rows = list(records)
    waiting: tuple[Record, Mapped] | None = None
    reversed_ids, not_paired = set[int](), Counter[str]()
    for place, record in enumerate(rows):
        backwards = mapped(record, "reversed")
        if isinstance(backwards, str):
            not_paired[_QUOTED.sub("...", backwards)] += 1
        elif waiting is None:
            waiting = record, backwards
        else:
            forward, its_answer = waiting
            rows[place] = dataclasses.replace(its_answer.record, problem_id=reversed_id(forward.problem_id))
            reversed_ids.add(rows[place].problem_id)
            waiting = None
    return Paired(rows, frozenset(reversed_ids), {"pairs": len(reversed_ids), "not_paired": dict(not_paired)})


def reversed_id(problem_id: int) -> int:
    """Id of a row's reversed one, and of a reversed one's forward row: ids of sources are 0 or more."""
    return -1 - problem_id
