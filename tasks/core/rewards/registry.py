"""Which rule scores which problem type: the one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tasks.core.rewards import robust, strict
from tasks.core.rewards.score import Score, Verdict
from tasks.core.text.tags import answer_of

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
    """Score the first answer block of `completion` against the one of `solution`.

    strict: a missing block reads as an empty answer, as published. robust: it scores 0 and is not parsed.

    Raises:
        ValueError: unknown problem type or variant.
    """
    if variant not in RULES or problem_type not in RULES[variant]:
        raise ValueError(
            f"no rule for problem type {problem_type!r} in variant {variant!r}; "
            f"types: {', '.join(RULES['strict'])}; variants: {', '.join(VARIANTS)}"
        )
    answer = answer_of(completion)
    if answer is None and variant == "robust":
        return Score(0.0, "", False, "no answer block")
    verdict = RULES[variant][problem_type](answer or "", answer_of(solution) or "")
    return Score(verdict.value, answer or "", verdict.parsed, verdict.rule)
