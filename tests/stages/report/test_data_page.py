"""The data page and the data card: numbers of small tables, and both commands on a project that ingest has filled."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tasks import paths
from tasks.ingest import __main__ as ingest
from tasks.report import __main__ as command
from tasks.report.dataset import RATES, SECONDS, balance_table, reason_table, spread_table
from tasks.report.tables import Table
from tests.support.report_inputs import HOSTILE

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


@pytest.mark.parametrize(
    ("values", "bins", "expected"),
    [
        pytest.param(
            [4.99, 5.0, 400, None], SECONDS, [["< 5 s", "1"], ["5-15 s", "1"], [">= 5 min", "1"]], id="bounds"
        ),
        pytest.param([25, 29.97, 30, 60], RATES, [["20-26", "1"], ["26-35", "2"], [">= 35", "1"]], id="rates"),
        pytest.param([], SECONDS, [], id="nothing"),
    ],
)
def test_spread(values, bins, expected) -> None:
    assert [row[:2] for row in texts(spread_table("t", "x", pd.Series(values, dtype=float), bins))] == expected


def test_answer_balance_tells_what_one_answer_would_score() -> None:
    truths = ["A", "A", "B", "A", "4", "4", "5"]
    records = pd.DataFrame(
        {
            "split": "train",
            "problem_type": ["multiple choice"] * 4 + ["numerical"] * 3,
            "solution": [f"<answer>{truth}</answer>" for truth in truths],
            "n_options": [2, 2, 4, 4, 0, 0, 0],
        }
    )
    assert texts(balance_table(records)) == [
        ["train", "multiple choice", "A", "4", "2", "75.0%", "37.5%", "A 75.0%, B 25.0%"],
        ["train", "numerical", "4", "3", "2", "66.7%", "–", "–"],
    ]


def test_reasons_are_counted_without_what_differs_from_row_to_row() -> None:
    reasons = [
        "'a.mp4' is not a file",
        "'b.mp4' is not a file",
        "7 is taken by s row 1",
        "not <answer>..</answer>: '4'",
    ]
    rows = pd.DataFrame(
        {
            "source": "s",
            "row": range(4),
            "kind": ["path", "path", "duplicate", "record"],
            "field": "f",
            "reason": reasons,
        }
    )
    assert texts(reason_table(rows)) == [
        ["path", "f", ".. is not a file", "s row 0", "2"],
        ["duplicate", "f", ".. is taken by s row ..", "s row 2", "1"],
        ["record", "f", "not <answer>..</answer>: ..", "s row 3", "1"],
    ]


@pytest.fixture
def project(tmp_path, monkeypatch) -> None:
    """Ingest has run on real clips, one row with a hostile question, one that is refused, one asked twice."""
    monkeypatch.chdir(tmp_path)
    rows = json.loads((CLIPS / "records.json").read_text())
    rows += [{**rows[0], "problem_id": 10, "problem": HOSTILE}, {**rows[0], "problem_id": 11, "solution": "4"}]
    rows.append({**rows[1], "problem_id": 12})
    Path("rows.json").write_text(json.dumps(rows))
    source = {"name": "clips", "format": "video_r1", "split": "train", "annotations": "rows.json"}
    source |= {"media_root": str(CLIPS), "licence": "CC-BY-4.0", "homepage": "https://example.org"}
    params = {"data_root": ".", "models": {"base": "b"}, "ingest": {"sources": [source], "workers": 1}}
    paths.PARAMS.write_text(yaml.safe_dump(params))
    ingest.main()
    monkeypatch.setattr(sys, "argv", ["tasks.report", "data"])
    command.main()


def test_the_page_shows_counts_clips_and_no_markup_of_a_question(project) -> None:
    page = paths.DATA_PAGE.read_text()
    assert page.count("data:image/jpeg;base64,") >= 8
    assert "<script" not in page and HOSTILE not in page and "{{" not in page.replace("{{ 7 * 7 }}", "")
    assert not re.search(r"""(?:src|href)=["']?http""", page)
    for words in ("CC-BY-4.0", "Answer balance", "not &lt;answer&gt;..&lt;/answer&gt;", "Asked twice, leaked", "h264"):
        assert words in page, words


def test_the_card_tells_sources_licence_counts_and_how_it_was_made(project) -> None:
    card = paths.DATA_CARD.read_text()
    assert "- clips: rows.json; licence: CC-BY-4.0; https://example.org" in card
    assert "| clips | video_r1 | train | CC-BY-4.0 | 7 | 6 | 6 | 0 | 3 | 1 | 2.00 |" in card
    assert "Rows left out: 1 (1 record)" in card and "| exact | train | clips | clips | reported | 1 |" in card


@pytest.mark.parametrize(
    ("stage", "counts", "words"),
    [
        pytest.param(
            "annotate",
            {"rows": 6, "taken_from": "cot.json"},
            "No teacher was asked: 6 rows",
            id="reasoning-from-a-file",
        ),
        pytest.param("annotate", {"rows": 6}, "The teacher was asked: ", id="reasoning-of-the-teacher"),
        pytest.param(
            "ingest", {"left_out_for_video_share": {"train": 2, "rl": 0}}, "asks: 2 of train, 0 of rl", id="mixed"
        ),
    ],
)
def test_the_card_tells_what_was_done_to_the_rows(project, stage, counts, words) -> None:
    path = paths.metrics(stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | counts))
    command.main()
    assert words in paths.DATA_CARD.read_text()


def test_without_ingest_the_command_says_what_to_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths.PARAMS.write_text(
        yaml.safe_dump(
            {
                "models": {"base": "b"},
                "ingest": {"sources": [{"name": "w", "format": "world", "split": "rl", "rows": 1}]},
            }
        )
    )
    monkeypatch.setattr(sys, "argv", ["tasks.report", "data"])
    with pytest.raises(Exception, match="run `dvc repro ingest` first"):
        command.main()
