"""Charts of the report: curves as read, lines and dots as drawn."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from tasks.report import svg
from tasks.report.curves import charts, is_share, read_curve, split_constant, subject_of
from tests.support.report_inputs import HOSTILE


def drawing(text: str) -> ET.Element:
    """Parsed SVG: raises where it is not well-formed XML; no coordinate may be NaN."""
    root = ET.fromstring(text)
    assert not re.search(r'="[^"]*(nan|inf)[^"]*"', text)
    return root


@pytest.mark.parametrize(
    ("ys", "polylines", "circles"),
    [
        pytest.param([0.5], 0, 1, id="one point is a dot, not an invisible line"),
        pytest.param([0.5, 0.7], 1, 0, id="two points are a line"),
        pytest.param([1.0, math.nan, 2.0], 0, 2, id="a NaN breaks the line into two dots"),
        pytest.param([1.0, 2.0, math.inf, 3.0, 4.0], 2, 0, id="an infinity breaks the line"),
        pytest.param([3.0, 3.0, 3.0], 1, 0, id="a constant has a y axis of its own"),
        pytest.param([0.0, 0.0], 1, 0, id="constant zero"),
        pytest.param([-2e9, 5e-9], 1, 0, id="eighteen orders of magnitude"),
        pytest.param([math.nan, math.nan], 0, 0, id="nothing finite says so"),
        pytest.param([], 0, 0, id="no point at all says so"),
    ],
)
def test_line_chart(ys: list[float], polylines: int, circles: int) -> None:
    text = svg.line_chart("loss", [svg.Series("loss", [float(i) for i in range(len(ys))], ys)])
    drawing(text)
    assert (text.count("<polyline"), text.count("<circle")) == (polylines, circles)
    assert ("no finite values" in text) == (polylines + circles == 0)


def test_long_curves_are_thinned_and_smoothed_but_keep_their_spike() -> None:
    xs = [float(i) for i in range(5000)]
    ys = [1.0] * 5000
    ys[1234] = 50.0
    kept_x, kept_y = svg.thin(xs, ys)
    assert len(kept_x) <= svg.MOST_POINTS
    assert (1234.0, 50.0) in zip(kept_x, kept_y, strict=True)
    text = svg.line_chart("loss", [svg.Series("loss", xs, ys)])
    assert 'class="raw"' in text
    assert 'class="line"' in text
    assert len(text) < 20_000


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        pytest.param(0.0, 1.0, ["0.0", "0.5", "1.0"], id="unit"),
        pytest.param(1.0, 60.0, ["0", "50", "100"], id="covers both ends"),
        pytest.param(5.0, 5.0, ["4.5", "5.0", "5.5"], id="an empty range is widened"),
        pytest.param(0.0, 1e-6, ["0", "5e-7", "1e-6"], id="learning rates are written with an exponent"),
        pytest.param(0.0, 40_000.0, ["0k", "20k", "40k"], id="thousands"),
    ],
)
def test_ticks(low: float, high: float, labels: list[str]) -> None:
    assert svg.tick_labels(svg.ticks(low, high, 3), percent=False) == labels


def test_charts_escape_their_text() -> None:
    for text in (
        svg.line_chart(
            HOSTILE, [svg.Series(HOSTILE, [0, 1], [0, 1]), svg.Series("b", [0, 1], [1, 0])], x_label=HOSTILE
        ),
        svg.dot_chart(HOSTILE, [svg.DotRow(HOSTILE, [svg.Dot(0.5)], HOSTILE)], [(HOSTILE, svg.Dot(0.0))]),
    ):
        drawing(text)
        assert "<script" not in text


def test_dot_chart_leaves_out_what_is_not_a_number() -> None:
    text = svg.dot_chart("accuracy", [svg.DotRow("m", [svg.Dot(math.nan), svg.Dot(0.5, 0.4, 0.6)])])
    drawing(text)
    assert text.count("<circle") == 1
    drawing(svg.dot_chart("accuracy", []))


@pytest.mark.parametrize(
    ("text", "names", "x_label", "phases"),
    [
        pytest.param("step,loss\n1,2\n2,1\n", ["loss"], "step", [], id="plain"),
        pytest.param("loss,kl\n2,\n1,0.1\n", ["loss", "kl"], "row", [], id="no step column: rows are numbered"),
        pytest.param(
            "step,skill,loss\n1,look,2\n2,read,1\n", ["loss"], "step", ["look", "read"], id="words are phases"
        ),
        pytest.param("step,loss,empty\n1,nan,\n", ["loss"], "step", [], id="nan is logged, an empty column is not"),
        pytest.param("step,loss\n", [], "row", [], id="head only"),
        pytest.param("", [], "row", [], id="empty file"),
        pytest.param("step,loss\n1\n2,3\n", ["loss"], "step", [], id="a short row lacks its last cells"),
    ],
)
def test_read_curve(text: str, names: list[str], x_label: str, phases: list[str]) -> None:
    curve = read_curve(text)
    assert [column.name for column in curve.columns] == names
    assert (curve.x_label, [phase.name for phase in curve.phases]) == (x_label, phases)


@pytest.mark.parametrize(
    ("name", "subject", "line"),
    [
        ("accuracy_shuffled", "accuracy", "shuffled"),
        ("eval/loss", "loss", "eval"),
        ("loss_caption", "loss", "caption"),
        ("clip_ratio/region_mean", "clip_ratio/region", "mean"),
        ("loss", "loss", ""),
        ("shuffled", "shuffled", ""),
        ("meaning", "meaning", ""),
    ],
)
def test_subject_of(name: str, subject: str, line: str) -> None:
    assert subject_of(name) == (subject, line)


def test_ordered_and_shuffled_accuracy_share_a_chart() -> None:
    curve = read_curve("step,kl,accuracy,accuracy_shuffled\n1,0,0.5,0.2\n2,1,0.6,0.3\n")
    accuracy, kl = charts("grpo", curve)
    assert (accuracy.title, kl.title) == ("accuracy", "kl")
    assert all(name in accuracy.svg for name in ("ordered", "shuffled", "100%"))


def test_columns_that_never_change_are_told_not_drawn() -> None:
    flat, rest = split_constant(read_curve("step,loss,clip_share\n1,2,0\n2,1,0\n"))
    assert (flat, [c.name for c in rest.columns]) == ({"clip_share": 0.0}, ["loss"])
    assert split_constant(read_curve("step,loss\n1,2\n"))[0] == {}


@pytest.mark.parametrize(
    ("name", "values", "share"),
    [
        ("accuracy", [0.0, 1.0], True),
        ("accuracy", [0.0, 1.2], False),
        ("accuracy", [math.nan, 0.5], True),
        ("learning_rate", [0.1], False),
        ("accuracy_reward", [0.5], False),
        ("loss", [0.5], False),
    ],
)
def test_is_share(name: str, values: list[float], share: bool) -> None:
    assert is_share(name, values) is share
