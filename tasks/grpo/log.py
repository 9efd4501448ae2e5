"""The logs of a run: metrics by step and problem type, and every rollout."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from tasks.core.io.atomic import replacing, write_text
from tasks.core.io.tables import write_table
from tasks.core.rewards.robust import parse_letter
from tasks.core.text.tags import answer_of
from tasks.grpo.groups import Group
from tasks.grpo.objectives.logprob import order_share
from tasks.grpo.rollout import Completion

ROLLOUT_SCHEMA = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("attempt", pa.int64(), nullable=False),
        pa.field("problem_id", pa.int64(), nullable=False),
        pa.field("problem_type", pa.string(), nullable=False),
        pa.field("data_type", pa.string(), nullable=False),
        pa.field("skill", pa.string(), nullable=False),
        pa.field("temporal", pa.bool_()),
        pa.field("perturbed", pa.bool_(), nullable=False),
        pa.field("frame_order", pa.list_(pa.int64()), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("completion", pa.string(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
        pa.field("accuracy", pa.float64(), nullable=False),
        pa.field("format", pa.float64(), nullable=False),
        pa.field("parsed", pa.bool_()),
        pa.field("length_reward", pa.float64()),
        pa.field("temporal_bonus", pa.float64()),
        pa.field("order_nats", pa.float64()),
        pa.field("reward", pa.float64()),
        pa.field("advantage", pa.float64()),
    ]
)
"""One row per sampled completion. Of a perturbed one only accuracy matters: the columns from parsed on are null.
attempt counts the prompts tried in a slot (`refill`); a completion without advantage belongs to a prompt that was
replaced."""
COLUMNS = {
    "step": "step",
    "loss": "loss",
    "reward": "reward",
    "accuracy": "accuracy_ordered",
    "accuracy_shuffled": "accuracy_shuffled",
    "temporal_gap": "temporal_gap",
    "bonus_rate": "bonus_rate",
    "order_nats": "order_nats",
    "format": "format",
    "unparsed": "unparsed_share",
    "length": "length",
    "truncated": "truncated_share",
    "zero_variance": "zero_variance_share",
    "no_signal": "no_signal_share",
    "refilled": "refilled_share",
    "skipped": "skipped_share",
    "kl": "kl",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_share",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
}
"""Log key -> column of the curve."""
STEP_TIME = "step_time"
"""Log key of a step's seconds: on screen and in TensorBoard alone, for two runs of one thing leave equal files."""
MULTIPLE_CHOICE = "multiple choice"


def group_metrics(group: Group) -> dict[str, float]:
    """Metrics of one prompt; those of perturbed views only where it has such views."""
    score, completions, count = group.score, group.completions, len(group.completions)
    metrics = {
        "reward": sum(score.total) / count,
        "accuracy": sum(score.accuracy) / count,
        "format": sum(score.format) / count,
        "length_reward": sum(score.length) / count,
        "unparsed": 1 - sum(score.parsed) / count,
        "length": sum(len(completion.ids) for completion in completions) / count,
        "truncated": sum(completion.truncated for completion in completions) / count,
        "zero_variance": float(not score.varies),
        "no_signal": float(not score.has_signal),
    }
    if score.terms:
        metrics["bonus_rate"] = float(score.terms.paid)
        metrics["temporal_bonus"] = sum(score.terms.bonus) / count
    if score.accuracy_perturbed:
        metrics["accuracy_shuffled"] = sum(score.accuracy_perturbed) / len(score.accuracy_perturbed)
        metrics["temporal_gap"] = metrics["accuracy"] - metrics["accuracy_shuffled"]
    if group.comparison:
        drops = group.comparison.total_drops()
        metrics["order_nats"] = sum(drops) / count
        metrics["order_share"] = sum(order_share(drops, 1.0)) / count
    return metrics


def step_metrics(groups: Sequence[Group | None], replaced: int) -> dict[str, float]:
    """Metrics of a step: over all prompts, and `<metric>/<problem type>` over those of a type.

    Args:
        groups: every slot's last group.
        replaced: prompts that `refill` replaced.
    """
    sampled = [group for group in groups if group]
    slots = len(groups)
    metrics = {"skipped": 1 - len(sampled) / slots, "refilled": replaced / slots}
    metrics |= averaged([group_metrics(group) for group in sampled])
    for kind in sorted({group.prompt.record.problem_type for group in sampled}):
        entries = [group_metrics(group) for group in sampled if group.prompt.record.problem_type == kind]
        metrics |= {f"{name}/{kind}": value for name, value in averaged(entries).items()}
        metrics[f"prompts/{kind}"] = float(len(entries))
    return metrics | letter_shares(sampled)


