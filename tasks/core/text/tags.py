"""Reading `<think>..</think>` and `<answer>..</answer>`."""

import re

_THINK = re.compile(r"<think>\s*(.*?)\s*</think>", re.DOTALL)
_ANSWER = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL)
_WHOLE = re.compile(r"<think>(.*?)</think>\s*<answer>(.*?)</answer>", re.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def think_of(text: str) -> str | None:
    """Inside of the first think block, without surrounding white space; None when no block is closed."""
    found = _THINK.search(text)
    return found.group(1) if found else None


def answer_of(text: str) -> str | None:
    """Inside of the first answer block, without surrounding white space; None when no block is closed.

    First, not last, as published: a second block would let a model answer twice.
    """
    found = _ANSWER.search(text)
    return found.group(1).strip() if found else None


def answers_of(text: str) -> list[str]:
    """Insides of all answer blocks, in order."""
    return [inside.strip() for inside in _ANSWER.findall(text)]


def is_well_formed(text: str) -> bool:
    """Whether the text is one think block and one answer block, neither empty, and nothing else but white space."""
    stripped = text.strip()
    found = _WHOLE.fullmatch(stripped)
    if found is None or any(stripped.count(tag) != 1 for tag in _TAGS):
        return False
    return all(inside.strip() for inside in found.groups())
