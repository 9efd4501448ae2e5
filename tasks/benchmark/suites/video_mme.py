"""Video-MME (huggingface.co/datasets/lmms-lab/Video-MME; scorer: github.com/thanku-all/parse_answer).

Files: `videomme/test-00000-of-00001.parquet` or the same rows as JSON lines. Clips: `data/{videoID}.mp4` (.MP4, .mkv),
also without `data/`. Subtitles are not shown: these are the "w/o subs" numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark.base import (
    Annotations,
    Decoding,
    Mark,
    OfficialWording,
    Row,
    Sample,
    Suite,
    SuiteError,
    lettered,
    unlettered,
)
from tasks.benchmark.reading import files

# Two missing commas in the official list glue four phrases into two, which therefore never match; kept.
_PHRASES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
    "Answer:",
    "Option:",
    "The correct answer",
    "The correct option",
)
_LETTER = re.compile("[ABCD]")
DURATIONS = ("short", "medium", "long")


def extract_letter(text: str) -> str:
    """First capital A to D once known phrases are removed; "" when there is none ("Based on it, C" reads as B)."""
    text = text.strip()
    for phrase in _PHRASES:
        text = text.replace(phrase, "")
    letter = _LETTER.search(text)
    return letter.group() if letter else ""


def mark(sample: Sample, text: str) -> Mark:
    """Official score; an answer without a letter leaves the denominator, as in the official script."""
    letter = extract_letter(text)
    if not letter:
        return Mark(None, "", "no letter, left out")
    return Mark(float(letter == sample.answer), letter, "first letter")


def word(sample: Sample) -> OfficialWording:
    """Official wording without subtitles."""
    return OfficialWording(
        "Select the best answer to the following multiple-choice question based on the video. Respond with only the "
        "letter (A, B, C, or D) of the correct option.\n"
        f"{sample.question}\n" + "\n".join(sample.lettered) + "\nThe best answer is:"
    )


def read(folder: Path, subset: str | None = None) -> Annotations:
    """Samples of the annotation folder.

    Raises:
        SuiteError: no annotation file.
    """
    paths = files.find(folder, ["videomme/test-*.parquet", "test-*.parquet", "videomme.jsonl", "test.jsonl"])
    return files.collect(files.rows_of_all(paths), _sample, paths)


def _sample(row: Any, where: str) -> Sample:
    options = files.texts(row, "options", where)
    truth = files.letter(files.text(row, "answer", where), options, "answer", where)
    video = files.text(row, "videoID", where)
    groups = {name: files.text(row, name, where) for name in ("duration", "domain", "sub_category", "task_type")}
    if groups["duration"] not in DURATIONS:
        raise SuiteError(f"{where}: duration: {groups['duration']!r}; one of {', '.join(DURATIONS)}")
    return Sample(
        sample_id=files.text(row, "question_id", where),
        question=files.text(row, "question", where),
        options=unlettered(options),
        answer=truth,
        categories=groups,
        media=(f"data/{video}.mp4", f"{video}.mp4"),
        cluster=video,
        problem_type="multiple choice",
        solution=truth,
        lettered=lettered(options),
        video=files.text(row, "video_id", where),
    )


def export(rows: Sequence[Row]) -> dict[str, Any]:
    """Input of the official script: one object per video with its questions and responses."""
    videos: dict[str, dict[str, Any]] = {}
    for row in rows:
        video = videos.setdefault(
            row["video"],
            {"video_id": row["video"]}
            | {name: row["categories"][name] for name in ("duration", "domain", "sub_category")}
            | {"missing": False, "questions": []},
        )
        video["questions"].append(
            {
                "question_id": row["sample_id"],
                "task_type": row["categories"]["task_type"],
                "question": row["question"],
                "options": row["lettered"],
                "answer": row["answer"],
                "response": row["completion"],
            }
        )
    return {"output_test_template.json": list(videos.values())}


SUITE = Suite(
    name="video_mme",
    title="Video-MME (without subtitles)",
    read=read,
    word=word,
    mark=mark,
    decoding=Decoding(0.0, 1.0, 16),
    counts={"": dict.fromkeys(DURATIONS, 900)},
    counted_by="duration",
    export=export,
)
