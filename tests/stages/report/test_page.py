"""The report: which examples it shows, what the page says and escapes, and the command on a small project."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pytest
import yaml

from tasks.benchmark import totals
from tasks.benchmark.clips import show
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.errors import StageError
from tasks.core.io.jsonl import append_jsonl
from tasks.core.io.seeds import derive_seed
from tasks.core.io.tables import write_table
from tasks.core.schemas.answers import as_json
from tasks.core.schemas.parsing import parse_record
from tasks.core.schemas.records import QUARANTINE_SCHEMA, RECORD_SCHEMA, truth_of
from tasks.core.video import Clip
from tasks.core.world.split import make_split
from tasks.report import __main__ as command
from tasks.report.examples import answer_of_row, choose, choose_shuffled, plan, verdict
from tasks.report.inputs import Inputs
from tasks.report.numbers import split_rows
from tasks.report.page import context
from tasks.report.pictures import jpeg_uri, open_pictures, pick, shuffled_view, strip
from tasks.report.render import html_page
from tests.support.report_inputs import CAP, HOSTILE, SPLIT, inputs_of, record, row


def page_of(inputs: Inputs, count: int = 8) -> str:
    models = list(inputs.logs)
    chosen = plan(inputs, models, count)
    shown = [r for r in [*chosen.shown, chosen.shuffled] if r]
    pictures = {r["problem_id"]: open_pictures(r, 4, frames=4, fps=2.0, min_frames=2) for r in shown}
    paths = {each["path"]: each for numbers in inputs.audits.values() for each in numbers["examples"]}
    strips = {path: open_pictures(each, 4, frames=4, fps=2.0, min_frames=2) for path, each in paths.items()}
    return html_page(context(inputs, models, chosen, pictures, strips))


@pytest.mark.parametrize(
    ("frames", "count", "picked"),
    [(16, 4, [0, 5, 10, 15]), (3, 8, [0, 1, 2]), (16, 1, [8]), (1, 8, [0]), (5, 5, [0, 1, 2, 3, 4])],
)
def test_pick(frames: int, count: int, picked: list[int]) -> None:
    assert pick(frames, count) == picked


def test_strips_are_data_uris_with_times() -> None:
    frames = np.zeros((4, 20, 30, 3), np.uint8)
    shown = strip(Clip(frames, [0, 1, 2, 3], 2.0, 2.0, 2.0), 2)
    assert [frame.label for frame in shown] == ["0.0 s", "1.5 s"]
    assert all(frame.uri.startswith("data:image/jpeg;base64,") for frame in shown)
    assert strip(Clip(frames[:1], [0], 0.0, 0.0, 0.0), 2)[0].label == ""
    assert len(jpeg_uri(np.zeros((2000, 3000, 3), np.uint8))) < 4000


def test_the_shuffled_strip_is_what_the_benchmark_shows() -> None:
    frames = np.arange(8, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    clip = Clip(frames, list(range(8)), 2.0, 2.0, 4.0)
    shown = show(clip, "shuffled", derive_seed(7, 42, "shuffle"))
    assert shown is not None
    assert shuffled_view(clip, 42, 7).indices == shown.indices != clip.indices


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"score": 1.0}, "right"),
        ({"score": 0.4}, "partly"),
        ({"score": 0.0}, "wrong"),
        ({"score": None}, "error"),
    ],
)
def test_verdict(fields: dict[str, Any], expected: str) -> None:
    assert verdict(row(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "reasoning", "note"),
    [
        pytest.param({}, "t", "", id="well formed"),
        pytest.param(
            {"completion": "<answer>A</answer>"},
            "",
            "not well formed",
            id="a bare answer is not repeated as reasoning",
        ),
        pytest.param(
            {"completion": "<think>on and on", "pipeline_extracted": "", "finish_reason": "length"},
            "<think>on and on",
            "not well formed; no answer could be read; cut off",
            id="cut off",
        ),
        pytest.param(
            {"completion": "", "score": None, "finish_reason": "error"},
            "",
            "not answered: does not decode",
            id="failed",
        ),
    ],
)
def test_answer_of_row(fields: dict[str, Any], reasoning: str, note: str) -> None:
    answer = answer_of_row("m", row(**fields))
    assert (answer.reasoning, answer.note) == (reasoning, note)


def test_examples_take_kinds_in_turn_and_disagreement_first() -> None:
    records = [record(i, skill="order" if i < 4 else "colour", temporal=i < 4) for i in range(8)]
    answered = {
        "a": split_rows([row(i) for i in range(7)], CAP, "ordered"),
        "b": split_rows([row(i, score=float(i not in (2, 5))) for i in range(7)], CAP, "ordered"),
    }
    picked = [r["problem_id"] for r in choose(records, answered, 4)]
    assert picked[:2] == [2, 5]
    assert [i < 4 for i in picked] == [True, False, True, False]
    assert picked == [r["problem_id"] for r in choose(records[::-1], answered, 4)]
    everything = {r["problem_id"] for r in choose(records, answered, 99)}
    assert everything == set(range(7)), "a question that nobody was asked is not shown"
    assert choose(records, {}, 4) == []


def test_the_shuffled_example_is_a_temporal_question_lost_to_shuffling() -> None:
    records = [record(i, temporal=i != 2) for i in range(4)]
    ordered = split_rows([row(i, score=float(i != 3)) for i in range(4)], CAP, "ordered")
    shuffled = split_rows([row(i, "shuffled", float(i == 0)) for i in range(4)], CAP, "shuffled")
    found = choose_shuffled(records, ordered, shuffled)
    assert found is not None and found["problem_id"] == 1
    assert choose_shuffled(records, ordered, {}) is None


def test_hostile_text_is_escaped_everywhere() -> None:
    hostile: dict[str, Any] = {
        "pipeline_extracted": HOSTILE,
        "completion": f"<think>{HOSTILE}</think><answer>{HOSTILE}</answer>",
        "skill": HOSTILE,
        "problem_type": HOSTILE,
    }
    logs = {f"m{HOSTILE}": [row(0, **hostile), row(0, "shuffled", 0.0, **hostile)]}
    page = page_of(
        inputs_of(
            logs,
            test=[record(problem=HOSTILE, options=[f"A. {HOSTILE}", "B"], skill=HOSTILE, path=HOSTILE)],
            curves={"sft": f"step,skill,{HOSTILE.replace(',', '').replace(chr(34), '')}\n1,{HOSTILE[:20]},2\n"},
            metrics={"filter": {"rows": 3, "rejected": {HOSTILE: 2}}, HOSTILE: {HOSTILE: 1}},
            verdicts={HOSTILE: {"verdict": HOSTILE}},
            params_text=HOSTILE,
            commit=HOSTILE,
            quarantine=[
                {
                    "source": HOSTILE,
                    "split": "test",
                    "row": 0,
                    "problem_id": None,
                    "kind": HOSTILE,
                    "field": "path",
                    "reason": HOSTILE,
                }
            ],
        )
    )
    assert "<script" not in page
    assert '<img src="http' not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "{{ 7 * 7 }}" in page, "model text is not a template"
    check_self_contained(page)


def check_self_contained(page: str) -> None:
    """Nothing in the page is fetched: every src is a data URI, every href an anchor, and CSS names no file."""
    outside_text = re.sub(r">[^<]*<", "><", page.split("</style>")[1])
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', outside_text))
    assert all(source.startswith("data:image/jpeg") for source in re.findall(r'src="([^"]*)"', outside_text))
    assert not re.search(r"<(script|link|iframe|object|embed|base|form)\b", page)
    assert not re.search(r"url\(|@import|https?://", page.split("</style>")[0])


def test_missing_inputs_are_said() -> None:
    page = page_of(inputs_of({"m": [row(0)]}))
    for words in (
        "grpo: not run",
        "sft: not run",
        "filter: not run",
        "ingest: not run",
        "No controls",
        "No examples",
        "dvc.lock: no stage recorded",
    ):
        assert words in page


def test_a_clip_that_does_not_open_costs_its_pictures_only() -> None:
    page = page_of(inputs_of({"m": [row(0)]}, test=[record(path="gone.mp4")]))
    assert "gone.mp4: no such file" in page
    assert "Which way?" in page


def test_an_undefined_name_in_the_template_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        html_page({"title": "t"})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of two models on six rendered questions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["report"])
    media = Path("data/ingest/media")
    raw = make_split(media, 6, seed=5)
    records = [parse_record({**r, "path": str(media / r["path"])}, "test") for r in raw]
    write_table(Path("data/ingest/test.parquet"), [dataclasses.asdict(r) for r in records], RECORD_SCHEMA)
    write_table(Path("data/ingest/quarantine.parquet"), [], QUARANTINE_SCHEMA)
    for model, right in (("base", 0.0), ("grpo", 1.0)):
        rows = [
            row(
                r.problem_id,
                view,
                right if view == "ordered" else 0.0,
                model=model,
                problem_type=r.problem_type,
                data_type=r.data_type,
                temporal=r.temporal,
                skill=r.skill,
                cluster=r.path,
                pipeline_extracted=truth_of(r.solution),
            )
            for r in records
            for view in ("ordered", "shuffled", "no_video")
            if view != "shuffled" or r.data_type == "video"
        ]
        append_jsonl(Path(f"data/benchmark/{model}/world.jsonl"), rows)
        write_json(Path(f"reports/benchmark/{model}.json"), as_json(totals.numbers(model, [rows], [SPLIT])))
    write_text(Path("reports/grpo/curve.csv"), "step,loss,accuracy_ordered,accuracy_shuffled\n1,2,.5,.2\n2,1,.6,.2\n")
    models = {"base": "models/base", "grpo": "models/grpo"}
    source = {"name": "w", "format": "world", "split": "test", "rows": 6}
    Path("params.yaml").write_text(yaml.safe_dump({"models": models, "ingest": {"sources": [source]}}))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["report", *arguments])
    command.main()


def test_command(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It builds both files, ends with the tables and the path, builds the same bytes again, and `show` repeats it."""
    run(monkeypatch)
    printed = capsys.readouterr().out
    assert "grpo" in printed and "100.0%" in printed
    assert "report: reports/index.html" in printed
    page, tables = Path("reports/index.html").read_bytes(), Path("reports/benchmark.md").read_bytes()
    assert page.count(b"data:image/jpeg;base64,") > 6
    check_self_contained(page.decode())
    run(monkeypatch)
    assert (Path("reports/index.html").read_bytes(), Path("reports/benchmark.md").read_bytes()) == (page, tables)
    capsys.readouterr()
    Path("reports/index.html").write_text("kept")
    run(monkeypatch, "show")
    assert capsys.readouterr().out == printed
    assert Path("reports/index.html").read_text() == "kept"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "no benchmark results", id="nothing was benchmarked"),
        pytest.param(["show"], "no report yet", id="nothing to show"),
        pytest.param(["shwo"], "invalid choice: 'shwo'", id="unknown word"),
    ],
)
def test_wrong_use_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    for path in Path("reports/benchmark").glob("*.json"):
        path.unlink()
    with pytest.raises(StageError, match=message) as caught:
        run(monkeypatch, *arguments)
    assert "\n" not in str(caught.value)


def test_a_report_that_is_not_json_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("reports/sft").mkdir()
    Path("reports/sft/metrics.json").write_text("{")
    with pytest.raises(StageError, match=r"reports/sft/metrics\.json: not JSON"):
        run(monkeypatch)
    Path("reports/sft/metrics.json").write_text(json.dumps([1]))
    with pytest.raises(StageError, match=r"metrics\.json: a JSON object is wanted, got list"):
        run(monkeypatch)
