"""Which completions are missing: those of all questions, without those in the log.

A completion is kept by what it depends on besides the settings of its folder: the words of the question as the teacher
reads them, the content of the medium, and the number of the sample. Ids, order and neighbours of the rows do not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasks.core.io.digests import value_digest
from tasks.core.io.seeds import derive_seed
from tasks.core.prompts import messages
from tasks.core.schemas.records import Record, is_reversed

Kept = Mapping[tuple[str, int], Mapping[str, Any]]
"""(key of the question, number of the sample) -> row of the log."""


class Question(NamedTuple):
    """A question for the teacher."""

    key: str
    record: Record
    """A record with this question; others may have the same."""
    first: int
    """Number of the first sample that is missing."""
    samples: int
    """How many are missing, from there on."""

    def seed(self, seed: int) -> int:
        """Seed of the first sample asked for; sample i has that of sample 0, plus i."""
        return derive_seed(seed, self.key, "annotate") + self.first


def question_key(record: Record, media_sha256: str, *, template: str, system: str) -> str:
    """Digest of the chat that the teacher reads, of the medium's content, and of its being played backwards."""
    chat = messages(record, template=template, system=system, medium=True)
    return value_digest([chat, media_sha256, *(["reversed"] if is_reversed(record) else [])])


def kept_rows(log: Sequence[Mapping[str, Any]]) -> Kept:
    """Rows of the log by question and sample; the first row of each counts."""
    kept: dict[tuple[str, int], Mapping[str, Any]] = {}
    for row in log:
        kept.setdefault((row["key"], row["sample"]), row)
    return kept


def missing(records: Sequence[Record], keys: Sequence[str], kept: Kept, samples: int) -> list[Question]:
    """The missing samples, in the order of the records; a question of several records is asked once."""
    askers: dict[str, Record] = {}
    for key, record in zip(keys, records, strict=True):
        askers.setdefault(key, record)
    questions = []
    for key, record in askers.items():
        first = next((number for number in range(samples) if (key, number) not in kept), samples)
        if first < samples:
            questions.append(Question(key, record, first, samples - first))
    return questions
