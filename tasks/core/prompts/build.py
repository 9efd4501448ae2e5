"""Records to chat messages."""

from __future__ import annotations

from typing import Any

from tasks.core.prompts.templates import QUESTION_TEMPLATES, TYPE_TEMPLATES
from tasks.core.schemas.records import Record


def question_text(record: Record, template: str) -> str:
    """Question with its options.

    `video_r1` runs "Options:" on to the problem and ends with a newline, as published; `brief` puts one option a line.
    """
    if record.problem_type != "multiple choice":
        return record.problem
    if template == "video_r1":
        return record.problem + "Options:\n" + "".join(f"{option}\n" for option in record.options)
    return "\n".join([record.problem, *record.options])


def user_text(record: Record, template: str) -> str:
    """Whole text of the user turn.

    Raises:
        KeyError: unknown template or problem type.
    """
    question = question_text(record, template)
    # Not str.format: questions may hold braces (LaTeX).
    asked = QUESTION_TEMPLATES[template].replace("{question}", question, 1)
    return asked + TYPE_TEMPLATES[template][record.problem_type]


def messages(record: Record, *, template: str, system: str, medium: bool = True) -> list[dict[str, Any]]:
    """Chat of one question: system turn, then a user turn with the medium before the text.

    `medium=False` leaves the video or image out (the blind control). The medium's part carries no path: pixels travel
    beside the chat.
    """
    text = {"type": "text", "text": user_text(record, template)}
    content = [{"type": record.data_type}, text] if medium else [text]
    return [{"role": "system", "content": [{"type": "text", "text": system}]}, {"role": "user", "content": content}]


def sft_target(process_with_tags: str, solution: str) -> str:
    """What the assistant is trained to say: reasoning, newline, true answer (the teacher's own answer is not used)."""
    return f"{process_with_tags}\n{solution}"
