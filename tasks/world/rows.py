"""Kinds of pretraining row: what is shown, what is asked, what is to be said, and which part of it is learned.

    lookup   no medium; "red C. blue A. ..", or "C red. A blue. ..": binds an option's value to its letter
    caption  a scene; one sentence that names every attribute
    direct   a question; the bare answer
    reason   a question; reasoning, then the answer
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tasks.core.prompts import messages, sft_target
from tasks.core.schemas.records import Record
from tasks.core.world.questions import LETTERS, Question, ask, caption
from tasks.core.world.scene import COLOURS, DIRECTIONS, SHAPES, Scene
from tasks.core.world.split import draw_row

CAPTION_PROMPT = "Describe everything."
# More words than questions use: the wider the choice, the sooner looking up beats learning pairs by heart.
LOOKUP_WORDS = (
    *COLOURS, *SHAPES, *DIRECTIONS, "top", "bottom", "first", "second", "last", "starts", "ends", "moves", "sign", "says",
    "shows", "appears", "comes", "way", "one",
)  # fmt: skip
KINDS = ("lookup", "caption", "direct", "reason")


class Row(NamedTuple):
    """One pretraining example; `learned` lists the spans (characters of `target`) that carry loss."""

    kind: str
    messages: list[dict]
    target: str
    learned: list[tuple[int, int]]
    medium: str
    """video, image or "" for text alone."""
    scene: Scene | None
    record: Record | None = None
    """The question, where the row asks one."""


def draw(kind: str, rng: np.random.Generator, *, template: str, system: str) -> Row:
    """Draw a row of `kind` in the prompt wording that every later stage uses."""
    if kind == "lookup":
        return _lookup(rng, template, system)
    medium, scene = draw_row(rng)
    if kind == "caption":
        text = caption(scene)
        record = _record(Question(CAPTION_PROMPT, "free-form", [], "", "", False, ""), medium)
        chat = messages(record, template=template, system=system)
        chat[-1]["content"][-1]["text"] = CAPTION_PROMPT
        return Row(kind, chat, text, [(0, len(text))], medium, scene)
    question = ask(scene, rng)
    record = _record(question, medium)
    target = record.solution if kind == "direct" else sft_target(f"<think>{question.reasoning}</think>", record.solution)
    chat = messages(record, template=template, system=system)
    return Row(kind, chat, target, [(0, len(target))], medium, scene, record)


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


def _lookup(rng: np.random.Generator, template: str, system: str) -> Row:
    n = int(rng.choice([2, 3, 4], p=[0.2, 0.2, 0.6]))
    words = [str(word) for word in rng.choice(LOOKUP_WORDS, size=n, replace=False)]
    options = [f"{LETTERS[i]}. {word}" for i, word in enumerate(words)]
    record = _record(Question("Which is which?", "multiple choice", options, "A", "", False, ""), "")
    target, learned = "<think>", []
    forward = bool(rng.integers(2))
    # Every value once: with repeats a model only copies its earlier answer.
    for i in rng.permutation(len(words)):
        asked, told = (LETTERS[i], words[i]) if forward else (words[i], LETTERS[i])
        target += f" {asked}"
        learned.append((len(target), len(target) + 1 + len(told)))
        target += f" {told}."
    chat = messages(record, template=template, system=system, medium=False)
    return Row("lookup", chat, target, learned, "", None)
