"""SFT in place of RL: a teacher answers the rows, and what it answers right is learned from. At the same operations.

What annotate, filter and sft make of a user's rows, in short: the likeliest completion of the mini world's teacher for
each row, kept where it is well formed and right, which is the published filter; then cross-entropy on its reasoning and
the true answer. The teacher's operations are the method's. The teacher is as large as the start, its perception was
learned without a shortcut: what it knows and the start does not is what the method has beyond RL, which has the true
answers alone.

Without a teacher (`own_answers`) the start's own completions take the teacher's place: the likeliest, and where that is
not right the first that is, of up to `OWN_SAMPLES`. The reversed clip of a pair is then not asked about: it has the
reasoning of its forward clip retold (`retelling.py`), where that was right. So the method knows the true answers and
how a reversal turns words, and nothing else.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from measure.contest.evaluate import Policy, answers
from measure.contest.methods import Trial
from measure.contest.remedies import is_turned
from tasks.core.io.errors import StageError
from tasks.core.io.seeds import derive_seed
from tasks.core.models.load import load_model, load_processor
from tasks.core.schemas.mapping import mapped
from tasks.core.schemas.records import Record
from tasks.core.schemas.retelling import Retold, retold
from tasks.core.text import think_of
from tasks.params import Params, Sft

EPOCHS = 1000.0
"""Never reached: a run ends by its operations."""
OWN_SAMPLES = 8
"""Completions that a start makes of a row, until one is right: without more than the likeliest, what contradicts its
shortcut would hardly be among what it learns from."""


def lessons(teacher: Policy, rows: Sequence[Record], samples: int = 1, seed: int = 0) -> list[Record]:
    """The rows that a teacher answers right in a think and an answer block, with its reasoning.

    Rows asked twice are answered once. What the likeliest completion does not answer right is sampled, until one
    completion of `samples` does.
    """
    asked = list({(record.path, record.problem): record for record in rows}.values())
    reasoning: dict[tuple[str, str], str | None] = {}
    for number in range(samples):
        open_rows = [record for record in asked if (record.path, record.problem) not in reasoning]
        seeds = [derive_seed(seed, "lesson", number, record.problem_id) for record in open_rows] if number else None
        results = answers(teacher, open_rows, seeds=seeds)
        for record, result in zip(open_rows, results, strict=True):
            if result.well_formed and result.right:
                reasoning[record.path, record.problem] = think_of(result.text)
    known = ((record, reasoning.get((record.path, record.problem))) for record in rows)
    return [dataclasses.replace(record, process=f"<think>{said}</think>") for record, said in known if said is not None]


def own_lessons(start: Policy, rows: Sequence[Record], seed: int) -> list[Record]:
    """The rows that the start answers right itself; of a pair's reversed row, the forward reasoning retold."""
    asked = [row for row in rows if not is_turned(row)]
    right = {(row.path, row.problem): row for row in lessons(start, asked, OWN_SAMPLES, seed)}
    kept, refused = list[Record](), Counter[str]()
    forward: Record | None = None
    for row in rows:
        if not is_turned(row):
            forward = right.get((row.path, row.problem))
            kept += [] if forward is None else [forward]
        elif forward is not None:
            told = _told_backwards(forward)
            if isinstance(told, str):
                refused[told] += 1
            else:
                kept.append(dataclasses.replace(row, process=f"<think>{told.text}</think>"))
    for reason, count in refused.items():
        print(f"contest: {count} reasonings not retold: {reason}", file=sys.stderr)
    return kept


def _told_backwards(forward: Record) -> Retold | str:
    backwards = mapped(forward, "reversed")
    return backwards if isinstance(backwards, str) else retold(forward, backwards, think_of(forward.process) or "")


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
    own_answers: bool = False,
) -> Any:
    """The trainer after SFT on what the teacher answers right of `rows`, or the start itself; `callbacks` may end it.

    Raises:
        StageError: none of them is answered right.
    """
    from tasks.sft.data import Collator, examples, row_packer
    from tasks.sft.train import keeps_features, train

    kept = own_lessons(start, rows, seed) if own_answers else lessons(teacher_of(params, start), rows)
    if not kept:
        who = "the start" if own_answers else params.teacher()
        raise StageError(f"{who}: answers none of {len(rows)} rows right; there is nothing to learn from")
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
