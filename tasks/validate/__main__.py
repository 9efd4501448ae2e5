"""`python -m tasks.validate GATE`: check the tables of a gate.

Writes reports/validate/GATE.json and data/verdicts/GATE (one word). Exit codes: 0 pass, 1 a critical check failed,
2 the checks could not be run.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import TYPE_CHECKING

from tasks import params, paths
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.validate.ahead import can_make_ahead, made_ahead
from tasks.validate.gates import GATES, NOT_NEEDED_BY_A_CHECKPOINT, NOTHING, PASS, SKIP, Gate, open_gate, report_of

if TYPE_CHECKING:
    from tasks.core.schemas.gx import CheckResult


def main() -> int:
    """Run the stage."""
    name = str(parse_arguments().gate)
    config = params.load()
    section = config.validate_
    # An old verdict must not outlive tables that cannot be checked.
    paths.verdict(name).unlink(missing_ok=True)
    if config.start.at == "sft" and name in NOT_NEEDED_BY_A_CHECKPOINT:
        write_json(paths.validation_report(name), report_of(name, NOTHING, [], verdict=SKIP))
        write_text(paths.verdict(name), f"{SKIP}\n")
        print(f"validate {name}: skipped, start.at is sft: {config.start.path} stands for what was learned from it")
        return 0
    gate = open_gate(
        name,
        max_quarantined_share=section.max_quarantined_share,
        min_rows=section.min_rows,
        trains=config.start.at != "sft",
    )
    report = report_of(name, *_checked(gate))
    write_json(paths.validation_report(name), report)
    write_text(paths.verdict(name), f"{report['verdict']}\n")
    for result in report["results"]:
        if not result["success"]:
            rows = f"; first rows: {', '.join(result['first_failing'][:5])}" if result["first_failing"] else ""
            print(f"  {result['severity']}: not so: {result['check']} ({result['frame']}){rows}")
    counts = ", ".join(f"{name} {rows}" for name, rows in report["rows"].items())
    print(f"validate {name}: {report['verdict']}; {report['checks']} checks; rows {counts}")
    return 0 if report["verdict"] == PASS else 1


def _checked(gate: Gate) -> tuple[Gate, list[CheckResult]]:
    """The gate as it was looked through, and what its checks say."""
    order = list(dict.fromkeys(check.frame for check in gate.checks))
    ahead = made_ahead(gate.frames, order) if can_make_ahead() else nullcontext(gate.frames)
    with ahead as frames:
        # Great Expectations takes seconds to import: after everything that can go wrong without it.
        from tasks.core.schemas.gx import run_checks

        return gate._replace(frames=frames), run_checks(frames, gate.checks, gate.keys)


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = OneLineParser(prog="python -m tasks.validate", description=__doc__.splitlines()[0])
    parser.add_argument("gate", choices=GATES, help="whose tables are checked")
    return parser.parse_args()


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
