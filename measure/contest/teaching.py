"""SFT in place of RL: a teacher answers the rows, and what it answers right is learned from. At the same operations.

What annotate, filter and sft make of a user's rows, in short: the likeliest completion of the mini world's teacher for
each row, kept where it is well formed and right, which is the published filter; then cross-entropy on its reasoning and
the true answer. The teacher's operations are the method's. The teacher is as large as the start, its perception was
learned without a shortcut: what it knows and the start does not is what the method has beyond RL, which has the true
answers alone.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from measure.contest.evaluate import Policy, answers
from measure.contest.methods import Trial
from tasks.core.io.errors import StageError
from tasks.core.models.load import load_model, load_processor
from tasks.core.schemas.records import Record
from tasks.core.text import think_of
from tasks.params import Params, Sft

EPOCHS = 1000.0
"""Never reached: a run ends by its operations."""


def lessons(teacher: Policy, rows: Sequence[Record]) -> list[Record]:
    """The rows that a teacher answers right in a think and an answer block, with its reasoning.

    Rows asked twice are answered once.
    """
    asked = list({(record.path, record.problem): record for record in rows}.values())
    reasoning = {
        (record.path, record.problem): think_of(result.text)
        for record, result in zip(asked, answers(teacher, asked), strict=True)
        if result.well_formed and result.right
    }
    known = ((record, reasoning.get((record.path, record.problem))) for record in rows)
    return [dataclasses.replace(record, process=f"<think>{said}</think>") for record, said in known if said is not None]


def teacher_of(params: Params, start: Policy) -> Policy:
    """The teacher of the params file, asked as the start is."""
    folder = Path(params.teacher())
    return start._replace(processor=load_processor(folder), model=load_model(folder, "float32", "cpu").eval())


def settings_of(base: Sft, trial: Trial) -> Sft:
    """The `sft` section of a run: that of params.yaml, at a trial's rate, which stays constant."""
    own = {"learning_rate": trial.learning_rate, "scheduler": "constant", "warmup_ratio": 0.0, "epochs": EPOCHS}
    return Sft.model_validate(base.model_dump() | own)


def by_sft(
    params: Params,
    start: Policy,
    rows: Sequence[Record],
    settings: Sft,
    seed: int,
    work: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> Any:
    """The trainer after SFT on what the teacher answers right of `rows`; `callbacks` may end it.

    Raises:
        StageError: the teacher answers none of them right.
    """
    from tasks.sft.data import Collator, examples, row_packer
    from tasks.sft.train import keeps_features, train

    kept = lessons(teacher_of(params, start), rows)
    if not kept:
        raise StageError(f"{params.teacher()}: answers none of {len(rows)} rows right; there is nothing to learn from")
    table = examples(kept, start.processor, **start.prompt)
    packer = row_packer(start.model, settings.padding_free)
    collator = Collator(table, start.processor, start.clips, _note, packer, media=keeps_features(settings))
    result = train(
        start.model,
        start.processor,
        table,
        collator,
        settings=settings,
        seed=seed,
        work=work,
        curve=work / "curve.csv",
        callbacks=callbacks,
    )
    return result.trainer


def _note(record: Record, reason: str) -> None:
    print(f"contest: {record.path}: {reason}", file=sys.stderr)
