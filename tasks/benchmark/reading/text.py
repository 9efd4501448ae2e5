"""Removing reasoning and tags from a completion before a benchmark's own rule reads it."""

from __future__ import annotations

import re

from tasks.core.text.tags import first_answer_of

_THINK = re.compile(r"<think>.*?</think>", re.DOTALL)


def strip_reasoning(text: str) -> str:
    """The text without its `<think>` blocks.

    A closing tag alone (the opening one was in the prompt) is removed with all text before it. A text with an opening
    tag alone is unchanged: the completion was cut off within the reasoning.
    """
    if "</think>" not in text:
        return text
    return _THINK.sub("", text).rpartition("</think>")[2].strip()


def bare_answer(text: str) -> str:
    """Text inside the first answer block behind the reasoning; without a block, all text behind it."""
    behind = strip_reasoning(text)
    tagged = first_answer_of(behind)
    return behind if tagged is None else tagged
