"""Numbers of the report: tables, paired controls, lineage."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tasks.report.controls import controls_of, gain, loss
from tasks.report.data import composition_table, quarantine_table, rejection_table, splits_table, verdict_table
from tasks.report.lineage import lineage_table, size
from tasks.report.summary import ReportError, headline, summary_of
from tasks.report.tables import NONE, Cell, Table, as_markdown, as_text, group_table, main_table, percent, points
from tests.support.report_inputs import inputs_of, record, row


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in cells] for cells in table.rows]


def test_main_table_of_hard_logs() -> None:
    """A model whose every question failed, one without temporal questions, one never run, one not in the params."""
    logs = {
        "errors": [row(i, reward=None) for i in range(3)],
        "static": [row(i, reward=float(i), temporal=False, well_formed=i == 0) for i in range(2)],
        "extra": [row(0, reward=0.25)],
    }
    table = main_table(inputs_of(logs).summaries, ["errors", "static", "absent"])
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
    log = [row(0, reward=1.0), row(1, reward=0.5, well_formed=False), row(2, reward=None)]
    log += [row(i, view="shuffled", reward=0.0) for i in range(2)]
    numbers = headline(inputs_of({"a": log}).summaries[0])
    assert numbers == {"overall": 0.75, "temporal": 0.75, "well_formed": 0.5, "temporal_shuffled": 0.0}
    assert headline(inputs_of({"a": [row(0, reward=None)]}).summaries[0]) == {}


def test_a_model_without_ordered_view_is_not_run() -> None:
    summaries = inputs_of({"m": [row(view="shuffled")]}).summaries
    assert texts(main_table(summaries, ["m"]))[0][1] == "not run"
    assert group_table("t", "skill", summaries, ["m"], lambda view: view.by_skill).rows == []


def test_group_table_shows_a_gap_for_a_kind_that_one_model_lacks() -> None:
    logs = {"a": [row(0), row(1, skill="count", reward=0.0)], "b": [row(0)]}
    table = group_table("t", "skill", inputs_of(logs).summaries, ["a", "b"], lambda view: view.by_skill)
    assert table.head == ["skill", "n", "a", "b"]
    assert texts(table) == [["count", "1", "0.0%", NONE], ["direction", "1", "100.0%", "100.0%"]]


@pytest.mark.parametrize(
    ("raw", "word"),
    [({}, "model"), ({"model": "m", "views": []}, "items"), ({"model": "m", "views": {"ordered": {}}}, "overall")],
)
def test_a_malformed_benchmark_report_names_file_and_field(raw: dict[str, Any], word: str) -> None:
    with pytest.raises(ReportError, match=rf"m\.json: .*{word}"):
        summary_of(raw, "m.json")


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
        row(3, reward=0.0),
        row(3, "no_video", 1.0),
        row(4, data_type="image", temporal=False),
        row(4, "no_video", 0.0, data_type="image", temporal=False),
    ]
    (control,) = controls_of("m", rows)
    assert (control.group, control.n) == ("temporal", 2)
    assert control.accuracy == {"ordered": 1.0, "shuffled": 0.5, "no_video": 0.0}
    assert control.loss["shuffled"].value == 0.5
    assert control.loss["no_video"] == loss([1.0, 1.0], ["0.mp4", "1.mp4"])


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
    assert controls_of("m", rows) == []


def test_questions_about_one_clip_are_one_cluster() -> None:
    alone, together = loss([1.0, 0.0, 1.0, 0.0], list("abcd")), loss([1.0, 0.0, 1.0, 0.0], list("aabb"))
    assert alone.low is not None and alone.low == pytest.approx(0.5 - 1.96 * math.sqrt(1 / 12), abs=1e-3)
    assert together.low == together.high == 0.5
    assert loss([1.0, 0.0], ["a", "a"]).low is None


def test_gain_is_paired_over_common_temporal_questions() -> None:
    found = gain([row(0), row(1), row(2, temporal=False)], [row(1, reward=0.0), row(2, temporal=False)], temporal=True)
    assert found is not None and (found[0], found[1].value) == (1, 1.0)
    assert gain([row(0)], [], temporal=True) is None


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
