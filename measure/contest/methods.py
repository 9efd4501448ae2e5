"""What is compared: plain GRPO, published rules, ours, controls, and SFT on what a teacher answers.

Values are the objective's defaults until `tune` has chosen better ones on validation splits of the tuning starts, with
the same number of trials for every method; what it chose lies in reports/contest/chosen.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from measure.contest.remedies import Remedy, audited, kept, pairs, twice
from tasks.core.io.errors import StageError
from tasks.grpo.objectives import Choice
from tasks.grpo.objectives.arrow import Arrow
from tasks.grpo.objectives.exchange import Exchange
from tasks.grpo.objectives.grpo import PlainGrpo
from tasks.grpo.objectives.ktr import Ktr
from tasks.grpo.objectives.logprob import LogProb
from tasks.grpo.objectives.papo import Papo
from tasks.grpo.objectives.permuted import Permuted
from tasks.grpo.objectives.taro import Taro
from tasks.grpo.objectives.tgrpo_reward import TgrpoReward
from tasks.grpo.objectives.unlikely import Unlikely
from tasks.params import Grpo

GROUP = 12


class Method(NamedTuple):
    """A way of training."""

    objective: Choice | None
    """None: no RL, but SFT on the answers of the mini world's teacher (`teaching.py`)."""
    group: int = GROUP
    changes: Mapping[str, Any] = {}
    """Further fields of the `grpo` section."""
    remedy: Remedy = kept
    """What becomes of the RL rows."""
    own_answers: bool = False
    """SFT is on what the start itself answers right, not on a teacher's answers."""


CLIP_HIGHER = {"refill": 1, "epsilon_high": 0.28}
"""Dynamic sampling and the wider upper clip of DAPO (arXiv 2503.14476): what plain GRPO may use too."""
PUBLISHED_LENGTH = {"omega": 0.2, "min_tokens": 24, "max_tokens": 40}
"""The published length reward, its window moved to the lengths of the mini world's completions."""
METHODS: dict[str, Method] = {
    "grpo": Method(PlainGrpo(), changes=CLIP_HIGHER),
    "tgrpo": Method(TgrpoReward(completions=4), 8, {"beta": 0.04, "length": PUBLISHED_LENGTH}),
    "taro": Method(Taro(), changes=CLIP_HIGHER),
    "ktr": Method(Ktr(), changes=CLIP_HIGHER),
    "arrow": Method(Arrow(completions=4), 8, CLIP_HIGHER),
    "logprob": Method(LogProb(), changes=CLIP_HIGHER),
    "exchange": Method(Exchange(), changes=CLIP_HIGHER),
    "papo": Method(Papo(), changes=CLIP_HIGHER),
    "permuted": Method(Permuted(), changes=CLIP_HIGHER),
    "unlikely": Method(Unlikely(), changes=CLIP_HIGHER),
    "grpo_hot": Method(PlainGrpo(), changes=CLIP_HIGHER | {"temperature": 1.3}),
    "grpo_pairs": Method(PlainGrpo(), changes=CLIP_HIGHER, remedy=pairs),
    "grpo_twice": Method(PlainGrpo(), changes=CLIP_HIGHER, remedy=twice),
    "grpo_audited": Method(PlainGrpo(), changes=CLIP_HIGHER, remedy=audited),
    "sft": Method(None),
    "sft_pairs": Method(None, remedy=pairs),
    "sft_twice": Method(None, remedy=twice),
    "rft_pairs": Method(None, remedy=pairs, own_answers=True),
    "rft_twice": Method(None, remedy=twice, own_answers=True),
}
"""`grpo_hot` is exploration at the same operations: plain GRPO sampled at a higher temperature; `grpo_pairs`,
`grpo_twice` and `grpo_audited` are plain GRPO on other rows (`remedies.py`), and so is SFT on them, on a teacher's
answers (`sft_`) or on the start's own right ones (`rft_`)."""
PLACEBOS = {"exchange": "permuted", "grpo_pairs": "grpo_twice", "sft_pairs": "sft_twice", "rft_pairs": "rft_twice"}
"""Method -> what has all of it but its idea, and takes the values that were chosen for it."""
METHOD_OF = {placebo: method for method, placebo in PLACEBOS.items()}
LEADING = (
    *("grpo", "grpo_pairs", "grpo_twice", "sft", "sft_pairs", "sft_twice", "rft_pairs", "rft_twice"),
    *("arrow", "exchange"),
)
"""Plain GRPO and SFT, both with reversed pairs and their placebo, the reversed branch and ours have a run for every
start and seed; the others take half of the seeds."""
STRENGTH_FIELD = {"tgrpo": "alpha", "taro": "alpha", "arrow": "alpha", "logprob": "alpha", "exchange": "alpha"} | {
    "permuted": "alpha",
    "unlikely": "beta",
    "ktr": "ratio",
    "papo": "gamma",
}
"""The one number that says how strong a method's term is; methods without one spend its trial on the learning rate."""


