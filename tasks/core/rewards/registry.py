"""The table of rules by variant and problem type."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tasks.core.rewards import robust, strict
from tasks.core.rewards.score import Score, Verdict
from tasks.core.text.tags import answer_of, first_answer_of

Rule = Callable[[str, str], Verdict]

RULES: Mapping[str, Mapping[str, Rule]] = {
    "strict": {
        "multiple choice": strict.letter,
        "numerical": strict.number,
        "OCR": strict.transcription,
        "free-form": strict.free_text,
        "regression": strict.regression,
    },
    "robust": {
        "multiple choice": robust.letter,
        "numerical": robust.number,
        "OCR": robust.transcription,
        "free-form": robust.free_text,
        "regression": robust.regression,
    },
}
VARIANTS = tuple(RULES)


def accuracy(problem_type: str, completion: str, solution: str, variant: str = "robust") -> Score:
    """Score the answer of `completion` against the one of `solution`.

    strict: the first answer block anywhere; without one the answer is empty, as published. robust: the first answer
    block behind the reasoning; without one the score is 0 and the answer is not parsed.

    Raises:
        ValueError: unknown problem type or variant.
    """
    if variant not in RULES or problem_type not in RULES[variant]:
        raise ValueError(
            f"no rule for problem type {problem_type!r} in variant {variant!r}; "
            f"types: {', '.join(RULES['strict'])}; variants: {', '.join(VARIANTS)}"
        )
    answer = first_answer_of(completion) if variant == "strict" else answer_of(completion)
    if answer is None and variant == "robust":
        return Score(0.0, "", False, "no answer block")
    verdict = RULES[variant][problem_type](answer or "", first_answer_of(solution) or "")
    return Score(verdict.value, answer or "", verdict.parsed, verdict.rule)


_READERS: Mapping[str, Callable[[str], object]] = {
    "multiple choice": robust.parse_letter,
    "numerical": robust.parse_number,
    "OCR": robust.evened,
    "free-form": robust.words,
    "regression": robust.parse_number,
}


def unscorable(problem_type: str, truth: str) -> str | None:
    """Why an answer equal to the truth would not reach 1 in the robust variant; None when it would.

    The robust rule scores every truth that it can read 1 against itself, so it is enough to read the truth; scoring
    would take far longer.

    Raises:
        KeyError: unknown problem type.
    """
    read = _READERS[problem_type](truth)
    if read is None or read == "" or read == []:
        return f"the {problem_type} rule cannot read the truth {truth[:60]!r}, so no answer could be right"
    return None
