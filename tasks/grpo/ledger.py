"""`python -m tasks.grpo.ledger`: whom the last run paid, and for what, from data/grpo/rollouts.parquet.

For each term of the reward how much of the pay moves by it, and alarms, each a pattern by which rewards are known to go
wrong. An alarm names its measure, the value from which it fires, and an example. Pure but for `main`.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks import paths
from tasks.core.io.cli import run_stage
from tasks.core.io.tables import iter_parts
from tasks.core.rewards.measures import words
from tasks.core.rewards.robust import parse_letter
from tasks.core.text.tags import answer_of, think_of

RIGHT_ABOVE = 0.99
PART = 0.2
"""The first and the last fifth of the steps are compared."""
TERMS = ("accuracy", "format", "length_reward", "temporal_bonus")
_OPEN, _CLOSE = r"[\s*_(\[{\"'`]*", r"[*_)\]}\"'`]*"
_BEHIND = r"\s*[.,;:!(\n]|\s*$|\s+(?:because|since|as|due|for|and|so|which|but)\b|\s+[-–—]\s"
_LETTER = rf"{_OPEN}([A-Z])(?![\w'-])(?={_CLOSE}(?:{_BEHIND}))"
_CONCLUDES = re.compile(
    r"(?:(?i:\b(?:is|it[’']s|(?:must|should|would|will|has\s+to)\s+be|choose|pick|select|go\s+with)\b\s*:?\s*"
    r"(?:the\s+)?(?:(?:option|choice|answer|letter)\b)?|\banswer\b\**\s*[:=]?|\b(?:option|choice)\b\**\s*[:=]"
    r"|\b(?:so|thus|hence|therefore)\b,?|[-=]>|→)"
    rf"|\\boxed){_LETTER}|\b([A-Z])\)?\s+(?i:is\s+(?:the\s+)?(?:correct|right|best|answer)\b)"
)
"""A letter that reasoning settles on. One that is merely spoken of ("not B", "this rules out option B") is none, nor a
word of one letter ("is A ball", "is I think")."""


class Alarm(NamedTuple):
    """One pattern looked for."""

    name: str
    what: str
    """In words, what `value` is."""
    value: float | None
    """None: nothing to measure it on."""
    fires_from: float
    example: str = ""

    @property
    def fires(self) -> bool:
        """Whether the pattern is there."""
        return self.value is not None and self.value >= self.fires_from


def ledger(rollouts: pd.DataFrame) -> dict[str, Any]:
    """Shares of the pay by term, and all alarms.

    Args:
        rollouts: rows of ROLLOUT_SCHEMA.

    Returns:
        Zero completions and no alarm where none got an advantage.
    """
    paid = rollouts[~rollouts.perturbed & rollouts.advantage.notna()].reset_index(drop=True)
    if paid.empty:
        return {"completions": 0, "pay": dict.fromkeys(TERMS, 0.0), "alarms": []}
    paid = paid.assign(group=list(zip(paid.step, paid.problem_id, strict=True)), **_letters(paid))
    alarms = [check(paid) for check in CHECKS]
    return {
        "completions": len(paid),
        "pay": pay_by_term(paid),
        "alarms": [{**alarm._asdict(), "fires": alarm.fires} for alarm in alarms],
    }


def pay_by_term(paid: pd.DataFrame) -> dict[str, float]:
    """Share of each term in what moves within groups: sums of absolute distances from the group's mean."""
    moved = {}
    for term in TERMS:
        values = paid[term].fillna(0.0)
        moved[term] = float((values - values.groupby(paid.group).transform("mean")).abs().sum())
    total = sum(moved.values())
    return {term: value / total if total else 0.0 for term, value in moved.items()}


def contradicted(paid: pd.DataFrame) -> Alarm:
    """Right letters whose reasoning names another, paid all the same."""
    right = paid[(paid.accuracy > RIGHT_ABOVE) & paid.reasoned.notna() & paid.answered.notna()]
    wrong = right[(right.reasoned != right.answered) & (right.advantage > 0)]
    share = len(wrong) / len(right) if len(right) else None
    what = "share of right letters that are paid although their reasoning names another letter"
    return Alarm("reasoning contradicts a paid letter", what, share, 0.02, _example(wrong))


def pushed_down(paid: pd.DataFrame) -> Alarm:
    """Fully right completions, reasoning and answer at one, with a negative advantage."""
    agree = paid.reasoned.isna() | paid.answered.isna() | (paid.reasoned == paid.answered)
    sound = paid[(paid.accuracy > RIGHT_ABOVE) & (paid["format"] >= 1) & agree]
    down = sound[sound.advantage < 0]
    share = len(down) / len(sound) if len(sound) else None
    what = "share of sound, fully right completions with a negative advantage"
    return Alarm("a sound completion is pushed down", what, share, 0.05, _example(down))


def one_word(paid: pd.DataFrame) -> Alarm:
    """Whether one word of the reasoning explains the temporal bonus among right completions of a prompt.

    It fires beyond what the best of so many words explains of so few completions by chance, in 95 cases of 100.
    """
    right = paid[(paid.accuracy > RIGHT_ABOVE) & paid.temporal_bonus.notna()]
    bonus = right.groupby("group").temporal_bonus
    some = right[(bonus.transform("size") > 2) & (bonus.transform("std") > 1e-6)]
    what = "largest share of the bonus's variance within prompts that having one word explains"
    explained = _explained(some) if some.group.nunique() >= 5 else {}
    if not explained:
        return Alarm("pay is explained by one word", what, None, 0.5)
    from scipy import stats  # half a second, which runs without a bonus do not wait for

    best = max(sorted(explained), key=lambda word: explained[word])
    free = len(some) - some.group.nunique()
    by_chance = float(stats.beta.isf(0.05 / len(explained), 0.5, (free - 1) / 2))
    return Alarm("pay is explained by one word", what, explained[best], max(0.5, by_chance), best)


