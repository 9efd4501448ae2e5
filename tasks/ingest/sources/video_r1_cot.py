"""Records that carry reasoning: Video-R1-COT-165k.json, or what the published annotation script writes.

`process` holds `<think>..</think>`, and may hold the teacher's answer behind it. The script
(github.com/tulerfeng/Video-R1, src/generate_cot_vllm.py) puts its rows under "results" and keeps the teacher's own
`answer` beside the true `solution`, also where they differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.core.io.rows import RawRow, read_rows
from tasks.core.text import think_of
from tasks.core.text.tags import answers_of
from tasks.ingest.sources.truth import TruthError, solution_of


def read(annotations: Path, media_root: Path) -> Iterator[RawRow]:
    """Rows whose `process` is a whole completion: reasoning, then the teacher's answer where the file has it."""
    for raw in read_rows(annotations):
        yield raw if raw.fault or not isinstance(raw.value, Mapping) else _with_completion(raw)


def _with_completion(raw: RawRow) -> RawRow:
    value: Mapping[str, Any] = raw.value
    process, answer = value.get("process"), value.get("answer")
    if not isinstance(process, str) or think_of(process) is None:
        return raw._replace(fault="process: no <think>..</think>, so nothing to learn from")
    if answers_of(process.rpartition("</think>")[2]):
        return raw._replace(value={**value, "process": process.strip()})
    try:
        solution = value.get("solution") if answer is None else solution_of(answer, ())
    except TruthError as error:
        return raw._replace(fault=f"answer: {error}")
    return raw._replace(value={**value, "process": f"{process.strip()}\n{solution}"})