class Counts(NamedTuple):
    """How many runs a protocol asks of each method before it is judged."""

    leading: int = 16
    others: int = 8
    starts: int = 5
    leaders: tuple[str, ...] = LEADING

    def of(self, method: str) -> int:
        """Runs of one method."""
        return self.leading if method in self.leaders else self.others

    def seeds(self, method: str, seeds: int) -> int:
        """Seeds of a start that a method takes, of `seeds`."""
        return seeds if method in self.leaders else (seeds + 1) // 2


class Trial(NamedTuple):
    """Values of a method that are tried."""

    learning_rate: float
    strength: float
    """Times the default of the method's number."""


TRIALS = (Trial(0.0003, 1.0), Trial(0.0001, 1.0))


def settings(method: str, base: Grpo, trial: Trial, steps: int) -> Grpo:
    """The `grpo` section of a run.

    Args:
        method: one of METHODS.
        base: the section of params.yaml, for all that methods share.
        trial: its values.
        steps: optimizer steps.

    Raises:
        StageError: a method that is unknown, or without RL.
    """
    if method not in METHODS or METHODS[method].objective is None:
        known = ", ".join(name for name, each in METHODS.items() if each.objective is not None)
        raise StageError(f"no method {method!r} of RL; methods: {known}")
    chosen = METHODS[method]
    assert chosen.objective is not None
    changes = dict(chosen.changes)
    sampling = base.sampling.model_dump() | {"temperature": changes.pop("temperature", base.sampling.temperature)}
    shared = {"refill": 0, "epsilon_high": None, "beta": 0.0, "length": None, "scheduler": "constant"}
    own = {"objective": _strong(method, chosen.objective, trial.strength).model_dump(), "group": chosen.group}
    run = {"steps": steps, "learning_rate": trial.learning_rate, "sampling": sampling, "report_to": []}
    return Grpo.model_validate(base.model_dump() | shared | changes | own | run)


def _strong(method: str, objective: Choice, strength: float) -> Choice:
    field = STRENGTH_FIELD.get(method)
    if field is None:
        return objective
    value = getattr(objective, field) * strength
    return objective.model_copy(update={field: value if field in ("alpha", "gamma") else min(1.0, value)})


def best_of(
    rows: Sequence[Mapping[str, Any]], trials: int, starts: int, allowed_loss: float | None = None
) -> dict[str, dict[str, Any]]:
    """Values of each method that was tried in full.

    Args:
        rows: of tuning.csv.
        trials: trials of a method.
        starts: starts of a trial.
        allowed_loss: share of static questions on moving clips that a trial may lose against its starts.

    Returns:
        Method -> the trial with the largest mean pair accuracy, the earlier one of equals, among those that lose no
        more than is allowed; the one that loses least where all lose more.
    """
    chosen: dict[str, dict[str, Any]] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        of_trial: dict[int, list[Mapping[str, Any]]] = {}
        for row in rows:
            if row["method"] == method:
                of_trial.setdefault(int(row["trial"]), []).append(row)
        if len(of_trial) < trials or any(len(own) < starts for own in of_trial.values()):
            continue
        pairs = {number: mean_of(own, "pair_accuracy") for number, own in sorted(of_trial.items())}
        losses = {} if allowed_loss is None else {number: _lost(own) for number, own in of_trial.items()}
        best = _best(pairs, losses, allowed_loss)
        chosen[method] = {
            "values": TRIALS[best]._asdict(),
            "pair_accuracy": pairs[best],
            **({"static_on_moving_loss": losses[best]} if losses else {}),
            "trials": len(pairs),
        }
    return chosen


def mean_of(rows: Sequence[Mapping[str, Any]], field: str) -> float:
    """Mean of a column."""
    return sum(float(row[field]) for row in rows) / len(rows)


def _lost(rows: Sequence[Mapping[str, Any]]) -> float:
    return mean_of(rows, "static_on_moving_before") - mean_of(rows, "static_on_moving")


def _best(pairs: Mapping[int, float], losses: Mapping[int, float], allowed_loss: float | None) -> int:
    """Number of the trial that is taken; `losses` is empty where any is allowed."""
    sparing = [number for number in pairs if allowed_loss is None or losses[number] <= allowed_loss]
    if not sparing:
        return min(pairs, key=lambda number: losses[number])
    return max(sparing, key=lambda number: pairs[number])


def read_chosen(path: Path, methods: Sequence[str], tune: str) -> dict[str, Trial]:
    """Values that tuning chose; a placebo has those of its method. `tune`: the command that chooses them.

    Raises:
        StageError: none for some method; names the command that chooses.
    """
    chosen = json.loads(path.read_text()) if path.exists() else {}
    values_of = {method: METHOD_OF.get(method, method) for method in methods}
    if missing := list(dict.fromkeys(tuned for tuned in values_of.values() if tuned not in chosen)):
        raise StageError(f"{path}: no values for {', '.join(missing)}; {tune} chooses them")
    return {method: Trial(**chosen[tuned]["values"]) for method, tuned in values_of.items()}
