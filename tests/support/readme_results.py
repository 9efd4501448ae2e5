"""Copies the results of the mini run into the README: `python -m tests.support.readme_results`."""

import re
from itertools import takewhile
from pathlib import Path

from tests.support.graph import ROOT

README, REPORT = ROOT / "README.md", ROOT / "reports/benchmark.md"
BLOCK = re.compile(r"(<!-- mini results: [^\n]*-->\n)(.*?)(<!-- end of mini results -->)", re.DOTALL)


def results(report: str) -> str:
    """What the README shows of a report: its opening sentences and its first table."""
    lines = report.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("- "))
    sentences = takewhile(lambda line: line.startswith("- "), lines[first:])
    head = next(number for number, line in enumerate(lines) if line.startswith("|"))
    table = takewhile(lambda line: line.startswith("|"), lines[head:])
    return "\n".join([*sentences, "", *table])


def shown(readme: str) -> str:
    """What the README shows now."""
    block = BLOCK.search(readme)
    assert block is not None, "README.md has lost the marks of its results"
    return block[2].strip()


def main(readme: Path = README, report: Path = REPORT) -> None:
    block = results(report.read_text())
    readme.write_text(BLOCK.sub(lambda marks: f"{marks[1]}\n{block}\n\n{marks[3]}", readme.read_text()))


if __name__ == "__main__":
    main()
