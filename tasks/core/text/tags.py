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
    """Inside of the first answer block behind the reasoning, without surrounding white space; None without a block.

    A tag that the reasoning names is no answer. First, not last, as published: a second block would let a model answer
    twice. A text whose only block stands before or inside the reasoning is answered by that one.
    """
    _, closing, behind = text.rpartition("</think>")
    answer = _ANSWER.search(behind) if closing else None
    return answer.group(1).strip() if answer else first_answer_of(text)


def first_answer_of(text: str) -> str | None:
    """Inside of the first answer block wherever it stands, as the published rules read it."""
    answer = _ANSWER.search(text)
    return answer.group(1).strip() if answer else None


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


def opened_by(prompt: str) -> str:
    """The think tag that a prompt's template has opened already, which completions therefore leave out; else nothing.

    Thinking variants of released models end their prompts so. A template that opens and closes an empty block asks for
    no reasoning, and what the model then says is read as it is.
    """
    return "<think>" if prompt.rstrip().endswith("<think>") else ""


def behind_opening(prompt: str, target: str) -> str:
    """What is left to say of a target once its prompt has opened the think block."""
    opening = opened_by(prompt)
    return target.removeprefix(opening).lstrip("\n") if opening and target.startswith(opening) else target