def _explained(rows: pd.DataFrame) -> dict[str, float]:
    """Word -> share of the bonus's variance within prompts that having it explains; none that all of a prompt have."""
    moved: dict[str, float] = defaultdict(float)
    spread: dict[str, float] = defaultdict(float)
    total = 0.0
    for _, group in rows.groupby("group"):
        bonus = group.temporal_bonus - group.temporal_bonus.mean()
        total += float((bonus**2).sum())
        having: Counter[str] = Counter()
        for text, value in zip(group.completion, bonus, strict=True):
            for word in set(words(think_of(text) or "")):
                having[word] += 1
                moved[word] += value
        for word, count in having.items():
            spread[word] += count * (1 - count / len(group))
    return {word: moved[word] ** 2 / (width * total) for word, width in spread.items() if width > 0}


def length_drift(paid: pd.DataFrame) -> Alarm:
    """How much longer or shorter completions got; by problem type, so that other questions are no drift."""
    first, last = _ends(paid)
    before = last.problem_type.map(first.groupby("problem_type").tokens.mean())
    what = "mean tokens of the last fifth of steps over those of its problem types in the first, or its inverse"
    if before.isna().all():
        return Alarm("completions drift in length", what, None, 1.5)
    ends = float(before.mean()), float(last.tokens[before.notna()].mean())
    return Alarm("completions drift in length", what, max(ends) / max(min(ends), 1e-9), 1.5)


def letter_collapse(paid: pd.DataFrame) -> Alarm:
    """How much more often one letter is answered than at the start.

    It fires beyond two standard errors of such a gain over so many questions.
    """
    parts = [part[part.answered.notna()] for part in _ends(paid)]
    what = "largest gain of a letter's share of the answers between the first and the last fifth of steps"
    if any(part.empty for part in parts):
        return Alarm("answers collapse to a letter", what, None, 0.25)
    first, last = (part.answered.value_counts(normalize=True) for part in parts)
    gain, pooled = last.sub(first, fill_value=0.0), last.add(first, fill_value=0.0) / 2
    letter = gain.idxmax()
    share, questions = pooled[letter], [part.group.nunique() for part in parts]
    two_errors = 2 * math.sqrt(share * (1 - share) * (1 / questions[0] + 1 / questions[1]))
    return Alarm("answers collapse to a letter", what, float(gain[letter]), max(0.25, two_errors), str(letter))


def reward_against_format(paid: pd.DataFrame) -> Alarm:
    """Reward up while the format falls."""
    first, last = _ends(paid)
    up = float(last.reward.mean() - first.reward.mean())
    lost = float(first["format"].mean() - last["format"].mean())
    what = "format lost while reward rose, first to last fifth of steps"
    return Alarm("reward rises while the format falls", what, lost if up > 0 else 0.0, 0.05)


CHECKS: tuple[Callable[[pd.DataFrame], Alarm], ...] = (
    contradicted,
    pushed_down,
    one_word,
    length_drift,
    letter_collapse,
    reward_against_format,
)


def lines(numbers: dict[str, Any]) -> list[str]:
    """The ledger as the command prints it."""
    shares = ", ".join(f"{term} {100 * share:.0f} %" for term, share in numbers["pay"].items())
    out = [f"ledger: {numbers['completions']} completions; what moves within groups: {shares}"]
    for alarm in numbers["alarms"]:
        value = "nothing to measure" if alarm["value"] is None else f"{alarm['value']:.3f}"
        state = "ALARM" if alarm["fires"] else "quiet"
        out.append(f"  {state}  {alarm['name']}: {value} (from {alarm['fires_from']:.2g}: {alarm['what']})")
        if alarm["fires"] and alarm["example"]:
            out.append(f"         {alarm['example']}")
    return out


def _letters(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """Of multiple choice completions the letters that the reasoning settles on and that is answered; None without."""
    texts = rows.completion.where(rows.problem_type == "multiple choice", "")
    return {
        "reasoned": pd.Series([concluded(think_of(text) or "") for text in texts], rows.index, object),
        "answered": pd.Series([parse_letter(answer_of(text) or "") for text in texts], rows.index, object),
    }


def concluded(reasoning: str) -> str | None:
    """The option letter that reasoning settles on, the last one if there are several; None if it names none."""
    letters = [first or second for first, second in _CONCLUDES.findall(reasoning)]
    return letters[-1] if letters else None


def _ends(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    low, high = np.quantile(rows.step, [PART, 1 - PART])
    return rows[rows.step <= low], rows[rows.step >= high]


def _example(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    row = rows.iloc[0]
    text = " ".join(row.completion.split())[:160]
    return f"step {row.step}, problem {row.problem_id}, advantage {row.advantage:+.2f}: {text}"


def main() -> int:
    """Print the ledger of the last run."""
    print("\n".join(lines(ledger(pa.concat_tables(iter_parts(paths.ROLLOUTS, None)).to_pandas()))))
    return 0


if __name__ == "__main__":
    run_stage(main, about=__doc__)
