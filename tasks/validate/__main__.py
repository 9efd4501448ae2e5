"""`python -m tasks.validate SUITE`: hold the tables of a gate against its suite.

Writes reports/validate/SUITE.json and data/verdicts/SUITE (one word). Exit codes: 0 pass, 1 a critical check failed,
2 the suite could not be run.
"""

from __future__ import annotations

import argparse

from tasks import params, paths
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.validate.gates import NOT_NEEDED_BY_A_CHECKPOINT, NOTHING, PASS, SKIP, SUITES, open_gate, report_of


def main() -> int:
    """Run the stage."""
    suite = str(parse_arguments().suite)
    config = params.load()
    section = config.validate_
    # An old verdict must not outlive tables that cannot be checked.
    paths.verdict(suite).unlink(missing_ok=True)
    if config.start.at == "sft" and suite in NOT_NEEDED_BY_A_CHECKPOINT:
        write_json(paths.validation_report(suite), report_of(suite, NOTHING, [], verdict=SKIP))
        write_text(paths.verdict(suite), f"{SKIP}\n")
        print(f"validate {suite}: skipped, start.at is sft: {config.start.path} stands for what was learned from it")
        return 0
    gate = open_gate(
        suite,
        max_quarantined_share=section.max_quarantined_share,
        min_rows=section.min_rows,
        trains=config.start.at != "sft",
    )
    # Great Expectations takes four seconds to import: after everything that can go wrong without it.
    from tasks.core.schemas.gx import run_checks

    report = report_of(suite, gate, run_checks(gate.frames, gate.checks, gate.keys))
    write_json(paths.validation_report(suite), report)
    write_text(paths.verdict(suite), f"{report['verdict']}\n")
    for result in report["results"]:
        if not result["success"]:
            rows = f"; first rows: {', '.join(result['first_failing'][:5])}" if result["first_failing"] else ""
            print(f"  {result['severity']}: not so: {result['check']} ({result['frame']}){rows}")
    counts = ", ".join(f"{name} {rows}" for name, rows in report["rows"].items())
    print(f"validate {suite}: {report['verdict']}; {report['checks']} checks; rows {counts}")
    return 0 if report["verdict"] == PASS else 1


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = OneLineParser(prog="python -m tasks.validate", description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=SUITES, help="gate whose tables are checked")
    return parser.parse_args()


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
