"""Taking reasoning and tags off a completion before a benchmark's own rule reads it."""

from __future__ import annotations

import re

from tasks.core.text.tags import first_answer_of

_THINK = re.compile(r"<think>.*?</think>", re.DOTALL)


def strip_reasoning(text: str) -> str:
    """The text without its `<think>` blocks.

    Of a text with a closing tag alone (the opening one was in the prompt) what follows it is kept. An unclosed
    opening tag is left as it is: the completion was cut off, and nothing says where reasoning would have ended.
    """
    if "</think>" not in text:
        return text
    return _THINK.sub("", text).rpartition("</think>")[2].strip()


def bare_answer(text: str) -> str:
    """Inside of the first answer block behind the reasoning, or all that is behind it."""
    behind = strip_reasoning(text)
    tagged = first_answer_of(behind)
    return behind if tagged is None else tagged
