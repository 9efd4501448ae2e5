"""The toy project's gate: fails on a bad row, else writes one word that stays the same."""

import sys
from pathlib import Path

import suite

with Path("ran.log").open("a") as log:
    log.write("validate@rows\n")
failures = [rule for rule in suite.RULES if rule in Path("data/rows.txt").read_text()]
if failures:
    print(f"rows hold: {failures}")
    sys.exit(1)
Path("data/verdict").write_text("pass\n")
