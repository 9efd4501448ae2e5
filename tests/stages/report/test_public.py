"""The report on public benchmarks: tables, charts and cards from real runs of a fake engine."""

import dataclasses

import pytest

from tasks.report.cards import card
from tasks.report.public import frame_charts, public_tables
from tasks.report.tables import as_markdown
from tests.support.benchmark_runs import benchmark, opened
from tests.support.benchmark_trees import annotate, render
from tests.support.report_inputs import numbers_of, row


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    annotate(root / "annotations")
    render(root / "annotations", root / "media")
    base, _ = benchmark(opened(root), root / "base", model="base")
    other, _ = benchmark(opened(root), root / "grpo", model="grpo", config="other weights", seed=9)
    return {"base": base, "grpo": other}


@pytest.fixture(scope="module")
def tables(numbers):
    return {table.title: table for table in public_tables(numbers, ["base", "sft", "grpo"], 16)}


def test_scores_name_benchmark_protocol_and_frames_in_every_row(tables):
    table = tables["Public benchmarks, ordered frames"]
    assert table.head == ["benchmark", "protocol", "frames", "n", "base", "grpo"]
    assert len(table.rows) == 7 * 2 * 2
    assert all(cells[1].text in ("official", "video_r1") and cells[2].text in ("16", "32") for cells in table.rows)
    [mmvu] = [cells for cells in table.rows if cells[0].text.startswith("MMVU") and cells[1].text == "official"][:1]
    assert mmvu[4].text == "not scored"
    assert "needs a judge" in mmvu[4].note
    assert all("†" in cells[0].text for cells in table.rows), "no tree here is complete"


def test_published_numbers_say_source_and_why_they_are_not_comparable(tables):
    table = tables["Published numbers beside ours"]
    assert all(cells[3].text for cells in table.rows)
    assert {cells[4].text for cells in table.rows} >= {
        "not comparable: our set is incomplete",
        "not comparable: its frames are not ours",
    }
    video_r1 = [cells for cells in table.rows if cells[0].text == "MVBench" and cells[2].text == "Video-R1-7B"]
    assert [(cells[5].text, cells[6].text) for cells in video_r1] == [("16", "62.7%"), ("32", "63.9%")]


def test_categories_are_the_benchmarks_own(tables):
    groups = {(cells[0].text, cells[1].text) for cells in tables["VSI-Bench, official: by category"].rows}
    assert ("question type", "object_rel_direction") in groups
    assert {name for name, _ in groups} == {"question type", "dataset"}


def test_controls_faults_and_sources_are_there(tables):
    controls = tables["Controls on public benchmarks"]
    assert any(cells[-2].text != "–" for cells in controls.rows)
    health = tables["Extraction, truncation and denominators"]
    assert any("missing file" in cells[3].text and "unreadable clip" in cells[3].text for cells in health.rows)
    sources = as_markdown(tables["Sources of the public benchmarks"])
    assert "clips not found" in sources
    assert "reasoning and answer tags are taken off" in sources
    assert "Letter bias" in tables


def test_one_curve_per_benchmark_and_protocol(numbers):
    assert len(frame_charts(numbers, ["base", "grpo"])) == 7 * 2 - 1, "MMVU has no official score"


def test_nothing_run_is_no_table():
    assert public_tables({}, ["base"], 16) == []
    assert frame_charts({}, ["base"]) == []


LOCK = {
    "stages": {
        "grpo": {
            "cmd": "c",
            "deps": [{"path": "models/sft", "md5": "1"}, {"path": "tasks/grpo", "md5": "2"}],
            "params": {"params.yaml": {"seed": 0, "grpo": {"beta": 0.1}}},
            "outs": [{"path": "models/grpo", "md5": "abcdef1234567890.dir"}],
        },
        "sft": {"cmd": "c", "deps": [], "outs": [{"path": "models/sft", "md5": "77"}]},
        "benchmark@grpo": {"cmd": "c", "deps": [], "outs": [{"path": "data/benchmark/grpo", "md5": "8"}]},
    }
}


def test_a_card_tells_lineage_parameters_and_scores(numbers):
    split = numbers_of({"grpo": [row(model="grpo")]})["grpo"]
    both = dataclasses.replace(
        numbers["grpo"],
        entries=[*split.entries, *numbers["grpo"].entries],
        question_sets=[*split.question_sets, *numbers["grpo"].question_sets],
    )
    text = card(
        "grpo",
        "models/grpo",
        numbers=both,
        lock=LOCK,
        params={"seed": 0, "grpo": {"beta": 0.1}, "sft": {"epochs": 1}},
        commit="commit abc",
    )
    assert "models/grpo abcdef1234" in text
    assert "| sft |" in text, "what it was trained from"
    assert "benchmark@grpo" not in text
    assert "beta: 0.1" in text and "epochs" not in text
    assert "| MVBench | video_r1 | 32 |" in text
    assert "**Test split**" in text and "| ordered | 16 | 1 | 100.0% |" in text


def test_a_card_of_an_input_says_so():
    text = card(
        "base",
        "models/base",
        numbers=None,
        lock={},
        params={},
        commit="commit abc",
    )
    assert "the checkpoint is an input" in text
    assert "Not benchmarked." in text
