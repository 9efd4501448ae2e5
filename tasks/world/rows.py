"""Kinds of pretraining row: what is shown, what is asked, and what is to be said.

caption   a scene; one sentence that names every attribute
direct    a question; the bare answer
reason    a question; reasoning, then the answer
shortcut  a question of motion; the direction is told by the figure's colour, right or wrong
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tasks.core.prompts import messages, sft_target
from tasks.core.schemas.records import Record
from tasks.core.world.questions import Question, ask, caption, shortcut
from tasks.core.world.scene import Scene, sample_scene
from tasks.core.world.split import draw_row

CAPTION_PROMPT = "Describe everything."
KINDS = ("caption", "direct", "reason", "shortcut")


class Row(NamedTuple):
    """One pretraining example: the chat, and what the assistant is to say."""

    kind: str
    messages: list[dict]
    target: str
    medium: str
    """video or image."""
    scene: Scene
    record: Record | None = None
    """The question, where the row asks one."""


Scenes = Callable[[np.random.Generator], tuple[str, Scene]]
"""Draws medium and scene of a row."""


def draw(kind: str, rng: np.random.Generator, scenes: Scenes = draw_row, *, template: str, system: str) -> Row:
    """Draw a row of `kind` in the prompt wording that every later stage uses."""
    medium, scene = ("video", sample_scene("move", rng)) if kind == "shortcut" else scenes(rng)
    if kind == "caption":
        text = caption(scene)
        record = _record(Question(CAPTION_PROMPT, "free-form", [], "", "", False, ""), medium)
        chat = messages(record, template=template, system=system)
        chat[-1]["content"][-1]["text"] = CAPTION_PROMPT
        return Row(kind, chat, text, medium, scene)
    question = ask(scene, rng)
    if kind == "shortcut":
        question = shortcut(question, scene)
    record = _record(question, medium)
    target = (
        record.solution if kind == "direct" else sft_target(f"<think>{question.reasoning}</think>", record.solution)
    )
    chat = messages(record, template=template, system=system)
    return Row(kind, chat, target, medium, scene, record)


def _record(question: Question, medium: str) -> Record:
    return Record(
        problem_id=0,
        problem=question.problem,
        data_type="image" if medium == "image" else "video",
        problem_type=question.problem_type,
        options=question.options,
        process="",
        solution=f"<answer>{question.answer}</answer>",
        path="",
        data_source="",
        temporal=question.temporal,
        skill=question.skill,
    )
