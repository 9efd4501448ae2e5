"""What is expected of the tables between stages: the checks of each gate, as data.

Each check names a Great Expectations expectation and the frame it looks at (`frames.py` makes the frames). A critical
failure stops the pipeline; a warning is reported.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tasks.core.schemas.answers import ANSWER_NAME, PROTOCOLS, TEST_SPLIT
from tasks.core.schemas.records import DATA_TYPES, PROBLEM_TYPES, VIEWS

CRITICAL, WARNING = "critical", "warning"
FINISH_REASONS = ("stop", "length", "error")
# Spelled out, Arrow can look for them; for \s and \S pandas makes a Python text of every value, in ten times the time.
_SPACES = r"\t\n\x0b\x0c\r\x1c-\x1f \x85\xa0" "\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SOMETHING = f"[^{_SPACES}]"
_TAGGED_ANSWER = rf"(?s)\A<answer>[{_SPACES}]*{_SOMETHING}.*</answer>\Z"
_TAGGED_THINK = r"(?s)\A<think>\s*\S.*</think>\Z"
_SHA256 = r"\A[0-9a-f]{64}\Z"
REFUSALS = ("record", "path", "media", "duplicate", "repeat", "leak")


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One expectation of one frame."""

    name: str
    """Unique in its gate; says what holds when it passes."""
    frame: str
    expect: str
    """Class name of the expectation."""
    arguments: dict[str, Any]
    severity: str = CRITICAL
    where: tuple[str, str] | None = None
    """(column, value): only rows with this value are looked at."""


def records_checks(*, max_quarantined_share: float, min_rows: int) -> list[Check]:
    """Tables of ingest: frames records, manifest, tables (one row per table and for the quarantine)."""
    choice = ("problem_type", "multiple choice")
    return [
        *_record_checks("records", ["split", "problem_id"]),
        _true("medium decodes", "records", "medium_ok"),
        _true("true letter names an option", "records", "truth_is_option", where=choice),
        _true("true number holds a digit", "records", "truth_has_digit", severity=WARNING),
        _true("test question not among training questions", "records", "unseen", severity=WARNING),
        _match("sha256 is one", "manifest", "sha256", _SHA256),
        _between("media files are not empty", "manifest", "size_bytes", low=1),
        _between("decoded media have frames", "manifest", "frames", low=1, where=("status", "ok")),
        _match("media status is told", "manifest", "status", _SOMETHING),
        _true("frames, rate and duration of a clip agree", "manifest", "times_agree", severity=WARNING),
        _between("decoded clips last", "manifest", "duration_seconds", low=0, where=("data_type", "video")),
        _match("reason of a refusal is told", "quarantine", "reason", _SOMETHING),
        _in_set("kind of a refusal is known", "quarantine", "kind", REFUSALS),
        _unique("media files are listed once", "files", ["path", "data_type"]),
        _between("tables hold enough rows", "tables", "rows", low=min_rows, where=("kind", "table")),
        _between(
            "few rows are quarantined", "tables", "share", high=max_quarantined_share, where=("kind", "quarantine")
        ),
    ]


def cot_checks(*, min_rows: int) -> list[Check]:
    """Annotated table: frame cot."""
    return [
        *_record_checks("cot", ["problem_id", "sample"]),
        _between("table holds enough rows", "tables", "rows", low=min_rows),
        _in_set("finish reason is known", "cot", "finish_reason", FINISH_REASONS),
        _true("reward is a share", "cot", "reward_is_share"),
        _true("answer is the completion's first", "cot", "answer_matches"),
        _true("a row without a completion says why, and no other", "cot", "error_iff_failed"),
        _true("at least half of the rows were answered", "cot", "answered", mostly=0.5),
        _true("nearly all rows were answered", "cot", "answered", mostly=0.98, severity=WARNING),
        _true("half of the answers are well formed", "cot", "well_formed", mostly=0.5, severity=WARNING),
        _in_set("few answers are cut off", "cot", "finish_reason", ("stop", "error"), mostly=0.8, severity=WARNING),
    ]


def sft_checks(*, min_rows: int) -> list[Check]:
    """Tables of filter: frames sft and rejected."""
    return [
        *_record_checks("sft", ["problem_id", "text"], ids="texts"),
        _between("table holds enough rows", "tables", "rows", low=min_rows),
        _match("reasoning is tagged and not empty", "sft", "process", _TAGGED_THINK),
        _true("one think block and one answer", "sft", "well_formed"),
        _true("reward is a share", "sft", "reward_is_share"),
        _unique("reasoning is not copied between rows", "texts", ["text"], severity=WARNING),
        _true("a rejected row is charged to the first rule that it breaks", "rejected", "rule_is_first"),
        _match("a rejected row names its rule", "rejected", "rule", _SOMETHING),
        _true("reward of a rejected row is a share", "rejected", "reward_is_share"),
    ]


