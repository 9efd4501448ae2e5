"""Contents of the page: plain values for the template, and the same tables for the markdown file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.core.schemas.answers import Control
from tasks.core.stats import Estimate
from tasks.report.audits import audit_examples, audit_tables
from tasks.report.curves import Chart, charts, read_curve, readable, split_constant
from tasks.report.data import data_missing, data_tables
from tasks.report.examples import Plan, example, shuffled_example
from tasks.report.findings import findings
from tasks.report.inputs import Inputs
from tasks.report.lineage import lineage_table
from tasks.report.numbers import KINDS, ByModel, in_order, kind_of, split_controls, split_entry
from tasks.report.payments import payment_tables
from tasks.report.pictures import Pictures
from tasks.report.public import frame_charts, public_tables
from tasks.report.svg import Dot, DotRow, dot_chart
from tasks.report.tables import (
    VIEW_NAMES,
    Table,
    controls_table,
    group_table,
    main_table,
    metrics_table,
    number,
    percent,
)

TITLE = "Video-R1 pipeline: benchmark report"
TRAINED = ("sft", "grpo", "world")
"""Stages with a training curve, in the order they are shown."""
CONTENTS = [
    ("results", "Results"),
    ("controls", "Controls"),
    ("kinds", "By kind"),
    ("public", "Public benchmarks"),
    ("training", "Training"),
    ("payments", "Payments"),
    ("audit", "Audit"),
    ("examples", "Examples"),
    ("data", "Data"),
    ("provenance", "Provenance"),
]
MARKS = {"right": "✓ right", "partly": "◐", "wrong": "✗ wrong", "error": "– error"}
VIEW_DOTS = {
    "ordered": Dot(0, colour=0),
    "shuffled": Dot(0, colour=1, shape="ring"),
    "no_video": Dot(0, colour=2, shape="cross"),
}
ModelControl = tuple[str, Control]


def context(
    inputs: Inputs,
    models: Sequence[str],
    chosen: Plan,
    pictures: Mapping[int, Pictures],
    strips: Mapping[str, Pictures],
) -> dict[str, Any]:
    """Everything the template prints.

    Args:
        inputs: outputs of the stages.
        models: model names in the order of the tables.
        chosen: records to show.
        pictures: problem id -> frames, for every record of `chosen`.
        strips: path -> frames, for every example of the audits.
    """
    controls = model_controls(inputs.numbers, models, inputs.cap)
    return {
        "title": TITLE,
        "subtitle": subtitle(inputs),
        "contents": CONTENTS,
        "marks": MARKS,
        "findings": findings(inputs, models),
        "tables": benchmark_tables(inputs, controls, models),
        "result_charts": result_charts(inputs.numbers, models, inputs.cap),
        "control_charts": control_charts(controls),
        "training": [_training(stage, inputs.curves.get(stage)) for stage in TRAINED],
        "payment_tables": payment_tables(inputs.ledger),
        "audit_tables": audit_tables(inputs.audits),
        "audit_examples": audit_examples(inputs.audits, strips),
        "examples": [example(record, inputs, models, pictures) for record in chosen.shown],
        "shuffled": shuffled_example(chosen, inputs, pictures),
        "public_tables": public_tables(inputs.numbers, models, inputs.cap),
        "public_charts": frame_charts(inputs.numbers, models),
        "data_tables": data_tables(inputs),
        "data_missing": data_missing(inputs),
        "commit": inputs.commit,
        "params_text": inputs.params_text,
    }


def subtitle(inputs: Inputs) -> str:
    """One line: how many questions, models and which code."""
    questions = f", {len(inputs.test)} test questions" if inputs.test else ""
    return f"{len(inputs.numbers)} models{questions}; code: {inputs.commit}"


def model_controls(numbers: ByModel, models: Sequence[str], cap: int) -> list[ModelControl]:
    """Controls of the test split, model by model."""
    return [(model, control) for model in models if model in numbers for control in split_controls(numbers[model], cap)]


def split_controls_table(controls: Sequence[ModelControl]) -> Table:
    """Controls of the test split."""
    return controls_table("Video questions, the same on every view", controls)


def benchmark_tables(inputs: Inputs, controls: Sequence[ModelControl], models: Sequence[str]) -> dict[str, Table]:
    """Tables with a fixed place on the page."""
    numbers, cap = inputs.numbers, inputs.cap
    return {
        "main": main_table(numbers, models, cap),
        "controls": split_controls_table(controls),
        "types": group_table("By problem type", "problem type", numbers, models, "problem_type", cap),
        "skills": group_table("By skill", "skill", numbers, models, "skill", cap),
        "lineage": lineage_table(inputs.lock),
        "metrics": metrics_table(inputs.metrics),
    }


def result_charts(numbers: ByModel, models: Sequence[str], cap: int) -> list[Chart]:
    """Accuracy with intervals, one drawing per kind of question."""
    made = []
    for kind in ("overall", *KINDS):
        rows = [
            DotRow(model, [_dot(estimate)], percent(estimate.value))
            for model, of_model in in_order(numbers, models).items()
            if (estimate := kind_of(split_entry(of_model, cap), kind)).n
        ]
        if rows:
            made.append(Chart(kind, dot_chart(f"accuracy, {kind} questions", rows)))
    return made


def control_charts(controls: Sequence[ModelControl]) -> list[Chart]:
    """Ordered, shuffled and no video on one line per model; temporal and static apart."""
    legend = [(VIEW_NAMES[view], dot) for view, dot in VIEW_DOTS.items()]
    made = []
    for kind in KINDS:
        rows = [
            DotRow(
                model,
                [dot._replace(value=control.scores[view]) for view, dot in VIEW_DOTS.items() if view in control.scores],
            )
            for model, control in controls
            if control.group == kind
        ]
        if rows:
            made.append(Chart(f"{kind} questions", dot_chart(f"controls, {kind} questions", rows, legend)))
    return made


def _dot(estimate: Estimate) -> Dot:
    return Dot(estimate.value or 0.0, estimate.low, estimate.high)


def _training(stage: str, text: str | None) -> dict[str, Any]:
    """Charts of one stage's curve, or why there are none."""
    if text is None:
        return {"stage": stage, "missing": "not run"}
    curve = read_curve(text)
    flat, moving = split_constant(curve)
    phases = ", ".join(phase.name for phase in curve.phases) if len(curve.phases) > 1 else ""
    return {
        "stage": stage,
        "missing": "" if curve.columns else "its curve holds no number",
        "charts": charts(stage, moving),
        "phases": phases,
        "constants": ", ".join(f"{readable(name)} {number(value)}" for name, value in flat.items()),
    }
