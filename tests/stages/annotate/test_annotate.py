"""annotate: what is asked and what is not, resume, isolation of bad rows, several samples, metrics."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tasks import paths
from tasks.annotate import __main__ as stage
from tasks.annotate.annotate import cot_rows, metrics
from tasks.core.engine.open import open_engine
from tasks.core.engine.types import EngineError
from tasks.core.io.tables import read_table, write_table
from tasks.core.prompts import build
from tasks.core.schemas.records import COT_SCHEMA, RECORD_SCHEMA
from tasks.core.video import open as open_module
from tests.support import bad_readers
from tests.support.infer_project import (
    RECORDS,
    FakeEngine,
    Killed,
    make_project,
    params_of,
    write_manifest,
    write_params,
)


@pytest.fixture
def project(tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model)
    return tmp_path


def outputs():
    return read_table(paths.COT, COT_SCHEMA), json.loads(paths.metrics("annotate").read_text())


def dying_engine(monkeypatch, completions):
    """The real engine, killed after so many requests were answered."""

    def open_and_die(**settings):
        engine = open_engine(**settings)
        stream = engine.stream

        def stream_or_die(*args, **kwargs):
            for number, answered in enumerate(stream(*args, **kwargs)):
                if number == completions:
                    raise Killed
                yield answered

        engine.stream = stream_or_die
        return engine

    monkeypatch.setattr(stage, "open_engine", open_and_die)


@pytest.mark.parametrize("completions", [0, 1, 3, 5])
@pytest.mark.parametrize("keep", ["best", "all"])
def test_killed_and_resumed_equals_undisturbed(project, tiny_model, monkeypatch, completions, keep):
    write_params(tiny_model, annotate=annotate_section(samples=2, keep=keep))
    stage.main()
    undisturbed = outputs()
    paths.COT.unlink()
    shutil.rmtree(paths.WORK_DATA)
    dying_engine(monkeypatch, completions)
    with pytest.raises(Killed):
        stage.main()
    assert not paths.COT.exists(), "nothing is published before the end"
    monkeypatch.setattr(stage, "open_engine", open_engine)
    stage.main()
    assert outputs() == undisturbed
    numbers = [(row["problem_id"], row["sample"]) for row in undisturbed[0]]
    assert len(numbers) == len(set(numbers)) == (7 if keep == "best" else 14)


@pytest.fixture
def engine(monkeypatch):
    made = FakeEngine()
    monkeypatch.setattr(stage, "open_engine", lambda **_: made)
    return made


def annotate_section(**changes):
    return {"sampling": {"temperature": 1.0, "top_p": 0.95, "max_tokens": 8}, **changes}


def asked_again(engine):
    """Questions put to the engine since last time, by number, in their order."""
    numbers = [int(request.prompt.split("Question ")[1].split(":")[0]) for request in engine.seen]
    engine.seen.clear()
    return numbers


ALL = [1, 2, 4, 5, 6, 7]
"""All but the broken clip."""


@pytest.mark.slow
def test_a_clip_that_hangs_its_reader_costs_its_rows_and_no_more(project, tiny_model, engine, monkeypatch):
    monkeypatch.setattr(open_module, "read_resized", bad_readers.hang_on_first)
    video = params_of(tiny_model)["video"] | {"read_limit_seconds": 3.0, "disk_cache_gb": 0}
    write_params(tiny_model, video=video)
    stage.main()
    rows, _ = outputs()
    hung = {record.problem_id for record in RECORDS if record.path in ("media/1.mp4", "media/broken.mp4")}
    assert {row["problem_id"] for row in rows if row["finish_reason"] == "error"} == hung
    [log] = [row for row in rows if row["problem_id"] == 1]
    assert log["completion"] == ""


def test_resume_asks_only_for_what_is_left(project, engine, capsys):
    engine.die_at = 2
    with pytest.raises(Killed):
        stage.main()
    engine.die_at = None
    stage.main()
    assert sorted(asked_again(engine)) == ALL, "each once, the broken clip never"
    assert "7 completions wanted, 2 kept in data/.work/annotate/" in capsys.readouterr().out


def append_record(**changes):
    """One more row in the tables of ingest, about a clip that is there."""
    new = dataclasses.replace(RECORDS[0], problem_id=8, problem="Question 8: how many?", **changes)
    write_table(paths.TRAIN_RECORDS, [dataclasses.asdict(row) for row in [new, *RECORDS]], RECORD_SCHEMA)


def test_one_more_row_is_one_more_request(project, engine, capsys):
    stage.main()
    before = outputs()[0]
    assert asked_again(engine) == ALL
    append_record()
    stage.main()
    assert asked_again(engine) == [8]
    assert outputs()[0][1:] == before
    assert "8 completions wanted, 6 kept in" in capsys.readouterr().out


def test_pairs_ask_about_clips_played_backwards(project, tiny_model, engine, capsys):
    """Of 1, 4 and 7, the readable rows about order, 4 becomes the reverse of 1; its clip does not decode in 3."""
    rows = [dataclasses.asdict(row) for row in RECORDS if row.problem_id != 3]
    write_table(paths.TRAIN_RECORDS, rows, RECORD_SCHEMA)
    stage.main()
    plain = {row["problem_id"]: row for row in outputs()[0]}
    seen = {request.prompt: request for request in engine.seen}
    engine.seen.clear()
    write_params(tiny_model, annotate=annotate_section(pairs=True))
    stage.main()
    rows, summary = outputs()
    by_id = {row["problem_id"]: row for row in rows}
    assert [row["problem_id"] for row in rows] == [1, 2, -2, 5, 6, 7] and summary["pairs"] == 1
    assert "annotate: 1 rows are of clips played backwards" in capsys.readouterr().out
    assert {number: by_id[number] for number in (1, 2, 5, 6, 7)} == {n: plain[n] for n in (1, 2, 5, 6, 7)}
    [request] = engine.seen  # the others are kept, and the forward clip's completion is not taken for the reverse's
    assert np.array_equal(request.clip.frames, seen[request.prompt].clip.frames[::-1])
    assert (by_id[-2]["path"], by_id[-2]["solution"]) == (plain[1]["path"], "<answer>A</answer>")
    assert (plain[1]["reward"], by_id[-2]["reward"]) == (1.0, 0.0), "the same answer is wrong backwards"


def renumber():
    rows = [dataclasses.asdict(dataclasses.replace(row, problem_id=row.problem_id + 100)) for row in RECORDS[::-1]]
    write_table(paths.TRAIN_RECORDS, rows, RECORD_SCHEMA)


@pytest.mark.parametrize(
    ("change", "again"),
    [
        pytest.param({}, [], id="nothing: a forced run"),
        pytest.param({"engine": {"kv_cache_gb": 2}}, [], id="memory for keys and values"),
        pytest.param({"engine": {"batch_size": 1, "rows_per_call": 1, "group_by_length": False}}, [], id="batches"),
        pytest.param({"engine": {"gpu_memory_utilization": 0.5, "data_parallel": 2}}, [], id="devices"),
        pytest.param({"engine": {"data_parallel_backend": "ray"}}, [], id="where engines are"),
        pytest.param({"video": {"decode_workers": 0, "disk_cache_gb": 0.0}}, [], id="how clips are decoded"),
        pytest.param({"annotate": {"keep": "all"}}, [], id="what is kept"),
        pytest.param({"seed": 4}, ALL, id="seed"),
        pytest.param({"annotate": {"sampling": {"temperature": 0.5, "max_tokens": 8}}}, ALL, id="sampling"),
        pytest.param({"video": {"frames": 2, "min_frames": 2}}, ALL, id="frames"),
        pytest.param({"prompt": {"system": "Be brief."}}, ALL, id="system prompt"),
        pytest.param({"prompt": {"template": "video_r1"}}, ALL, id="template"),
        pytest.param({"engine": {"max_model_len": 256}}, ALL, id="room"),
        pytest.param({"engine": {"dtype": "bfloat16"}}, ALL, id="number format"),
    ],
)
def test_what_is_asked_again(project, tiny_model, engine, change, again):
    stage.main()
    assert asked_again(engine) == ALL
    base = params_of(tiny_model)
    write_params(tiny_model, **{k: {**base.get(k, {}), **v} if isinstance(v, dict) else v for k, v in change.items()})
    stage.main()
    assert asked_again(engine) == again
    write_params(tiny_model)
    stage.main()
    assert asked_again(engine) == [], "what was given first is still there"


def test_ids_and_order_of_the_rows_do_not_count(project, engine):
    stage.main()
    asked_again(engine)
    completions = {row["problem_id"] + 100: row["completion"] for row in outputs()[0]}
    renumber()
    stage.main()
    assert asked_again(engine) == []
    assert {row["problem_id"]: row["completion"] for row in outputs()[0]} == completions


@pytest.mark.parametrize("change", ["words", "pixels", "wording of the prompt", "teacher"])
def test_another_question_medium_prompt_or_teacher_is_asked(project, tiny_model, engine, monkeypatch, change):
    stage.main()
    asked_again(engine)
    if change == "words":
        rows = [dataclasses.replace(RECORDS[0], problem="Question 1: where to?"), *RECORDS[1:]]
        write_table(paths.TRAIN_RECORDS, [dataclasses.asdict(row) for row in rows], RECORD_SCHEMA)
    elif change == "pixels":
        write_manifest(overrides={"media/1.mp4": "f" * 64})
    elif change == "wording of the prompt":
        monkeypatch.setitem(build.TYPE_TEMPLATES, "brief", build.TYPE_TEMPLATES["video_r1"])
    else:
        other = shutil.copytree(tiny_model, project / "other")
        (other / "generation_config.json").write_text("{}")
        write_params(tiny_model, models={"base": "other", "teacher": "other"})
    stage.main()
    wanted = {"words": [1], "pixels": [1, 7], "wording of the prompt": ALL, "teacher": ALL}
    assert asked_again(engine) == wanted[change]


def test_a_question_asked_twice_is_put_once(project, engine):
    twins = [*RECORDS, dataclasses.replace(RECORDS[0], problem_id=9)]
    write_table(paths.TRAIN_RECORDS, [dataclasses.asdict(row) for row in twins], RECORD_SCHEMA)
    stage.main()
    assert asked_again(engine) == ALL
    rows = {row["problem_id"]: row for row in outputs()[0]}
    assert rows[9]["completion"] == rows[1]["completion"] != ""


def test_more_samples_later_ask_for_the_others_only(project, tiny_model, engine):
    stage.main()
    first = {request.key: request.seed for request in engine.seen}
    engine.seen.clear()
    write_params(tiny_model, annotate=annotate_section(samples=3, keep="all"))
    stage.main()
    assert {(request.key, request.seed, request.n) for request in engine.seen} == {
        (key, seed + 1, 2) for key, seed in first.items()
    }
    assert [row["sample"] for row in outputs()[0]] == [0, 1, 2] * 7
    engine.seen.clear()
    write_params(tiny_model, annotate=annotate_section(samples=2, keep="all"))
    stage.main()
    assert engine.seen == []
    assert outputs()[1]["asked"] == 14


def completion(text, finish_reason="stop", error=""):
    return {
        "completion": text,
        "finish_reason": finish_reason,
        "tokens": 3,
        "prompt_tokens": 5,
        "error": error,
    }


RIGHT, WRONG = "<think>so</think><answer>B</answer>", "<think>so</think><answer>A</answer>"
FAILED = completion("", "error", "torn")


@pytest.mark.parametrize(
    ("made", "best"),
    [
        pytest.param([completion(WRONG), completion(RIGHT)], 1, id="the right one"),
        pytest.param([completion(RIGHT), completion(RIGHT + " ")], 0, id="the first of equals"),
        pytest.param([completion("B"), completion(WRONG), completion(RIGHT, "length")], 2, id="reward before form"),
        pytest.param([completion("<answer>B</answer>"), completion(RIGHT)], 1, id="well formed"),
        pytest.param([completion(RIGHT, "length"), completion(RIGHT)], 1, id="not cut off"),
        pytest.param([FAILED, completion(WRONG)], 1, id="a wrong one before none"),
        pytest.param([FAILED, FAILED], 0, id="none"),
    ],
)
def test_the_best_sample(made, best):
    completions = {("k", sample): {**row, "key": "k", "sample": sample} for sample, row in enumerate(made)}
    [row] = cot_rows([RECORDS[0]], ["k"], completions, len(made), "best")
    assert row["sample"] == best
    rows = cot_rows([RECORDS[0]], ["k"], completions, len(made), "all")
    assert [row["sample"] for row in rows] == list(range(len(made)))
    assert [bool(row["error"]) for row in rows] == [one["finish_reason"] == "error" for one in made]


def test_a_broken_clip_costs_one_row(project, engine, capsys):
    stage.main()
    rows, summary = outputs()
    assert [row["problem_id"] for row in rows] == [one.problem_id for one in RECORDS]
    assert [row["finish_reason"] for row in rows] == ["stop", "stop", "error", "stop", "stop", "stop", "stop"]
    assert rows[2]["completion"] == rows[2]["answer"] == ""
    assert "media/broken.mp4" in rows[2]["error"]
    assert rows[0]["reward"] == 1.0
    assert (summary["rows"], summary["errors"], summary["mean_tokens"]) == (7, 1, 3.0)
    assert summary["accuracy"]["multiple choice"] == 1.0
    assert "problem 3: media/broken.mp4" in capsys.readouterr().out


def test_nothing_answered_is_an_error(project, monkeypatch):
    for path in (project / "media").iterdir():
        path.write_bytes(b"")
    monkeypatch.setattr(stage, "open_engine", lambda **_: FakeEngine())
    with pytest.raises(EngineError, match="none of 7 rows.*media/1.mp4"):
        stage.main()
    assert not paths.COT.exists()


def test_metrics_of_nothing_are_none():
    assert metrics([], {}, {}, 1)["mean_reward"] is None
