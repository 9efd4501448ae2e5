"""MMVU validation set (huggingface.co/datasets/yale-nlp/MMVU; scorer: github.com/yale-nlp/MMVU).

File: `validation.json`. Clips: what follows `/videos/` in the record's URL, below `videos/` or not. The official
scorer is a judge model for every question; without one nothing is scored under the official protocol. Video-R1
takes the multiple-choice questions alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark.base import (
    LETTERS,
    Annotations,
    Decoding,
    JudgePrompt,
    Mark,
    OfficialWording,
    Row,
    Sample,
    Suite,
    SuiteError,
    lettered,
)
from tasks.benchmark.reading import files

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


def judge(sample: Sample, text: str) -> JudgePrompt:
    """Ask a judge for the final answer of a response and whether it is right; our wording."""
    options = "".join(f"{letter}: {text}\n" for letter, text in zip(LETTERS, sample.options, strict=False))
    strict = "Accept another wording only if it names exactly the same concept. " if not sample.options else ""
    return JudgePrompt(
        "You grade answers. Find the final answer that the response settles on and compare it with the true answer. "
        f"{strict}Reply with one JSON object and nothing else: "
        '{"extracted_answer": <the final answer, "" if there is none>, "correct": <true or false>}.',
        f"Question: {sample.question}\n{options}True answer: {sample.answer}\nResponse: {text}",
    )


def verdict(sample: Sample, reply: str) -> Mark:
    """Read the judge's JSON object; an unreadable reply leaves the answer not scored."""
    written = _OBJECT.search(reply)
    try:
        value = json.loads(written.group()) if written else None
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("correct"), bool):
        return Mark(None, "", "not scored: unreadable judgement")
    return Mark(float(value["correct"]), str(value.get("extracted_answer", "")), "judge")


def word(sample: Sample) -> OfficialWording:
    """Official wording with reasoning; the line ends within its last sentence are the official template's."""
    head = f"\nQuestion: {sample.question}\n"
    begin = (
        "Begin by explaining your reasoning process clearly. Conclude by stating the final answer using the following "
        "format: 'Therefore, the final answer is: "
    )
    if sample.options:
        options = "\n".join(f"{letter}: {text}" for letter, text in zip(LETTERS, sample.options, strict=False))
        return OfficialWording(
            f"{head}{options}\n\nAnswer the given multiple-choice question step by step. {begin}$LETTER' (without "
            "quotes), where $LETTER is one of the options. Think step by\nstep before answering."
        )
    return OfficialWording(
        f"{head}\nAnswer the given question step by step. {begin}'Answer: $ANSWER' (without quotes), where $ANSWER is "
        "the final answer of the question. Think step by step\nbefore answering."
    )


def read(folder: Path, subset: str | None = None) -> Annotations:
    """Samples of the annotation folder.

    Raises:
        SuiteError: no annotation file.
    """
    paths = files.find(folder, ["validation.json", "validation*.parquet", "mmvu.json"])
    return files.collect(files.rows_of_all(paths), _sample, paths)


def _sample(row: Any, where: str) -> Sample:
    name, kind = files.text(row, "id", where), files.text(row, "question_type", where)
    if kind not in KINDS:
        raise SuiteError(f"{where}: question_type: unknown {kind!r}")
    about, choices = files.mapping(row, "metadata", where), files.mapping(row, "choices", where)
    place = files.text(row, "video" if "video" in row else "video_path", where).rpartition("/videos/")[2]
    # The clip's folder is its subject: what stands in for metadata that are null.
    subject = str(about.get("subject") or place.partition("/")[0]).replace(" ", "_")
    options: tuple[str, ...] = ()
    truth = files.text(row, "answer", where)
    if kind == KINDS[0]:
        # Parquet gives every record every letter, null where it has none.
        given = [name for name in choices if choices[name] is not None]
        if given != list(LETTERS[: len(given)]):
            raise SuiteError(f"{where}: choices: not an object with keys A, B, ..")
        options = tuple(files.text(choices, name, f"{where}: choices") for name in given)
        files.letter(truth, options, "answer", where)
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
    )


def export(rows: Sequence[Row]) -> dict[str, Any]:
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


SUITE = Suite(
    name="mmvu",
    title="MMVU (validation)",
    read=read,
    word=word,
    mark=mark,
    decoding=Decoding(1.0, 1.0, 1024),
    counts={"": {KINDS[0]: 625, KINDS[1]: 375}},
    counted_by="question_type",
    export=export,
    judge=judge,
    verdict=verdict,
    unwrap=False,
    deviations=("judge: our wording and the configured model, officially GPT-4o with structured output",),
)
