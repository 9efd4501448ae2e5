"""Video-MME (huggingface.co/datasets/lmms-lab/Video-MME; scorer: github.com/thanku-all/parse_answer).

Files: `videomme/test-00000-of-00001.parquet` or the same rows as JSON lines. Clips: `data/{videoID}.mp4` (.MP4, .mkv),
also without `data/`. Subtitles are not shown: these are the "w/o subs" numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark.suites import files
from tasks.benchmark.suites.base import (
    Annotations,
    Ask,
    Decoding,
    Mark,
    Published,
    Sample,
    Suite,
    lettered,
    unlettered,
)

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
    found = _LETTER.search(text)
    return found.group() if found else ""


def mark(sample: Sample, text: str) -> Mark:
    """Official score; an answer without a letter leaves the denominator, as in the official script."""
    said = extract_letter(text)
    if not said:
        return Mark(None, "", "no letter, left out")
    return Mark(float(said == sample.answer), said, "first letter")


def ask(sample: Sample) -> Ask:
    """Official wording without subtitles."""
    return Ask(
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
    return files.collect((pair for path in paths for pair in files.numbered(path, files.rows_of(path))), _sample, paths)


def _sample(row: Any, where: str) -> Sample:
    options = files.texts(row, "options", where)
    truth = files.letter(files.text(row, "answer", where), options, "answer", where)
    video = files.text(row, "videoID", where)
    groups = {name: files.text(row, name, where) for name in ("duration", "domain", "sub_category", "task_type")}
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
        extra={"video_id": files.text(row, "video_id", where), "url": row.get("url")},
    )


def export(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Input of the official script: one object per video with its questions and responses."""
    videos: dict[str, dict[str, Any]] = {}
    for row in rows:
        video = videos.setdefault(
            row["extra"]["video_id"],
            {"video_id": row["extra"]["video_id"]}
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


_LEADERBOARD = "BradyFU/Video-MME repository table, without subtitles"
_VIDEO_R1 = "Video-R1 README table"
SUITE = Suite(
    name="video_mme",
    title="Video-MME (without subtitles)",
    read=read,
    ask=ask,
    mark=mark,
    decoding=Decoding(0.0, 1.0, 16),
    counts={"": dict.fromkeys(DURATIONS, 900)},
    counted_by="duration",
    export=export,
    published=(
        Published("GPT-4o", "official", None, 71.9, _LEADERBOARD),
        Published("Gemini-1.5-Pro", "official", None, 75.0, _LEADERBOARD),
        Published("Gemini-1.5-Flash", "official", None, 70.3, _LEADERBOARD),
        Published("Qwen2.5-VL-7B CoT", "video_r1", 16, 53.1, _VIDEO_R1),
        Published("Qwen2.5-VL-7B CoT", "video_r1", 32, 56.6, _VIDEO_R1),
        Published("Qwen2.5-VL-7B SFT", "video_r1", 16, 52.8, _VIDEO_R1),
        Published("Qwen2.5-VL-7B SFT", "video_r1", 32, 55.4, _VIDEO_R1),
        Published("Video-R1-7B", "video_r1", 16, 57.4, _VIDEO_R1),
        Published("Video-R1-7B", "video_r1", 32, 59.3, _VIDEO_R1),
        Published("Video-R1-7B", "video_r1", 64, 61.4, _VIDEO_R1),
    ),
)
