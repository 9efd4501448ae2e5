"""What a run says: metrics per step, and every rollout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.io.atomic import replacing
from tasks.core.io.tables import write_table
from tasks.grpo.data import Prompt, View, Views
from tasks.grpo.rollout import Answer
from tasks.grpo.scoring import GroupScore

ROLLOUT_SCHEMA = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("problem_id", pa.int64(), nullable=False),
        pa.field("problem_type", pa.string(), nullable=False),
        pa.field("data_type", pa.string(), nullable=False),
        pa.field("skill", pa.string(), nullable=False),
        pa.field("temporal", pa.bool_()),
        pa.field("shuffled", pa.bool_(), nullable=False),
        pa.field("frame_order", pa.list_(pa.int64()), nullable=False),
        pa.field("completion", pa.string(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
        pa.field("accuracy", pa.float64(), nullable=False),
        pa.field("format", pa.float64(), nullable=False),
        pa.field("length_reward", pa.float64()),
        pa.field("temporal_bonus", pa.float64()),
        pa.field("reward", pa.float64()),
        pa.field("advantage", pa.float64()),
    ]
)
"""One row per sampled answer. Of a shuffled one only accuracy matters: the columns from length_reward on are null."""
COLUMNS = {
    "step": "step",
    "loss": "loss",
    "reward": "reward",
    "accuracy": "accuracy_ordered",
    "accuracy_shuffled": "accuracy_shuffled",
    "temporal_gap": "temporal_gap",
    "bonus_rate": "bonus_rate",
    "format": "format",
    "length": "length",
    "truncated": "truncated_share",
    "zero_variance": "zero_variance_share",
    "skipped": "skipped_share",
    "kl": "kl",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_share",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "step_time": "seconds",
}
"""Log key -> column of the curve."""
EQUAL = 1e-8
"""Rewards no further apart than this have no variance."""


def group_metrics(score: GroupScore, answers: Sequence[Answer]) -> dict[str, float]:
    """One prompt's share in a step's metrics; contrast metrics only where there was a contrast."""
    count = len(answers)
    found = {
        "skipped": 0.0,
        "reward": sum(score.total) / count,
        "accuracy": sum(score.accuracy) / count,
        "format": sum(score.format) / count,
        "length": sum(len(answer.ids) for answer in answers) / count,
        "truncated": sum(answer.truncated for answer in answers) / count,
        "zero_variance": float(max(score.total) - min(score.total) <= EQUAL),
    }
    if score.contrast:
        found["accuracy_shuffled"] = score.contrast.shuffled
        found["temporal_gap"] = score.contrast.gap
        found["bonus_rate"] = float(score.contrast.paid)
    return found


def rollout_rows(
    prompt: Prompt,
    views: Views,
    answers: Sequence[Answer],
    shuffled: Sequence[Answer],
    score: GroupScore,
    advantage: Sequence[float],
    step: int,
) -> Iterator[dict[str, Any]]:
    """Rows of ROLLOUT_SCHEMA of one prompt, ordered answers first."""
    bonus = score.contrast.bonus if score.contrast else [0.0] * len(answers)
    for i, answer in enumerate(answers):
        yield _row(prompt, views.ordered, answer, step, score.accuracy[i], score.format[i]) | {
            "length_reward": score.length[i],
            "temporal_bonus": bonus[i],
            "reward": score.total[i],
            "advantage": advantage[i],
        }
    for i, answer in enumerate(shuffled):
        assert views.shuffled is not None
        yield _row(prompt, views.shuffled, answer, step, score.accuracy_shuffled[i], score.format_shuffled[i])


def _row(prompt: Prompt, view: View, answer: Answer, step: int, accuracy: float, shape: float) -> dict[str, Any]:
    record = prompt.record
    return {
        "step": step,
        "problem_id": record.problem_id,
        "problem_type": record.problem_type,
        "data_type": record.data_type,
        "skill": record.skill,
        "temporal": record.temporal,
        "shuffled": view.shuffled,
        "frame_order": view.order,
        "completion": answer.text,
        "tokens": len(answer.ids),
        "truncated": answer.truncated,
        "accuracy": accuracy,
        "format": shape,
        "length_reward": None,
        "temporal_bonus": None,
        "reward": None,
        "advantage": None,
    }


class RolloutLog:
    """Rollouts of a run, one parquet file per step: a step done again after a restart replaces its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        """Keep the rollouts of one step (1-based)."""
        write_table(self._folder / f"{step:08d}.parquet", rows, ROLLOUT_SCHEMA)

    def join(self, out: Path, steps: int) -> int:
        """Write steps 1..`steps` as one table, a step at a time; returns the number of rows."""
        count = 0
        with replacing(out) as temporary, pq.ParquetWriter(temporary, ROLLOUT_SCHEMA) as writer:
            for step in range(1, steps + 1):
                table = pq.read_table(self._folder / f"{step:08d}.parquet", schema=ROLLOUT_SCHEMA)
                writer.write_table(table)
                count += table.num_rows
        return count
