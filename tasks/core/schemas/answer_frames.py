"""Answer logs of the benchmark as expectations look at them: a row for each answer, and one for each log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.core.schemas.answers import ANSWER_NAME, PROTOCOLS
from tasks.core.schemas.frames import Row, Shards, framed, whole
from tasks.core.text.tags import answer_of, first_answer_of


def predictions_frames(logs: Mapping[tuple[str, str], Sequence[Row]]) -> dict[str, Shards]:
    """Frames of the gate `predictions` from the answer logs, by model (folder) and suite (file name)."""
    columns = (*ANSWER_NAME, "key", "problem_type", "data_type", "question", "finish_reason", "tokens")
    rows = [
        {
            **{name: row[name] for name in columns},
            "row_name": " ".join(str(row[name]) for name in ANSWER_NAME if row[name] != ""),
            # Spelled out, not left to a range check: those pass over NaN.
            "scores_are_shares": all(row[name] is None or 0 <= row[name] <= 1 for name in PROTOCOLS),
            "scored_or_told": _scored_or_told(row),
            "extracted_matches": row["pipeline_extracted"] in ("", *_answers(row["completion"])),
            "unread_is_zero": bool(row["pipeline_extracted"]) or not row["pipeline"],
            "names_are_file": (row["model"], _file_name(row)) == names,
        }
        for names, log in logs.items()
        for row in log
    ]
    asked = {names: {tuple(row[name] for name in ANSWER_NAME[1:]) for row in log} for names, log in logs.items()}
    everything: dict[str, set[tuple[Any, ...]]] = {}
    for (_, suite), questions in asked.items():
        everything.setdefault(suite, set()).update(questions)
    by_log = [
        {
            "log": f"{model}/{suite}",
            "benchmark": suite.partition("-")[0],
            "missing": len(everything[suite] - asked.get((model, suite), set())),
            "error_share": sum(bool(row["error"]) for row in log) / len(log) if log else 0.0,
        }
        for model in dict.fromkeys(model for model, _ in logs)
        for suite in everything
        for log in [logs.get((model, suite), ())]
    ]
    derived = (
        "row_name",
        "scores_are_shares",
        "scored_or_told",
        "extracted_matches",
        "unread_is_zero",
        "names_are_file",
    )
    return {
        "predictions": whole(framed(rows, (*columns, *derived))),
        "logs": whole(framed(by_log, ("log", "benchmark", "missing", "error_share"))),
    }


def _scored_or_told(row: Row) -> bool:
    """Whether an error has its kind and no score, and an answer a score of its protocol or the reason why not."""
    if row["error"]:
        return bool(row["error_class"]) and all(row[name] is None for name in PROTOCOLS)
    return not row["error_class"] and bool(row[f"{row['protocol']}_rule"])


def _file_name(row: Row) -> str:
    """Name of the log that holds a row, without its suffix."""
    return f"{row['benchmark']}-{row['subset']}" if row["subset"] else str(row["benchmark"])


def _answers(completion: str) -> set[str]:
    """What either variant of the rewards reads as the answer."""
    return {answer_of(completion) or "", first_answer_of(completion) or ""}
