"""Video-Holmes (huggingface.co/datasets/TencentARC/Video-Holmes; scorer: evaluate.py of github.com/TencentARC).

File: `test_Video-Holmes.json`. Clips: `videos/{video ID}.mp4`, or `videos_cropped/` as the archive unpacks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark.suites import files
from tasks.benchmark.suites.base import Annotations, Ask, Decoding, Mark, Published, Sample, Suite, SuiteError, lettered

KINDS = ("SR", "IMC", "TCI", "TA", "MHR", "PAR", "CTI")
WRONG = "WRONG"
_ANSWER = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL)
_CHOICES = "ABCDEF"


def extract_letter(text: str) -> str:
    """Letter read from the last answer block, else from the whole text; "WRONG" when there is none.

    In the order A to F a letter followed by a space or colon, or behind "[", then any occurrence at all: "C. Actor"
    reads as A.
    """
    blocks = _ANSWER.findall(text)
    said = blocks[-1].strip() if blocks else text
    for letter in _CHOICES:
        if any(shape in said for shape in (f"{letter} ", f"{letter}:", f"[{letter}")):
            return letter
    return next((letter for letter in _CHOICES if letter in said), WRONG)


def mark(sample: Sample, text: str) -> Mark:
    """Official score; an answer without a letter is wrong."""
    said = extract_letter(text)
    rule = "last answer tag" if _ANSWER.search(text) else "whole text"
    if said == WRONG:
        return Mark(0.0, "", f"{rule}, no letter")
    return Mark(float(said == sample.answer), said, f"{rule}, first option that occurs")


def ask(sample: Sample) -> Ask:
    """Official wording."""
    options = ", ".join(f"{letter}: {text}" for letter, text in zip(_CHOICES, sample.options, strict=False))
    return Ask(
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
    return files.collect(files.numbered(paths[0], files.rows_of(paths[0])), _sample, paths)


def _sample(row: Any, where: str) -> Sample:
    video, kind = files.text(row, "video ID", where), files.text(row, "Question Type", where)
    options = row.get("Options")
    if not isinstance(options, Mapping) or list(options) != list(_CHOICES[: len(options)]):
        raise SuiteError(f"{where}: Options: not an object with keys A, B, ..")
    shown = tuple(str(value) for value in options.values())
    truth = files.letter(files.text(row, "Answer", where), shown, "Answer", where)
    return Sample(
        sample_id=f"{video}/{files.text(row, 'Question ID', where)}",
        question=files.text(row, "Question", where),
        options=shown,
        answer=truth,
        categories={"question_type": kind},
        media=(f"videos/{video}.mp4", f"videos_cropped/{video}.mp4", f"{video}.mp4"),
        cluster=video,
        problem_type="multiple choice",
        solution=truth,
        lettered=lettered(shown),
        extra={"video": video, "question_id": row["Question ID"], "explanation": row.get("Explanation")},
    )


def export(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The official result file and its one-line table, over the whole log."""
    right = {kind: [row["official"] for row in rows if row["categories"]["question_type"] == kind] for kind in KINDS}
    every = [value for values in right.values() for value in values]
    cells = [f"{sum(values) / len(values):.2f}" if values else "0.00" for values in [*right.values(), every]]
    return {
        "Results-Video-Holmes.json": [
            {
                "video ID": row["extra"]["video"],
                "Question ID": row["extra"]["question_id"],
                "Question Type": row["categories"]["question_type"],
                "Question": row["question"],
                "Options": dict(zip(_CHOICES, row["options"], strict=False)),
                "GT": row["answer"],
                "Explanation": row["extra"]["explanation"],
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


_README = "TencentARC/Video-Holmes README"
SUITE = Suite(
    name="video_holmes",
    title="Video-Holmes",
    read=read,
    ask=ask,
    mark=mark,
    decoding=Decoding(0.1, 0.001, 1024),
    counts={"": {"all": 1837}},
    counted_by="all",
    export=export,
    unwrap=False,
    published=(
        Published("Qwen2.5-VL-7B", "official", None, 27.8, _README),
        Published("Video-R1", "official", None, 36.5, _README),
        Published("Gemini-2.0-Flash", "official", None, 30.6, _README),
        Published("o4-mini", "official", None, 29.9, _README),
        Published("Gemini-2.5-Pro", "official", None, 45.0, "Video-Holmes paper"),
    ),
)
