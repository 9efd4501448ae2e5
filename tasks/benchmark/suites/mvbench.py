"""MVBench (huggingface.co/datasets/OpenGVLab/MVBench; scorer: github.com/OpenGVLab/Ask-Anything mvbench.ipynb).

Files: `json/{task}.json`, twenty of them. Clips: one folder per source (`FOLDERS`), below `video/` or not; two sources
share a file name, so a flat folder is never searched. `fine_grained_pose` (NTU RGB+D) is not distributed any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from tasks.benchmark.base import (
    LETTERS,
    Annotations,
    Decoding,
    Mark,
    OfficialWording,
    Row,
    Sample,
    Suite,
    SuiteError,
    lettered,
)
from tasks.benchmark.reading import files

_STAR, _CLEVRER, _PERCEPTION = "star/Charades_v1_480", "clevrer/video_validation", "perception/videos"
FOLDERS = {
    "action_sequence": _STAR,
    "action_prediction": _STAR,
    "action_antonym": "ssv2_video",
    "fine_grained_action": "Moments_in_Time_Raw/videos",
    "unexpected_action": "FunQA_test/test",
    "object_existence": _CLEVRER,
    "object_interaction": _STAR,
    "object_shuffle": _PERCEPTION,
    "moving_direction": _CLEVRER,
    "action_localization": "sta/sta_video",
    "scene_transition": "scene_qa/video",
    "action_count": _PERCEPTION,
    "moving_count": _CLEVRER,
    "moving_attribute": _CLEVRER,
    "state_change": _PERCEPTION,
    "fine_grained_pose": "nturgbd",
    "character_order": _PERCEPTION,
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa/frames_fps3_hq",
    "counterfactual_inference": _CLEVRER,
}
BOUND = ("action_sequence", "action_prediction", "object_interaction", "action_localization", "episodic_reasoning")
"""Tasks whose questions are about a part of the clip."""
FRAME_RATE = 3.0
_LONGEST_SECONDS = 1e6
"""No part of a clip ends later."""
_SYSTEM = (
    "Carefully watch the video and pay attention to the cause and sequence of events, the detail and movement of "
    "objects, and the action and pose of persons. Based on your observations, select the best option that accurately "
    "addresses the question.\n"
)


def check_answer(prediction: str, truth: str) -> bool:
    """The official comparison: first words in lower case, either inside the other; "" and "(" count as right."""
    word, gold = prediction.lower().split(" ")[0], truth.lower().split(" ")[0]
    return word.replace(".", "") in gold or gold in word


def mark(sample: Sample, text: str) -> Mark:
    """Official score of the first line."""
    line = text.split("\n")[0]
    truth = f"({sample.answer}) {sample.options[LETTERS.index(sample.answer)]}"
    return Mark(float(check_answer(line, truth)), line.split(" ")[0], "first word in first word")


def word(sample: Sample) -> OfficialWording:
    """Official wording; the answer is begun for the model."""
    options = "".join(f"({letter}) {text}\n" for letter, text in zip(LETTERS, sample.options, strict=False))
    text = f"Question: {sample.question}\nOptions:\n{options.rstrip()}\nOnly give the best option."
    return OfficialWording(text, _SYSTEM, prefill="Best option:(", lead="(")


def read(folder: Path, subset: str | None = None) -> Annotations:
    """Samples of the annotation folder; tasks without a file are left out and show in the counts.

    Raises:
        SuiteError: no annotation file.
    """
    paths = [path for path in files.find(folder, ["json/*.json", "*.json"]) if path.stem in FOLDERS]
    if not paths:
        raise SuiteError(f"{folder}: no annotation file; looked for json/action_sequence.json and its like")
    rows = (
        (where, row if isinstance(row, files.Unreadable) else (path.stem, number, row))
        for path in paths
        for number, (where, row) in enumerate(files.rows_of(path))
    )
    return files.collect(rows, _sample, paths)


def _sample(item: tuple[str, int, Any], where: str) -> Sample:
    task, number, row = item
    video, answer = files.text(row, "video", where), files.text(row, "answer", where)
    options = files.texts(row, "candidates", where)
    truth, place = LETTERS[_candidate(answer, options, where)], f"{FOLDERS[task]}/{video}"
    return Sample(
        sample_id=f"{task}/{number}",
        question=files.text(row, "question", where),
        options=tuple(options),
        answer=truth,
        categories={"task": task},
        media=(place, f"video/{place}"),
        cluster=place,
        problem_type="multiple choice",
        solution=truth,
        lettered=lettered(options),
        window=_window(row, where) if task in BOUND else None,
        frame_rate=FRAME_RATE if task == "episodic_reasoning" else None,
        video=video,
    )


def _candidate(answer: str, options: Sequence[str], where: str) -> int:
    """Place of the candidate that the answer repeats; 14 answers of episodic_reasoning differ by a space at the end."""
    if answer in options:
        return options.index(answer)
    alike = [place for place, option in enumerate(options) if option.strip() == answer.strip()]
    if len(alike) != 1:
        raise SuiteError(f"{where}: answer: {answer!r} is {'several' if alike else 'none'} of the candidates")
    return alike[0]


def _window(row: Mapping[str, Any], where: str) -> tuple[float, float] | None:
    start, end = row.get("start"), row.get("end")
    if start is None and end is None:
        return None
    if not _is_number(start) or not _is_number(end) or not 0 <= start < end < _LONGEST_SECONDS:
        raise SuiteError(f"{where}: start, end: not an interval of seconds: {start!r}, {end!r}")
    return float(start), float(end)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def export(rows: Sequence[Row]) -> dict[str, Any]:
    """The official result file: accuracy per task as [right, all], and every answer."""
    tasks: dict[str, list[int]] = {}
    for row in rows:
        count = tasks.setdefault(row["categories"]["task"], [0, 0])
        count[0] += row["official"] == 1
        count[1] += 1
    answers = [
        {
            "pred": row["lead"] + row["completion"],
            "gt": f"({row['answer']}) {row['options'][LETTERS.index(row['answer'])]}",
            "task_type": row["categories"]["task"],
            "video": row["video"],
        }
        for row in rows
    ]
    return {"mvbench.json": {"acc_dict": tasks, "res_list": answers}}


SUITE = Suite(
    name="mvbench",
    title="MVBench",
    read=read,
    word=word,
    mark=mark,
    decoding=Decoding(0.0, 1.0, 100),
    counts={"": dict.fromkeys(FOLDERS, 200)},
    counted_by="task",
    export=export,
    deviations=(
        "answers that differ from their candidate by a space are matched to it, officially they match no option",
    ),
)
