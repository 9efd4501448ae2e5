"""`python -m tasks.filter`: data/annotate/cot.parquet to data/filter and reports/filter/metrics.json."""

from __future__ import annotations

from tasks import params, paths
from tasks.core.io.atomic import write_json
from tasks.core.io.cli import run_stage
from tasks.core.io.tables import iter_table, writing_table
from tasks.core.schemas.records import COT_SCHEMA, REJECTED_SCHEMA, SFT_SCHEMA, cot_from_row
from tasks.filter.filter import Tally, filter_rows
from tasks.filter.rules import build_rules


def main() -> None:
    """Run the stage."""
    section = params.load().filter
    rules = build_rules(**section.model_dump(exclude={"max_per_question"}))
    tally = Tally(rules)
    rows = map(cot_from_row, iter_table(paths.COT, COT_SCHEMA))
    with (
        writing_table(paths.SFT_ROWS, SFT_SCHEMA) as kept,
        writing_table(paths.REJECTED_ROWS, REJECTED_SCHEMA) as rejected,
    ):
        for decision in filter_rows(rows, rules, section.max_per_question):
            (rejected if decision.broken else kept).add(decision.row)
            tally.count(decision)
    metrics = tally.summary()
    write_json(paths.metrics("filter"), metrics)
    by_rule = ", ".join(f"{name} {count}" for name, count in metrics["rejected"].items() if count) or "none"
    print(f"filter: kept {metrics['kept']} of {metrics['rows']} rows; rejected by rule: {by_rule} -> {paths.SFT_ROWS}")
    alone = metrics["published"]["kept"]
    print(f"filter: the published threshold alone ({metrics['published']['rule']}) keeps {alone}")


if __name__ == "__main__":
    run_stage(main, params.ParamsError, about=__doc__)
