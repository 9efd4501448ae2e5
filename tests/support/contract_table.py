"""The contract tests' outcomes by family: printed when they have run, and held against the table of docs/backbones.md.

A pytest plugin (tests/conftest.py names it). A cell is `yes` where every test of a point passed, `no` where the family
refuses and the test saw the refusal (`record_property("refuses", ..)`), `FAILED`, or empty where no test ran.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tasks.core.backbones import backbones

FAMILIES = tuple(backbone.model_types[0] for backbone in backbones())
POINTS = {
    "tokens counted before encoding": "test_expansion_counts_the_processors_tokens",
    "features computed once": "test_injected_features_equal_pixels",
    "shuffles permute features": "test_permuted_frames_equal_frames_encoded_again",
    "prompt read once in rollouts": "test_rollouts_are_the_same_by_every_path",
    "packed update, padding-free SFT": "test_packed_rows_equal_rows_of_their_own",
    "selective checkpointing": "test_recomputed_blocks_give_the_same_gradients",
    "adapters (LoRA)": "test_patterns_match_every_projection",
    "visual tokens refused": "test_visual_tokens_are_known_and_refused",
    "every layout loads": "test_every_released_layout_reads_alike",
    "vLLM takes its videos": "test_vllm_answers_as_transformers_does",
    "SFT resumed": "test_sft_resumes_to_the_bit",
    "T-GRPO resumed": "test_grpo_resumes_to_the_bit",
    "clips to report": "test_from_clips_to_report_and_resumed_to_the_bit",
}
"""Column -> the test that its cells come from."""
YES, NO, FAILED, NOT_RUN = "yes", "no", "FAILED", ""
PAGE = Path(__file__).parents[2] / "docs/backbones.md"


class Outcome(NamedTuple):
    """One test's end."""

    test: str
    """Name of its function."""
    family: str
    cell: str


Cells = dict[tuple[str, str], str]
"""(family, point) -> cell."""


def outcome_of(nodeid: str, result: str, properties: Iterable[tuple[str, object]]) -> Outcome | None:
    """What a test says about a family; None where it is no contract test, or was skipped."""
    name, _, parameters = nodeid.rpartition("::")[2].partition("[")
    families = [word for word in re.split(r"[-,\]]\s*", parameters) if word in FAMILIES]
    if name not in POINTS.values() or not families or result == "skipped":
        return None
    refuses = "refuses" in dict(properties)
    return Outcome(name, families[0], FAILED if result == "failed" else NO if refuses else YES)


def cells_of(outcomes: Iterable[Outcome]) -> Cells:
    """The worst outcome of each cell."""
    points = {test: point for point, test in POINTS.items()}
    cells: Cells = {}
    for outcome in outcomes:
        key = (outcome.family, points[outcome.test])
        cells[key] = min(cells.get(key, YES), outcome.cell, key=(FAILED, NO, YES).index)
    return cells


def table(cells: Mapping[tuple[str, str], str]) -> list[str]:
    """Lines of text: a family a column, for there are fewer of them than points."""
    width = max(map(len, POINTS))
    head = f"{'':{width}}  " + "  ".join(FAMILIES)
    lines = [
        f"{point:{width}}  " + "  ".join(f"{cells.get((name, point), NOT_RUN):{len(name)}}" for name in FAMILIES)
        for point in POINTS
        if any((name, point) in cells for name in FAMILIES)
    ]
    return [line.rstrip() for line in (head, *lines)]


def claims(page: str) -> Cells:
    """What the page's table of levers says, as yes or no."""
    [rows] = re.findall(r"^\| backbone \|.*(?:\n\|.*)+", page, re.MULTILINE)
    head, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in rows.splitlines()]
    return {
        (cells[0].strip("`"), point): NO if cell.startswith(("no", "none")) else YES
        for cells in body
        for point, cell in zip(head[1:], cells[1:], strict=True)
    }


def disagreements(cells: Mapping[tuple[str, str], str], page: str) -> list[str]:
    """Where the page says otherwise than the tests that ran."""
    said = claims(page)
    return [
        f"{PAGE.name}: {family}, {point}: the page says {said[family, point]}, the tests {cell}"
        for (family, point), cell in cells.items()
        if (family, point) in said and said[family, point] != cell
    ]


class Plugin:
    """Keeps outcomes while tests run; of several processes the one that prints."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def pytest_runtest_logreport(self, report) -> None:
        """Note a test's end, or a set-up that failed."""
        if report.when == "call" or report.failed:
            outcome = outcome_of(report.nodeid, report.outcome, report.user_properties)
            self.outcomes += [outcome] if outcome else []

    def pytest_sessionfinish(self, session) -> None:
        """A page that says otherwise than the tests fails the run."""
        if disagreements(cells_of(self.outcomes), PAGE.read_text()) and session.exitstatus == 0:
            session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter) -> None:
        """Print the table."""
        cells = cells_of(self.outcomes)
        if not cells:
            return
        terminalreporter.section("backbones: what the contract tests found")
        for line in (*table(cells), *disagreements(cells, PAGE.read_text())):
            terminalreporter.write_line(line)


def pytest_configure(config) -> None:
    """Where results are gathered."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Plugin())
