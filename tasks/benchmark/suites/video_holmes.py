"""Video-Holmes (huggingface.co/datasets/TencentARC/Video-Holmes; scorer: evaluate.py of github.com/TencentARC).

File: `test_Video-Holmes.json`. Clips: `videos/{video ID}.mp4`, or `videos_cropped/` as the archive unpacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark.base import Annotations, Decoding, Mark, OfficialWording, Row, Sample, Suite, SuiteError, lettered
from tasks.benchmark.reading import files
from tasks.core.text.tags import answers_of

KINDS = ("SR", "IMC", "TCI", "TA", "MHR", "PAR", "CTI")
WRONG = "WRONG"
_CHOICES = "ABCDEF"


def extract_letter(text: str) -> str:
    """Letter read from the last answer block, else from the whole text; "WRONG" when there is none.

    In the order A to F a letter followed by a space or colon, or behind "[", then any occurrence at all: "C. Actor"
    reads as A.
    """
    blocks = answers_of(text)
    answer = blocks[-1] if blocks else text
    for letter in _CHOICES:
        if any(shape in answer for shape in (f"{letter} ", f"{letter}:", f"[{letter}")):
            return letter
    return next((letter for letter in _CHOICES if letter in answer), WRONG)


def mark(sample: Sample, text: str) -> Mark:
    """Official score; an answer without a letter is wrong."""
    letter = extract_letter(text)
    rule = "last answer tag" if answers_of(text) else "whole text"
    if letter == WRONG:
        return Mark(0.0, "", f"{rule}, no letter")
    return Mark(float(letter == sample.answer), letter, f"{rule}, first option that occurs")


def word(sample: Sample) -> OfficialWording:
    """Official wording."""
    options = ", ".join(f"{letter}: {text}" for letter, text in zip(_CHOICES, sample.options, strict=False))
    return OfficialWording(
        "Based on the given video, reason and answer the single-choice question. Provide your reasoning between the "
        "<think> and </think> tags, and then give your final answer between the <answer> and </answer> tags. "
        f"The question is: {sample.question}. The options are: {options}. Your answer:"
    )


def read(folder: Path, subset: str | None = None) -> Annotations:
    """Samples of the annotation folder.

    Raises:
        SuiteError: no annotation file.
    """
    paths = files.find(folder, ["test_Video-Holmes.json", "Benchmark/test_Video-Holmes.json"])
    return files.collect(files.rows_of(paths[0]), _sample, paths)


def _sample(row: Any, where: str) -> Sample:
    video, kind = files.text(row, "video ID", where), files.text(row, "Question Type", where)
    if kind not in KINDS:
        raise SuiteError(f"{where}: Question Type: {kind!r}; one of {', '.join(KINDS)}")
    options = files.mapping(row, "Options", where)
    if not options or list(options) != list(_CHOICES[: len(options)]):
        raise SuiteError(f"{where}: Options: not an object with keys A, B, ..")
    shown = tuple(files.text(options, letter, f"{where}: Options") for letter in options)
    question_id, explanation = files.text(row, "Question ID", where), row.get("Explanation") or None
    truth = files.letter(files.text(row, "Answer", where), shown, "Answer", where)
    return Sample(
        sample_id=f"{video}/{question_id}",
        question=files.text(row, "Question", where),
        options=shown,
        answer=truth,
        categories={"question_type": kind},
        media=(f"videos/{video}.mp4", f"videos_cropped/{video}.mp4", f"{video}.mp4"),
        cluster=video,
        problem_type="multiple choice",
        solution=truth,
        lettered=lettered(shown),
        video=video,
        question_id=question_id,
        explanation="" if explanation is None else files.text(row, "Explanation", where),
    )


def export(rows: Sequence[Row]) -> dict[str, Any]:
    """The official result file and its one-line table, over the whole log."""
    right = {kind: [row["official"] for row in rows if row["categories"]["question_type"] == kind] for kind in KINDS}
    every = [value for values in right.values() for value in values]
    cells = [f"{sum(values) / len(values):.2f}" if values else "0.00" for values in [*right.values(), every]]
    return {
        "Results-Video-Holmes.json": [
            {
                "video ID": row["video"],
                "Question ID": int(row["question_id"]) if row["question_id"].isdecimal() else row["question_id"],
                "Question Type": row["categories"]["question_type"],
                "Question": row["question"],
                "Options": dict(zip(_CHOICES, row["options"], strict=False)),
                "GT": row["answer"],
                "Explanation": row["explanation"],
                "Predicr Answer": row["official_extracted"] or WRONG,  # The official key, as it is spelt.
                "Correct": row["official"] == 1,
            }
            for row in rows
        ],
        "Results-Video-Holmes.csv": ",".join([*KINDS, "Overall Accuracy", "Total Questions"])
        + "\n"
        + ",".join([*cells, str(len(every))])
        + "\n",
    }


SUITE = Suite(
    name="video_holmes",
    title="Video-Holmes",
    read=read,
    word=word,
    mark=mark,
    decoding=Decoding(0.1, 0.001, 1024),
    counts={"": {"all": 1837}},
    counted_by="all",
    export=export,
    unwrap=False,
)
