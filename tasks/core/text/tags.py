"""Reading `<think>..</think>` and `<answer>..</answer>`."""

import re

_ANSWER = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def think_of(text: str) -> str | None:
    """The text inside the first think block, stripped; None when no block is closed."""
    _, opening, behind = text.partition("<think>")
    inside, closing, _ = behind.partition("</think>")
    return inside.strip() if opening and closing else None


def answer_of(text: str) -> str | None:
    """The text inside the first answer block behind the reasoning, stripped; None without a block.

    A tag that the reasoning mentions is no answer. The first block counts, as published: with the last one a model
    could answer twice. If the only block is before or inside the reasoning, that one counts.
    """
    _, closing, behind = text.rpartition("</think>")
    answer = _ANSWER.search(behind) if closing else None
    return answer.group(1).strip() if answer else first_answer_of(text)


def first_answer_of(text: str) -> str | None:
    """The text inside the first answer block, wherever it is, as the published rules read it."""
    answer = _ANSWER.search(text)
    return answer.group(1).strip() if answer else None


def answers_of(text: str) -> list[str]:
    """The texts inside all answer blocks, in order."""
    return [inside.strip() for inside in _ANSWER.findall(text)]


def is_well_formed(text: str) -> bool:
    """Whether the text is one think block and one answer block, neither empty, and nothing else but white space."""
    stripped = text.strip()
    if not (stripped.startswith("<think>") and stripped.endswith("</answer>")):
        return False
    for tag in _TAGS:
        if stripped.count(tag) != 1:
            return False
    reasoning, _, behind = stripped[len("<think>") :].partition("</think>")
    between, opening, answer = behind.partition("<answer>")
    if not opening or between.strip():
        return False
    return bool(reasoning.strip() and answer.removesuffix("</answer>").strip())


def opened_by(prompt: str) -> str:
    """`<think>` if the prompt ends with it, so that completions begin inside the block; else "".

    The chat templates of "thinking" model variants end so. A template that opens and closes an empty block asks for no
    reasoning, and its completions are read as they are.
    """
    return "<think>" if prompt.rstrip().endswith("<think>") else ""


def behind_opening(prompt: str, target: str) -> str:
    """A target without the think tag that its prompt already has."""
    opening = opened_by(prompt)
    return target.removeprefix(opening).lstrip("\n") if opening and target.startswith(opening) else target