def predictions_checks(*, min_rows: int) -> list[Check]:
    """Answer logs of all models, every suite's: frames predictions and logs (one row per model and suite)."""
    frame, split = "predictions", ("benchmark", TEST_SPLIT)
    return [
        _unique("one row per model and question as it was put", frame, list(ANSWER_NAME)),
        _unique("key names one row of a model", frame, ["model", "key"]),
        _rows("table holds enough rows", frame, min_rows),
        _in_set("protocol is known", frame, "protocol", PROTOCOLS),
        _in_set("view is known", frame, "view", VIEWS),
        _in_set("problem type is known", frame, "problem_type", PROBLEM_TYPES),
        _in_set("data type is known", frame, "data_type", DATA_TYPES),
        _in_set("finish reason is known", frame, "finish_reason", FINISH_REASONS),
        _match("question is not empty", frame, "question", _SOMETHING),
        _true("scores are shares", frame, "scores_are_shares"),
        _between("token count is not negative", frame, "tokens", low=0),
        _true("an error has its kind and no score, an answer has a score or a reason", frame, "scored_or_told"),
        _true("extracted text is the completion's first answer", frame, "extracted_matches", where=split),
        _true("score of an unread answer is 0", frame, "unread_is_zero", where=split),
        _true("log carries its model's and its suite's name", frame, "names_are_file"),
        _between("models answered the same questions", "logs", "missing", high=0),
        _between("at least half of the test split was answered", "logs", "error_share", high=0.5, where=split),
        _between("at least half of each log was answered", "logs", "error_share", high=0.5, severity=WARNING),
        _between("nearly all rows were answered", "logs", "error_share", high=0.02, severity=WARNING),
    ]


def _record_checks(frame: str, key: list[str], *, ids: str = "ids") -> list[Check]:
    """What holds for a record in every table; `key` names a row in the frame `ids`."""
    return [
        _unique("problem_id is unique", ids, key),
        _in_set("data type is known", frame, "data_type", DATA_TYPES),
        _in_set("problem type is known", frame, "problem_type", PROBLEM_TYPES),
        _match("problem is not empty", frame, "problem", _SOMETHING),
        _match("path is not empty", frame, "path", _SOMETHING),
        _match("solution is a tagged answer", frame, "solution", _TAGGED_ANSWER),
        _between("multiple choice has options", frame, "n_options", low=2, where=("problem_type", "multiple choice")),
    ]


def _true(
    name: str,
    frame: str,
    column: str,
    *,
    severity: str = CRITICAL,
    mostly: float = 1.0,
    where: tuple[str, str] | None = None,
) -> Check:
    return _in_set(name, frame, column, (True,), severity=severity, mostly=mostly, where=where)


def _in_set(
    name: str,
    frame: str,
    column: str,
    values: tuple[Any, ...],
    *,
    severity: str = CRITICAL,
    mostly: float = 1.0,
    where: tuple[str, str] | None = None,
) -> Check:
    arguments = {"column": column, "value_set": list(values), "mostly": mostly}
    return Check(name, frame, "ExpectColumnValuesToBeInSet", arguments, severity, where)


def _match(name: str, frame: str, column: str, regex: str) -> Check:
    return Check(name, frame, "ExpectColumnValuesToMatchRegex", {"column": column, "regex": regex})


def _between(
    name: str,
    frame: str,
    column: str,
    *,
    low: float | None = None,
    high: float | None = None,
    severity: str = CRITICAL,
    where: tuple[str, str] | None = None,
) -> Check:
    arguments = {"column": column, "min_value": low, "max_value": high}
    return Check(name, frame, "ExpectColumnValuesToBeBetween", arguments, severity, where)


def _unique(name: str, frame: str, columns: list[str], *, severity: str = CRITICAL) -> Check:
    if len(columns) == 1:
        return Check(name, frame, "ExpectColumnValuesToBeUnique", {"column": columns[0]}, severity)
    return Check(name, frame, "ExpectCompoundColumnsToBeUnique", {"column_list": columns}, severity)


def _rows(name: str, frame: str, low: int) -> Check:
    return Check(name, frame, "ExpectTableRowCountToBeBetween", {"min_value": low})
