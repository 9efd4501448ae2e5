"""The contract's table comes from outcomes; a page that says otherwise is told."""

import pytest

from tests.support import contract_table
from tests.support.contract_table import FAILED, NO, POINTS, YES, cells_of, claims, disagreements, outcome_of, table
from tests.support.graph import ROOT

PACKED, ROLLOUTS = "packed update, padding-free SFT", "prompt read once in rollouts"


@pytest.mark.parametrize(
    ("nodeid", "result", "properties", "expected"),
    [
        pytest.param(f"t.py::{POINTS[PACKED]}[qwen3_vl-kept]", "passed", [], ("qwen3_vl", YES), id="passed"),
        pytest.param(f"t.py::{POINTS[PACKED]}[kept-internvl]", "failed", [], ("internvl", FAILED), id="failed"),
        pytest.param(f"t.py::{POINTS[PACKED]}[qwen3_5]", "passed", [("refuses", "x")], ("qwen3_5", NO), id="refused"),
        pytest.param(f"t.py::{POINTS[PACKED]}[smolvlm]", "skipped", [], None, id="skipped says nothing"),
        pytest.param("t.py::test_other[smolvlm]", "passed", [], None, id="no contract test"),
        pytest.param(
            "t.py::test_vllm_answers_as_transformers_does[qwen3_vl, images scaled otherwise]",
            "passed",
            [],
            ("qwen3_vl", YES),
            id="a family with a remark",
        ),
    ],
)
def test_outcomes_by_family(nodeid, result, properties, expected):
    found = outcome_of(nodeid, result, properties)
    assert (found and (found.family, found.cell)) == expected


def outcomes(*cells):
    return [contract_table.Outcome(POINTS[point], family, cell) for point, family, cell in cells]


def test_one_failure_is_the_cell():
    found = cells_of(outcomes((PACKED, "internvl", YES), (PACKED, "internvl", FAILED), (PACKED, "internvl", YES)))
    assert found == {("internvl", PACKED): FAILED}
    head, line = table(found)
    assert line.index(FAILED) == head.index("internvl")


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        pytest.param((PACKED, "qwen3_5", NO), [], id="refused as the page says"),
        pytest.param((PACKED, "qwen3_vl", YES), [], id="passed as the page says"),
        pytest.param((PACKED, "qwen3_5", YES), ["page says no, the tests yes"], id="better than the page says"),
        pytest.param((ROLLOUTS, "smolvlm", FAILED), ["page says yes, the tests FAILED"], id="worse"),
    ],
)
def test_the_page_is_held_against_outcomes(cell, told):
    found = disagreements(cells_of(outcomes(cell)), contract_table.PAGE.read_text())
    assert [line.partition("the ")[2] for line in found] == told


def test_every_lever_of_the_page_has_a_test_and_every_family_a_row():
    said = claims(contract_table.PAGE.read_text())
    assert {point for _, point in said} <= set(POINTS)
    assert {family for family, _ in said} == set(contract_table.FAMILIES)


@pytest.mark.parametrize("name", POINTS.values())
def test_every_point_names_a_test(name):
    files = [*(ROOT / "tests/core/backbones").glob("*.py"), *(ROOT / "tests/pipeline").glob("*.py")]
    assert any(f"def {name}(" in path.read_text() for path in files)
