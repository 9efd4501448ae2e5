"""`python -m tasks.filter`: data/annotate/cot.parquet to data/filter and reports/filter/metrics.json."""

from __future__ import annotations

from tasks import params, paths
from tasks.core.io.atomic import write_json
from tasks.core.io.cli import run_stage
from tasks.core.io.tables import read_table, write_table
from tasks.core.schemas.records import COT_SCHEMA, REJECTED_SCHEMA, SFT_SCHEMA, cot_from_row
from tasks.filter.filter import filter_rows, summarise
from tasks.filter.rules import build_rules


def main() -> None:
    """Run the stage."""
    section = params.load().filter
    rules = build_rules(
        min_reward=section.min_reward,
        min_think_chars=section.min_think_chars,
        max_think_chars=section.max_think_chars,
        max_repeat_share=section.max_repeat_share,
        min_ascii_share=section.min_ascii_share,
    )
    result = filter_rows(map(cot_from_row, read_table(paths.COT, COT_SCHEMA)), rules)
    write_table(paths.SFT_ROWS, result.kept, SFT_SCHEMA)
    write_table(paths.REJECTED_ROWS, result.rejected, REJECTED_SCHEMA)
    metrics = summarise(result, rules)
    write_json(paths.metrics("filter"), metrics)
    by_rule = ", ".join(f"{name} {count}" for name, count in metrics["rejected"].items() if count) or "none"
    print(f"filter: kept {metrics['kept']} of {metrics['rows']} rows; rejected by rule: {by_rule} -> {paths.SFT_ROWS}")


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
