"""`python -m tasks.seconds SINCE`: seconds of every stage that ran since a time, in seconds since the epoch."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.given import real_number
from tasks.core.io.seconds import read_seconds, table


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = OneLineParser(prog="python -m tasks.seconds", description="Seconds of the stages that ran.")
    parser.add_argument(
        "since", type=real_number(least=0), nargs="?", default=0.0, help="seconds since the epoch; without it all runs"
    )
    since = parser.parse_args(arguments).since
    rows = read_seconds(since)
    print(table(rows, time.time() - since if since else sum(row.seconds for row in rows)))
    return 0


if __name__ == "__main__":
    run_stage(main)