def averaged(entries: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over the entries that have it."""
    names = sorted({name for entry in entries for name in entry})
    known = {name: [entry[name] for entry in entries if name in entry] for name in names}
    return {name: sum(values) / len(values) for name, values in known.items()}


def letter_shares(groups: Sequence[Group]) -> dict[str, float]:
    """`letter/A`, ...: what share of the ordered completions to multiple-choice questions names each letter, or `none`.

    Letters that nobody named are left out. A policy that learned a position instead of an answer shows here.
    """
    chosen = [group for group in groups if group.prompt.record.problem_type == MULTIPLE_CHOICE]
    named = Counter(parse_letter(answer_of(a.text) or "") or "none" for group in chosen for a in group.completions)
    return {f"letter/{letter}": count / named.total() for letter, count in sorted(named.items())}


def step_rollouts(
    groups: Iterable[Group | None], advantages: Mapping[int, Sequence[float]] | None, step: int
) -> Iterator[dict[str, Any]]:
    """Rows of ROLLOUT_SCHEMA, ordered completions of a prompt first.

    Args:
        groups: sampled or lost prompts.
        advantages: G values by slot; None for prompts that were replaced.
        step: 1-based.
    """
    for group in groups:
        if group:
            yield from _rollout_rows(group, None if advantages is None else advantages[group.slot], step)


def _rollout_rows(group: Group, advantage: Sequence[float] | None, step: int) -> Iterator[dict[str, Any]]:
    score = group.score
    bonus = score.terms.bonus if score.terms else [0.0] * len(group.completions)
    drops = group.comparison.total_drops() if group.comparison else None
    for i, completion in enumerate(group.completions):
        yield _row(group, False, completion, step) | {
            "accuracy": score.accuracy[i],
            "format": score.format[i],
            "parsed": score.parsed[i],
            "length_reward": score.length[i],
            "temporal_bonus": bonus[i],
            "order_nats": drops[i] if drops else None,
            "reward": score.total[i],
            "advantage": None if advantage is None else advantage[i],
        }
    for i, completion in enumerate(group.perturbed):
        yield _row(group, True, completion, step) | {
            "accuracy": score.accuracy_perturbed[i],
            "format": score.format_perturbed[i],
        }


def _row(group: Group, perturbed: bool, completion: Completion, step: int) -> dict[str, Any]:
    record = group.prompt.record
    return dict.fromkeys(ROLLOUT_SCHEMA.names) | {
        "step": step,
        "attempt": group.attempt,
        "problem_id": record.problem_id,
        "problem_type": record.problem_type,
        "data_type": record.data_type,
        "skill": record.skill,
        "temporal": record.temporal,
        "perturbed": perturbed,
        "frame_order": group.perturbed_order if perturbed else group.order,
        "prompt": group.prompt.text,
        "completion": completion.text,
        "tokens": len(completion.ids),
        "truncated": completion.truncated,
    }


class RolloutLog:
    """Rollouts of a run, one parquet file per step: a step done again after a restart replaces its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        """Keep the rollouts of one step (1-based)."""
        write_table(self._folder / f"{step:08d}.parquet", rows, ROLLOUT_SCHEMA)

    def count(self, steps: int) -> int:
        """Completions sampled in steps 1..`steps`."""
        return sum(pq.read_metadata(self._folder / f"{step:08d}.parquet").num_rows for step in range(1, steps + 1))

    def join(self, out: Path, steps: int) -> int:
        """Write steps 1..`steps` as one table, a step at a time; returns the number of rows."""
        count = 0
        with replacing(out) as temporary, pq.ParquetWriter(temporary, ROLLOUT_SCHEMA) as writer:
            for step in range(1, steps + 1):
                table = pq.read_table(self._folder / f"{step:08d}.parquet", schema=ROLLOUT_SCHEMA)
                writer.write_table(table)
                count += table.num_rows
        return count


def steps_jsonl(log: Iterable[Mapping[str, Any]]) -> str:
    """One JSON object per logged step with every metric but its time; not-a-number and the closing summary left out."""

    def kept(name: str, value: Any) -> bool:
        return name != STEP_TIME and value is not None and not (isinstance(value, float) and not math.isfinite(value))

    steps = [{name: value for name, value in entry.items() if kept(name, value)} for entry in log if "loss" in entry]
    # Sorted: a log that went through a checkpoint is, and a resumed run leaves the bytes of one that was not stopped.
    return "".join(f"{json.dumps(step, sort_keys=True)}\n" for step in steps)


class StepsWriter(TrainerCallback):
    """Keeps the JSON lines of all steps in the work folder, whole at every checkpoint and at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write from the whole log, which a checkpoint restores: a resumed log has neither gap nor repeat."""
        if state.is_world_process_zero:
            write_text(self._path, steps_jsonl(state.log_history))

    on_train_end = on_save


class EventWriter(TensorBoardCallback):
    """Every logged metric as TensorBoard's event files in `folder`; wants the package tensorboard."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.logging_dir = str(folder)
