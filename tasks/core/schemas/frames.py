"""Tables as the suites look at them: columns of the schema, and derived ones that say per row whether a rule holds.

Rows come in as dicts of the table schemas (types and missing columns are settled when they are read). Lists stay out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tasks.core.schemas.answers import ANSWER_NAME, PROTOCOLS
from tasks.core.schemas.records import truth_of
from tasks.core.text.options import is_letter_of
from tasks.core.text.tags import answer_of, first_answer_of, is_well_formed

Row = Mapping[str, Any]
_RECORD = ("problem_id", "problem", "data_type", "problem_type", "process", "solution", "path")
_NUMBER_TYPES = ("numerical", "regression")


def records_frames(
    tables: Mapping[str, Sequence[Row]], manifest: Sequence[Row], quarantine: Sequence[Row]
) -> dict[str, pd.DataFrame]:
    """Frames of the records suite from the tables of ingest, by split."""
    media = {(row["path"], row["data_type"]): row for row in manifest}
    trained = {_question(row, media) for split, rows in tables.items() if split != "test" for row in rows}
    records = [
        {
            **_record(row),
            "split": split,
            "row_name": f"{split} {row['problem_id']}",
            "medium_ok": media.get((row["path"], row["data_type"]), {}).get("status") == "ok",
            "truth_is_option": is_letter_of(truth_of(row["solution"]), row["options"]),
            "truth_has_digit": row["problem_type"] not in _NUMBER_TYPES or any(map(str.isdigit, row["solution"])),
            "unseen": split != "test" or _question(row, media) not in trained,
        }
        for split, rows in tables.items()
        for row in rows
    ]
    total = len(records) + len(quarantine)
    share = len(quarantine) / total if total else 0.0
    counts = [{"name": name, "kind": "table", "rows": len(rows), "share": 0.0} for name, rows in tables.items()]
    counts.append({"name": "quarantine", "kind": "quarantine", "rows": len(quarantine), "share": share})
    extra = ("split", "row_name", "medium_ok", "truth_is_option", "truth_has_digit", "unseen")
    return {
        "records": _frame(records, (*_RECORD, "n_options", *extra)),
        "manifest": _frame(manifest, ("path", "data_type", "sha256", "size_bytes", "frames", "status")),
        "tables": _frame(counts, ("name", "kind", "rows", "share")),
    }


def cot_frames(rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
    """Frame of the cot suite."""
    derived = [
        {
            **_record(row),
            "reward_is_share": 0 <= row["reward"] <= 1,
            "sample": row["sample"],
            "finish_reason": row["finish_reason"],
            "error_iff_failed": (row["finish_reason"] == "error") == bool(row["error"]),
            "answered": row["finish_reason"] != "error" and bool(row["completion"].strip()),
            "answer_matches": row["answer"] == (answer_of(row["completion"]) or ""),
            "well_formed": is_well_formed(row["completion"]),
        }
        for row in rows
    ]
    extra = (
        "sample",
        "reward_is_share",
        "finish_reason",
        "error_iff_failed",
        "answered",
        "answer_matches",
        "well_formed",
    )
    return {"cot": _frame(derived, (*_RECORD, "n_options", *extra))}


def sft_frames(rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
    """Frame of the sft suite."""
    derived = [
        {
            **_record(row),
            "reward_is_share": 0 <= row["reward"] <= 1,
            "well_formed": is_well_formed(f"{row['process']}\n{row['solution']}"),
        }
        for row in rows
    ]
    return {"sft": _frame(derived, (*_RECORD, "n_options", "reward_is_share", "well_formed"))}


def predictions_frames(logs: Mapping[tuple[str, str], Sequence[Row]]) -> dict[str, pd.DataFrame]:
    """Frames of the predictions suite from the answer logs, by model (folder) and suite (file name)."""
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
        "predictions": _frame(rows, (*columns, *derived)),
        "logs": _frame(by_log, ("log", "benchmark", "missing", "error_share")),
    }


def _scored_or_told(row: Row) -> bool:
    """Whether an error has its kind and no score, and an answer a score of its protocol or the reason why not."""
    if row["error"]:
        return bool(row["error_class"]) and all(row[name] is None for name in PROTOCOLS)
    return not row["error_class"] and bool(row[f"{row['protocol']}_rule"])


def _file_name(row: Row) -> str:
    """Name of the log that holds a row, without its suffix."""
    return f"{row['benchmark']}-{row['subset']}" if row["subset"] else str(row["benchmark"])


def _frame(rows: Sequence[Row], columns: Sequence[str]) -> pd.DataFrame:
    """Columns in this order, present also when there are no rows."""
    return pd.DataFrame([[row[name] for name in columns] for row in rows], columns=list(columns))


def _answers(completion: str) -> set[str]:
    """What either variant of the rewards reads as the answer."""
    return {answer_of(completion) or "", first_answer_of(completion) or ""}


def _record(row: Row) -> dict[str, Any]:
    return {**{name: row[name] for name in _RECORD}, "n_options": len(row["options"])}


def _question(row: Row, media: Mapping[tuple[str, str], Row]) -> tuple[str, str]:
    """What is asked about which pixels; files are told apart by content, not by name."""
    digest = media.get((row["path"], row["data_type"]), {}).get("sha256", row["path"])
    return row["problem"] + "\n".join(row["options"]), digest
