"""Numbers of the report: tables, paired controls, lineage."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tasks.benchmark import totals
from tasks.core.io.errors import StageError
from tasks.core.schemas.answers import as_json
from tasks.core.stats import paired
from tasks.report.data import composition_table, quarantine_table, rejection_table, splits_table, verdict_table
from tasks.report.lineage import lineage_table, size
from tasks.report.numbers import NOTHING, gain, headline, main_cap, parsed, split_entry
from tasks.report.tables import (
    NONE,
    Cell,
    Table,
    as_markdown,
    as_text,
    controls_table,
    estimate_cell,
    group_table,
    main_table,
    mark_best,
    percent,
    points,
)
from tests.support.report_inputs import CAP, numbers_of, record, row


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in cells] for cells in table.rows]


def test_main_table_of_hard_logs() -> None:
    """A model whose every question failed, one without temporal questions, one never run, one not in the params."""
    logs = {
        "errors": [row(i, score=None) for i in range(3)],
        "static": [
            row(i, score=float(i), temporal=False, completion=("<think>t</think><answer>A</answer>", "A")[i])
            for i in range(2)
        ],
        "extra": [row(0, score=0.25)],
    }
    table = main_table(numbers_of(logs), ["errors", "static", "absent"], CAP)
    shown = {cells[0]: cells[1:] for cells in texts(table)}
    assert list(shown) == ["errors", "static", "absent", "extra"]
    assert shown["errors"] == ["0", NONE, NONE, NONE, NONE, NONE, NONE, "3"]
    assert shown["static"][1] == "50.0%"
    assert shown["static"][3:] == [NONE, "50.0%", "50.0%", "7.0", "0"]
    assert shown["absent"] == ["not run", *[NONE] * 7]
    assert shown["extra"][1] == "25.0%"
    assert [cells[2].best for cells in table.rows] == [False, True, False, False]


def test_headline_numbers_leave_out_what_was_not_asked() -> None:
    """Temporal questions alone on two views: no static accuracy, no blind one; errors are no wrong answers."""
    log = [row(0, score=1.0), row(1, score=0.5, completion="A"), row(2, score=None)]
    log += [row(i, view="shuffled", score=0.0) for i in range(2)]
    numbers = headline(numbers_of({"a": log})["a"], CAP)
    assert numbers == {"overall": 0.75, "temporal": 0.75, "well_formed": 0.5, "temporal_shuffled": 0.0}
    assert headline(numbers_of({"a": [row(0, score=None)]})["a"], CAP) == {}


def test_a_model_without_ordered_view_is_not_run() -> None:
    numbers = numbers_of({"m": [row(view="shuffled")]})
    assert texts(main_table(numbers, ["m"], CAP))[0][1] == "not run"
    assert group_table("t", "skill", numbers, ["m"], "skill", CAP).rows == []


def test_group_table_shows_a_gap_for_a_kind_that_one_model_lacks() -> None:
    logs = {"a": [row(0), row(1, skill="count", score=0.0)], "b": [row(0)]}
    table = group_table("t", "skill", numbers_of(logs), ["a", "b"], "skill", CAP)
    assert table.head == ["skill", "n", "a", "b"]
    assert texts(table) == [["count", "1", "0.0%", NONE], ["direction", "1", "100.0%", "100.0%"]]


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        pytest.param({}, "model", id="empty"),
        pytest.param({"model": "m", "views": {}}, "entries", id="of another version"),
        pytest.param({"model": "m", "entries": [{}], "controls": [], "gains": []}, "overall", id="an empty entry"),
    ],
)
def test_a_malformed_benchmark_report_names_file_and_field(raw: dict[str, Any], word: str) -> None:
    with pytest.raises(StageError, match=rf"m\.json: .*{word}"):
        parsed(raw, "m.json")


def test_numbers_survive_their_file() -> None:
    made = numbers_of({"m": [row(0), row(0, "shuffled", 0.0), row(1, score=None), row(1, "no_video", 0.0)]})["m"]
    assert parsed(json.loads(json.dumps(as_json(made))), "m.json") == made


def test_the_main_tables_show_the_pipelines_frame_cap_where_it_was_run() -> None:
    numbers = numbers_of({"m": [row(0, frames=4), row(0, frames=16), row(0, "no_video")]})
    assert [main_cap(numbers, frames) for frames in (4, 16, 8)] == [4, 16, 16]
    assert main_cap({}, 8) == 8
    assert split_entry(numbers["m"], 4, "no_video") is not None, "it is the same at every cap"


def test_controls_compare_the_same_questions() -> None:
    """An image, a question that failed on one view and one missing there take no part in any mean."""
    rows = [
        row(0),
        row(0, "shuffled", 0.0),
        row(0, "no_video", 0.0),
        row(1),
        row(1, "shuffled", 1.0),
        row(1, "no_video", 0.0),
        row(2),
        row(2, "shuffled", None),
        row(2, "no_video", 1.0),
        row(3, score=0.0),
        row(3, "no_video", 1.0),
        row(4, data_type="image", temporal=False),
        row(4, "no_video", 0.0, data_type="image", temporal=False),
    ]
    [control] = totals.controls(rows)
    assert (control.group, control.n) == ("temporal", 2)
    assert control.scores == {"ordered": 1.0, "shuffled": 0.5, "no_video": 0.0}
    assert control.lost["shuffled"].difference == 0.5
    assert control.lost["no_video"] == totals.rounded(paired([1.0, 1.0], [0.0, 0.0], ["0.mp4", "1.mp4"]))
    table = controls_table("t", [("m", control)])
    assert table.head[:3] == ["model", "questions", "n"]
    assert texts(table) == [["m", "temporal", "2", "100.0%", "50.0%", "0.0%", "+50.0", "+100.0"]]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="no log"),
        pytest.param([row()], id="ordered only"),
        pytest.param([row(0, "shuffled"), row(0, "no_video")], id="never ordered"),
        pytest.param([row(0), row(1, "shuffled")], id="nothing in common"),
        pytest.param([row(temporal=None), row(0, "shuffled", temporal=None)], id="unknown whether temporal"),
    ],
)
def test_no_controls(rows: list[dict[str, Any]]) -> None:
    assert totals.controls(rows) == []


def test_gain_is_paired_over_common_temporal_questions() -> None:
    gained = gain([row(0), row(1), row(2, temporal=False)], [row(1, score=0.0), row(2, temporal=False)], CAP)
    assert gained is not None and (gained.n, gained.difference) == (1, 1.0)
    assert gain([row(0)], [], CAP) is None


def test_the_best_is_marked_as_printed() -> None:
    cells = mark_best([[Cell("50.0%"), Cell("50.0%"), Cell(NONE), Cell("not run")], [Cell("50.0%"), Cell(NONE)]])
    assert [[cell.best for cell in cells] for cells in cells] == [[True, True, False, False], [False, False]]
    assert estimate_cell(NOTHING) == Cell(NONE)


@pytest.mark.parametrize(
    ("share", "text"), [(0.71234, "71.2%"), (0.0, "0.0%"), (1.0, "100.0%"), (math.nan, NONE), (None, NONE)]
)
def test_percent(share: float | None, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("difference", "text"), [(0.241, "+24.1"), (-0.05, "−5.0"), (-0.0001, "0.0"), (math.nan, NONE)]
)
def test_points(difference: float, text: str) -> None:
    assert points(difference) == text


def test_text_and_markdown_keep_their_shape_with_hostile_cells() -> None:
    table = Table("t", ["name", "n"], [[Cell("a|b\nc<d"), Cell("1", "0–2", best=True)]])
    assert as_markdown(table).splitlines()[2] == "| a\\|b c&lt;d | **1 (0–2)** |"
    assert len(as_text(Table("t", ["name", "n"], [])).splitlines()) == 1


def test_composition_counts_a_question_of_unknown_kind_as_neither_temporal_nor_static() -> None:
    shown = texts(composition_table([record(), record(1, data_type="image", temporal=None)]))
    assert shown == [["multiple choice", "1", "1", "1", "0", "2"]]


@pytest.mark.parametrize(
    ("metrics", "rows"),
    [
        pytest.param({}, [], id="not run"),
        pytest.param(
            {"rows": 0, "kept": 0, "rejected": {"reward": 0}, "breaking": {"reward": 0}},
            [["reward", "0", NONE, "0"], ["all", "0", NONE, ""]],
            id="no row came in",
        ),
        pytest.param(
            {"rows": 8, "kept": 4, "rejected": {"format": 1, "reward": 3}, "breaking": {"format": 1, "reward": 4}},
            [["reward", "3", "37.5%", "4"], ["format", "1", "12.5%", "1"], ["all", "4", "50.0%", ""]],
            id="a row that breaks two rules is counted once",
        ),
    ],
)
def test_rejections(metrics: dict[str, Any], rows: list[list[str]]) -> None:
    assert texts(rejection_table(metrics)) == rows


def test_splits_verdicts_and_quarantine() -> None:
    split = {"rows": 3, "video": 2, "image": 1, "by_type": {"OCR": 3}}
    assert texts(splits_table({"train": split, "media": {"files": 3}})) == [["train", "3", "2", "1", "3"]]
    verdicts = {"cot": {"verdict": "fail", "checks": 9, "failed_critical": ["a"], "failed_warning": ["b"]}, "sft": {}}
    assert texts(verdict_table(verdicts)) == [["cot", "fail", "a, warning: b", "9"], ["sft", "", "none", ""]]
    left_out = {"source": "s", "split": "train", "kind": "media", "field": "path"}
    rows = [
        left_out | {"reason": "torn"},
        left_out | {"reason": "gone"},
        left_out | {"kind": "path", "reason": "unsafe"},
    ]
    assert texts(quarantine_table(rows)) == [
        ["s", "train", "media", "path: torn", "2"],
        ["s", "train", "path", "path: unsafe", "1"],
    ]


def test_lineage_leaves_out_the_report_and_does_not_depend_on_order() -> None:
    entry = {"cmd": "c", "deps": [], "outs": [{"path": "data/x", "md5": "0123456789abcdef.dir", "size": 2_500_000}]}
    table = lineage_table({"stages": {"report": entry, "sft": entry, "grpo": dict(reversed(entry.items()))}})
    assert [cells[0] for cells in texts(table)] == ["grpo", "sft"]
    assert texts(table)[0][1] == texts(table)[1][1]
    assert texts(table)[0][2:] == ["data/x", "0123456789", "2.5 MB"]
    assert lineage_table({}).rows == []
    assert (size(999), size(12_345)) == ("999 B", "12.3 kB")
