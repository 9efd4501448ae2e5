"""MMVU validation set (huggingface.co/datasets/yale-nlp/MMVU; scorer: github.com/yale-nlp/MMVU).

File: `validation.json`. Clips: what follows `/videos/` in the record's URL, below `videos/` or not. The official
scorer is a judge model for every question; without one nothing is scored under the official protocol. Video-R1
takes the multiple-choice questions alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark.suites import files
from tasks.benchmark.suites.base import (
    LETTERS,
    Annotations,
    Ask,
    Decoding,
    Judgement,
    Mark,
    Published,
    Sample,
    Suite,
    SuiteError,
    lettered,
)

DISCIPLINES = {
    "Science": (
        "Biology",
        "Chemistry",
        "Modern_Physics",
        "Astronomy",
        "Geography",
        "Materials_Science",
        "Neurobiology",
        "Electromagnetism",
        "Thermodynamics",
        "Mechanics",
    ),
    "Engineering": (
        "Civil_Engineering",
        "Electrical_Engineering",
        "Mechanical_Engineering",
        "Biomedical_Engineering",
        "Electronics_and_Communication",
        "Computer_Science",
    ),
    "Healthcare": ("Clinical_Medicine", "Basic_Medicine", "Preventive_Medicine", "Pharmacy", "Dentistry"),
    "Humanities_and_Social_Science": ("Art", "Literature", "History", "Law", "Economics", "Management"),
}
KINDS = ("multiple-choice", "open-ended")
_OF_SUBJECT = {subject: name for name, subjects in DISCIPLINES.items() for subject in subjects}
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


def mark(sample: Sample, text: str) -> Mark:
    """No score: the official one is a judge's."""
    return Mark(None, "", "not scored: needs a judge")


def judge(sample: Sample, text: str) -> Judgement:
    """Ask a judge for the final answer of a response and whether it is right; our wording."""
    options = "".join(f"{letter}: {one}\n" for letter, one in zip(LETTERS, sample.options, strict=False))
    strict = "Accept another wording only if it names exactly the same concept. " if not sample.options else ""
    return Judgement(
        "You grade answers. Find the final answer that the response settles on and compare it with the true answer. "
        f"{strict}Reply with one JSON object and nothing else: "
        '{"extracted_answer": <the final answer, "" if there is none>, "correct": <true or false>}.',
        f"Question: {sample.question}\n{options}True answer: {sample.answer}\nResponse: {text}",
    )


def verdict(sample: Sample, reply: str) -> Mark:
    """Read the judge's JSON object; an unreadable reply leaves the answer not scored."""
    found = _OBJECT.search(reply)
    try:
        value = json.loads(found.group()) if found else None
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("correct"), bool):
        return Mark(None, "", "not scored: unreadable judgement")
    return Mark(float(value["correct"]), str(value.get("extracted_answer", "")), "judge")


def ask(sample: Sample) -> Ask:
    """Official wording with reasoning."""
    head = f"\nQuestion: {sample.question}\n"
    begin = (
        "Begin by explaining your reasoning process clearly. Conclude by stating the final answer using the following "
        "format: 'Therefore, the final answer is: "
    )
    if sample.options:
        options = "\n".join(f"{letter}: {one}" for letter, one in zip(LETTERS, sample.options, strict=False))
        return Ask(
            f"{head}{options}\n\nAnswer the given multiple-choice question step by step. {begin}$LETTER' (without "
            "quotes), where $LETTER is one of the options. Think step by step before answering."
        )
    return Ask(
        f"{head}\nAnswer the given question step by step. {begin}'Answer: $ANSWER' (without quotes), where $ANSWER is "
        "the final answer of the question. Think step by step before answering."
    )


def read(folder: Path, subset: str | None = None) -> Annotations:
    """Samples of the annotation folder.

    Raises:
        SuiteError: no annotation file.
    """
    paths = files.find(folder, ["validation.json", "validation*.parquet", "mmvu.json"])
    return files.collect((pair for path in paths for pair in files.numbered(path, files.rows_of(path))), _sample, paths)


def _sample(row: Any, where: str) -> Sample:
    name, kind = files.text(row, "id", where), files.text(row, "question_type", where)
    if kind not in KINDS:
        raise SuiteError(f"{where}: question_type: unknown {kind!r}")
    about, choices = row.get("metadata"), row.get("choices")
    if not isinstance(about, Mapping):
        raise SuiteError(f"{where}: metadata: not an object")
    subject = files.text(about, "subject", f"{where}: metadata").replace(" ", "_")
    options: tuple[str, ...] = ()
    truth = files.text(row, "answer", where)
    if kind == KINDS[0]:
        if not isinstance(choices, Mapping) or not choices:
            raise SuiteError(f"{where}: choices: not an object with options")
        options = tuple(str(value) for value in choices.values())
        files.letter(truth, options, "answer", where)
    place = files.text(row, "video" if "video" in row else "video_path", where).rpartition("/videos/")[2]
    return Sample(
        sample_id=name,
        question=files.text(row, "question", where),
        options=options,
        answer=truth,
        categories={
            "question_type": kind,
            "discipline": _OF_SUBJECT.get(subject, "other"),
            "subject": subject,
        },
        media=(f"videos/{place}", place),
        cluster=place,
        problem_type="multiple choice" if options else None,
        solution=truth,
        lettered=lettered(options),
        extra={"youtube_url": row.get("youtube_url")},
    )


def export(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Input of the official judge: one record per question with its response."""
    return {
        "mmvu_validation.json": [
            {
                "id": row["sample_id"],
                "question_type": row["categories"]["question_type"],
                "question": row["question"],
                "choices": dict(zip(LETTERS, row["options"], strict=False)),
                "answer": row["answer"],
                "response": row["completion"],
            }
            for row in rows
        ]
    }


_BOARD = "MMVU leaderboard, validation set"
_VIDEO_R1 = "Video-R1 README table"
_CHOICE = "the 625 multiple-choice questions alone"
SUITE = Suite(
    name="mmvu",
    title="MMVU (validation)",
    read=read,
    ask=ask,
    mark=mark,
    decoding=Decoding(1.0, 1.0, 1024),
    counts={"": {KINDS[0]: 625, KINDS[1]: 375}},
    counted_by="question_type",
    export=export,
    judge=judge,
    verdict=verdict,
    unwrap=False,
    deviations=("judge: our wording and the configured model, officially GPT-4o with structured output",),
    published=(
        Published("GPT-4o", "official", None, 67.4, _BOARD),
        Published("Gemini-1.5-Pro", "official", None, 65.4, _BOARD),
        Published("Qwen2-VL-7B", "official", None, 42.1, _BOARD),
        Published("Qwen2.5-VL-7B CoT", "video_r1", 16, 59.2, _VIDEO_R1, _CHOICE),
        Published("Qwen2.5-VL-7B CoT", "video_r1", 32, 60.0, _VIDEO_R1, _CHOICE),
        Published("Qwen2.5-VL-7B SFT", "video_r1", 16, 61.3, _VIDEO_R1, _CHOICE),
        Published("Qwen2.5-VL-7B SFT", "video_r1", 32, 63.5, _VIDEO_R1, _CHOICE),
        Published("Video-R1-7B", "video_r1", 16, 64.2, _VIDEO_R1, _CHOICE),
        Published("Video-R1-7B", "video_r1", 32, 63.8, _VIDEO_R1, _CHOICE),
        Published("Video-R1-7B", "video_r1", 64, 63.8, _VIDEO_R1, _CHOICE),
    ),
)
