"""CLEVRER (clevrer.csail.mit.edu): train.json or validation.json, a list of scenes with their questions.

Descriptive questions are numerical where the answer is a number, else free-form; the others list choices, of which the
ones with one correct choice are multiple choice. Several correct choices cannot be asked by one letter: such a question
is refused. Clips are `video_00000.mp4` under the media root, or in the published folders of a thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.core.io.rows import RawRow, read_rows
from tasks.core.text.options import LETTERS
from tasks.core.video.clip import lack_of_file
from tasks.ingest.sources.truth import TruthError, written

_PER_SCENE = 1000
"""More than the questions of a scene."""
_FOLDER_SCENES = 1000
_SCENE_DIGITS = 9


def read(annotations: Path, media_root: Path) -> Iterator[RawRow]:
    """Questions in order, counted through all scenes."""
    number = 0
    for scene in read_rows(annotations):
        for value, fault in _questions(scene, media_root):
            yield RawRow(number, value, fault)
            number += 1


def _questions(scene: RawRow, media_root: Path) -> Iterator[tuple[dict[str, Any] | None, str]]:
    item = scene.value
    questions = item.get("questions") if isinstance(item, Mapping) else None
    if scene.fault or not isinstance(questions, list) or not isinstance(item.get("scene_index"), int):
        yield None, scene.fault or f"scene {scene.row}: no scene_index and questions"
        return
    path = _path(str(item.get("video_filename") or f"video_{item['scene_index']:05}.mp4"), media_root)
    for place, question in enumerate(questions):
        if not isinstance(question, Mapping):
            yield None, f"scene {item['scene_index']} question {place}: not an object"
            continue
        asked, fault = _question(question)
        where = f"scene {item['scene_index']} question {place}: "
        known = {"problem_id": item["scene_index"] * _PER_SCENE + place, "path": path, "data_type": "video"}
        kind = str(question.get("question_type") or "")
        yield {**asked, **known, "skill": kind, "data_source": "CLEVRER"}, f"{where}{fault}" if fault else ""


def _question(question: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Fields of a record, and why it cannot be asked."""
    problem = str(question.get("question") or "").strip()
    problem = problem if problem.endswith("?") else f"{problem}?"
    if "choices" not in question:
        try:
            answer = written(question.get("answer", ""))
        except TruthError as error:
            return {"problem": problem}, str(error)
        kind = "numerical" if answer.isdecimal() else "free-form"
        return {"problem": problem, "problem_type": kind, "options": [], "solution": f"<answer>{answer}</answer>"}, ""
    choices = question["choices"]
    if not isinstance(choices, list) or not all(isinstance(choice, Mapping) for choice in choices):
        return {"problem": problem}, "choices: not a list of objects"
    right = [place for place, choice in enumerate(choices) if choice.get("answer") == "correct"]
    options = [str(choice.get("choice") or "") for choice in choices]
    asked = {"problem": problem, "problem_type": "multiple choice", "options": options}
    if len(right) != 1 or right[0] >= len(LETTERS):
        return asked, f"choices: {len(right)} of {len(choices)} are correct, one is wanted"
    return {**asked, "solution": f"<answer>{LETTERS[right[0]]}</answer>"}, ""


def _path(name: str, media_root: Path) -> str:
    digits = "".join(character for character in Path(name).stem if character.isdecimal())
    if len(digits) > _SCENE_DIGITS:
        return name
    first = int(digits or 0) // _FOLDER_SCENES * _FOLDER_SCENES
    nested = f"video_{first:05}-{first + _FOLDER_SCENES:05}/{name}"
    return name if lack_of_file(media_root / nested) else nested
