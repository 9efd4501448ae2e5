"""Whom a run paid, and for what: `python -m tasks.grpo.ledger`, from data/grpo/rollouts.parquet.

For each term of the reward how much of the pay moves by it, and alarms, each a pattern by which rewards are known to go
wrong. An alarm names its measure, the value from which it fires, and an example. Pure but for `main`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tasks import paths
from tasks.core.io.cli import run_stage
from tasks.core.io.errors import StageError
from tasks.core.text.tags import answer_of, think_of

RIGHT_ABOVE = 0.99
PART = 0.2
"""The first and the last fifth of the steps are compared."""
TERMS = ("accuracy", "format", "length_reward", "temporal_bonus")
_NAMES_LETTER = re.compile(r"\bis \(?([A-Z])\b|\b(?:answer|option)\s*(?:is|:)?\s*\(?([A-Z])\b")
_WORD = re.compile(r"[a-z]+")


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
    paid = paid.assign(group=list(zip(paid.step, paid.problem_id, strict=True)), said=paid.completion.map(_letters))
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
    lettered = _letter_rows(paid)
    wrong = lettered[(lettered.accuracy > RIGHT_ABOVE) & (lettered.reasoned != lettered.answered)]
    right = lettered[lettered.accuracy > RIGHT_ABOVE]
    share = float((wrong.advantage > 0).sum() / len(right)) if len(right) else None
    what = "share of right letters that are paid although their reasoning names another letter"
    return Alarm("reasoning contradicts a paid letter", what, share, 0.02, _example(wrong[wrong.advantage > 0]))


def pushed_down(paid: pd.DataFrame) -> Alarm:
    """Fully right completions, reasoning and answer at one, with a negative advantage."""
    sound = paid[(paid.accuracy > RIGHT_ABOVE) & (paid["format"] >= 1)]
    agree = np.array([said is None or said[0] == said[1] for said in sound.said], dtype=bool)
    sound = sound[agree]
    down = sound[sound.advantage < -1e-6]
    share = len(down) / len(sound) if len(sound) else None
    what = "share of sound, fully right completions with a negative advantage"
    return Alarm("a sound completion is pushed down", what, share, 0.05, _example(down))


def one_word(paid: pd.DataFrame) -> Alarm:
    """Whether one word of the reasoning explains the temporal bonus among right completions of a prompt."""
    right = paid[(paid.accuracy > RIGHT_ABOVE) & paid.temporal_bonus.notna()]
    groups = right.groupby("group").filter(lambda g: len(g) > 2 and g.temporal_bonus.std() > 1e-6)
    what = "largest share of the bonus's variance within prompts that having one word explains"
    if groups.group.nunique() < 5:
        return Alarm("pay is explained by one word", what, None, 0.5)
    bonus = groups.temporal_bonus - groups.groupby("group").temporal_bonus.transform("mean")
    words = groups.completion.map(lambda text: frozenset(_WORD.findall((think_of(text) or "").lower())))
    best, shown = 0.0, ""
    for word in set().union(*words):
        has = words.map(lambda own, word=word: float(word in own))
        has = has - has.groupby(groups.group).transform("mean")
        spread = float((has**2).sum())
        explained = float((has * bonus).sum() ** 2 / (spread * (bonus**2).sum())) if spread else 0.0
        if explained > best:
            best, shown = explained, word
    return Alarm("pay is explained by one word", what, best, 0.5, shown)


def length_drift(paid: pd.DataFrame) -> Alarm:
    """How much longer or shorter completions got."""
    first, last = (float(part.tokens.mean()) for part in _ends(paid))
    what = "mean tokens of the last fifth of steps over those of the first, or its inverse"
    return Alarm("completions drift in length", what, max(first, last) / max(min(first, last), 1e-9), 1.5)


def letter_collapse(paid: pd.DataFrame) -> Alarm:
    """How much more often one letter is answered than at the start."""
    shares = []
    for part in _ends(paid):
        letters = _letter_rows(part).answered
        shares.append(letters.value_counts(normalize=True) if len(letters) else pd.Series(dtype=float))
    what = "largest gain of a letter's share of the answers between the first and the last fifth of steps"
    if shares[0].empty or shares[1].empty:
        return Alarm("answers collapse to a letter", what, None, 0.25)
    gain = shares[1].sub(shares[0], fill_value=0.0)
    return Alarm("answers collapse to a letter", what, float(gain.max()), 0.25, str(gain.idxmax()))


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
        out.append(f"  {state}  {alarm['name']}: {value} (from {alarm['fires_from']}: {alarm['what']})")
        if alarm["fires"] and alarm["example"]:
            out.append(f"         {alarm['example']}")
    return out


def _letters(completion: str) -> tuple[str, str] | None:
    """(letter that the reasoning ends on, letter answered); None without both."""
    answer = (answer_of(completion) or "").strip()
    named = [first or second for first, second in _NAMES_LETTER.findall(think_of(completion) or "")]
    return (named[-1], answer[0]) if named and re.fullmatch(r"[A-Z]\b.*", answer, re.DOTALL) else None


def _letter_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Multiple choice completions whose reasoning and answer both name a letter, with the two."""
    lettered = rows[(rows.problem_type == "multiple choice") & rows.said.notna()]
    reasoned, answered = ([said[place] for said in lettered.said] for place in (0, 1))
    return lettered.assign(reasoned=reasoned, answered=answered)


def _ends(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    low, high = np.quantile(rows.step, [PART, 1 - PART])
    return rows[rows.step <= low], rows[rows.step >= high]


def _example(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    row = rows.iloc[0]
    text = " ".join(row.completion.split())[:160]
    return f"step {row.step}, problem {row.problem_id}, advantage {row.advantage:+.2f}: {text}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the ledger of the last run."""
    if not paths.ROLLOUTS.exists():
        raise StageError(f"{paths.ROLLOUTS}: no such file; run the stage grpo first")
    print("\n".join(lines(ledger(pd.read_parquet(paths.ROLLOUTS)))))
    return 0


if __name__ == "__main__":
    run_stage(main)
