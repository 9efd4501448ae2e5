"""The test split: the suite `world` under the protocol `pipeline`, by the stage's own command."""

import dataclasses
import json
import sys

import pytest

from tasks import paths
from tasks.benchmark import __main__ as stage
from tasks.benchmark import clips, log, totals
from tasks.benchmark.base import SuiteError
from tasks.benchmark.jobs import open_questions, views_of
from tasks.benchmark.marking import scored
from tasks.benchmark.suites import REGISTRY
from tasks.core.engine.open import open_engine
from tasks.core.engine.questions import build_request
from tasks.core.engine.types import EngineError
from tasks.core.io.errors import StageError
from tasks.core.io.seeds import derive_seed
from tasks.core.io.tables import check_rows, write_table
from tasks.core.schemas.answers import ANSWER_SCHEMA, numbers_of
from tasks.core.schemas.records import RECORD_SCHEMA
from tasks.core.video import open as open_module
from tasks.report.numbers import read_numbers
from tests.support import bad_readers
from tests.support.answers import answer_row, failed_row
from tests.support.benchmark_runs import SAMPLING, benchmark
from tests.support.benchmark_trees import annotate, parquet, render, runs
from tests.support.infer_project import RECORDS, FakeEngine, Killed, make_project, params_of, write_params


@pytest.fixture
def project(tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmark", "run", "base"])
    make_project(tmp_path, tiny_model)
    return tmp_path


def rows_of(model="base"):
    return list(log.read(paths.answers(model) / "world.jsonl").values())


def numbers(model="base"):
    return numbers_of(json.loads(paths.metrics("benchmark", model).read_text()))


def entry(made, view):
    [one] = [each for each in made.entries if each.view == view]
    return one


def run(monkeypatch):
    """The engine of a run of the stage."""
    engine = FakeEngine()
    monkeypatch.setattr(stage, "open_engine", lambda **_: engine)
    stage.main()
    return engine


def test_log_is_typed_and_complete(project, monkeypatch):
    run(monkeypatch)
    rows = rows_of()
    assert check_rows(rows, ANSWER_SCHEMA, "log").num_rows == len(rows)
    everyone = {str(one.problem_id) for one in RECORDS}
    videos = {str(one.problem_id) for one in RECORDS if one.data_type == "video"}
    for view, asked in (("ordered", everyone), ("shuffled", videos), ("no_video", everyone)):
        assert {row["sample_id"] for row in rows if row["view"] == view} == asked
    assert {row["error"].split(":")[0] for row in rows if row["sample_id"] == "3"} == {"media/broken.mp4"}
    assert all((row["pipeline"] is None) == (row["sample_id"] == "3") for row in rows)
    made = numbers()
    assert entry(made, "ordered").errors == {"unreadable clip": 1}
    assert entry(made, "ordered").overall.n == 6
    assert entry(made, "shuffled").overall.n == 4


@pytest.mark.slow
@pytest.mark.parametrize("end", bad_readers.TORN)
def test_a_clip_that_ends_its_reader_costs_its_rows(project, tiny_model, monkeypatch, end):
    reader, says = bad_readers.TORN[end]
    (project / "media/4.mp4").rename(project / "media/torn.mp4")
    rows = [dataclasses.asdict(one) for one in RECORDS]
    rows[3]["path"] = "media/torn.mp4"
    write_table(paths.TEST_RECORDS, rows, RECORD_SCHEMA)
    monkeypatch.setattr(open_module, "read_resized", reader)
    video = params_of(tiny_model)["video"] | {"read_limit_seconds": 3.0}
    write_params(tiny_model, video=video)
    run(monkeypatch)
    errors = {row["sample_id"]: row["error"] for row in rows_of() if row["error"] and row["view"] == "ordered"}
    assert errors.keys() == {"3", "4"} and f"media/torn.mp4: {says}" in errors["4"]
    assert entry(numbers(), "ordered").errors == {"unreadable clip": 2}


def test_views_show_what_they_say(project, monkeypatch):
    engine = run(monkeypatch)
    by_key = {row["key"]: row for row in rows_of()}
    seen = {(by_key[one.key]["view"], by_key[one.key]["sample_id"]): one for one in engine.seen}
    ordered, shuffled, blind = (seen[view, "1"] for view in ("ordered", "shuffled", "no_video"))
    assert shuffled.clip.indices != ordered.clip.indices
    assert sorted(shuffled.clip.indices) == ordered.clip.indices
    assert shuffled.prompt == ordered.prompt
    assert ordered.prompt.startswith("[video]")
    assert blind.clip is None
    assert "[video]" not in blind.prompt
    assert "[image]" not in seen["no_video", "2"].prompt
    assert seen["shuffled", "7"].clip.indices != shuffled.clip.indices, "each question has its own shuffle"


def test_a_question_is_asked_as_the_other_stages_ask_it(project, monkeypatch):
    """Prompt and seed are those of `build_request`, and the shuffle is named by the question's number alone."""
    engine = run(monkeypatch)
    by_key = {row["key"]: row for row in rows_of()}
    for request in engine.seen:
        row = by_key[request.key]
        record = next(one for one in RECORDS if str(one.problem_id) == row["sample_id"])
        same = build_request(engine, record, request.clip, key=row["view"], template="brief", system="", seed=3)
        assert (request.prompt, request.seed, request.data_type) == (same.prompt, same.seed, same.data_type)
        if row["view"] == "shuffled":
            ordered = next(one for one in engine.seen if one.key != request.key and one.prompt == request.prompt)
            shown = clips.show(ordered.clip, "shuffled", derive_seed(3, record.problem_id, "shuffle"))
            assert shown.indices == request.clip.indices


def test_killed_and_resumed_equals_undisturbed(project, monkeypatch):
    def state():
        rows = list(rows_of())
        return rows, paths.metrics("benchmark", "base").read_text()

    stage.main()
    undisturbed = state()
    for path in (paths.answers("base") / "world.jsonl", paths.metrics("benchmark", "base")):
        path.unlink()

    def open_and_die(**settings):
        engine = open_engine(**settings)
        generate, left = engine.generate, iter(range(2))

        def generate_or_die(*args, **kwargs):
            if next(left, None) is None:
                raise Killed
            return generate(*args, **kwargs)

        engine.generate = generate_or_die
        return engine

    monkeypatch.setattr(stage, "open_engine", open_and_die)
    with pytest.raises(Killed):
        stage.main()
    assert not paths.metrics("benchmark", "base").exists()
    assert 0 < len(rows_of()) < len(undisturbed[0])
    monkeypatch.setattr(stage, "open_engine", open_engine)
    stage.main()
    assert state() == undisturbed


def answered(monkeypatch):
    """Requests that a run of the stage puts to the engine, by suite, frame cap and view."""
    engine = run(monkeypatch)
    rows = {row["key"]: row for path in log.logs_in(paths.answers("base")) for row in log.read(path).values()}
    asked = [(rows[one.key]["benchmark"], rows[one.key]["frames"], rows[one.key]["view"]) for one in engine.seen]
    return {what: asked.count(what) for what in set(asked)}


def test_a_further_suite_or_frame_cap_asks_only_what_is_new(project, tiny_model, monkeypatch):
    """Seven questions, one of them with a broken clip, two of images; the test split is never asked twice."""
    annotate(project / "annotations")
    render(project / "annotations", project / "clips")
    split = {
        "sampling": {"temperature": 0.01, "top_p": 0.001, "max_tokens": 8},
        "annotations_root": str(project / "annotations"),
    }
    assert answered(monkeypatch) == {
        ("world", 4, "ordered"): 6,
        ("world", 4, "shuffled"): 4,
        ("world", 0, "no_video"): 6,
    }
    assert answered(monkeypatch) == {}, "the same again"
    [mmvu] = runs(project / "annotations", project / "clips", ["mmvu"], protocols=["official"])
    write_params(tiny_model, benchmark=split | {"suites": [mmvu], "frames": [8], "views": ["ordered"]})
    assert answered(monkeypatch) == {("mmvu", 8, "ordered"): 4}, "a suite more"
    write_params(tiny_model, benchmark=split | {"suites": [mmvu], "frames": [8, 16], "views": ["ordered"]})
    assert answered(monkeypatch) == {("mmvu", 16, "ordered"): 4}, "a frame cap of the suites more"
    write_params(tiny_model, benchmark=split | {"suites": [mmvu], "frames": [8, 16], "test_frames": [2, 4]})
    assert answered(monkeypatch) == {
        ("world", 2, "ordered"): 6,
        ("world", 2, "shuffled"): 4,
        ("world", 4, "shuffled"): 4,  # Views that were left out in between were dropped with the parameters.
        ("world", 0, "no_video"): 6,
        ("mmvu", 8, "shuffled"): 4,
        ("mmvu", 16, "shuffled"): 4,
        ("mmvu", 0, "no_video"): 4,
    }
    assert answered(monkeypatch) == {}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"engine": {"backend": "transformers", "max_model_len": 512, "batch_size": 3}}, id="batch size"),
        pytest.param(
            {"engine": {"backend": "transformers", "max_model_len": 512, "batch_size": 2, "kv_cache_gb": 2}},
            id="size of the key-value cache",
        ),
    ],
)
def test_what_decides_no_answer_asks_nothing_anew(project, tiny_model, monkeypatch, change):
    assert answered(monkeypatch)
    write_params(tiny_model, **change)
    assert answered(monkeypatch) == {}


def test_what_was_refused_is_asked_again(project, monkeypatch):
    engine = run(monkeypatch)
    path = paths.answers("base") / "world.jsonl"
    rows = rows_of()
    refused = rows[0] | {"completion": "", "finish_reason": "error", "error": "down", "error_class": "refused request"}
    log.settle(path, [scored(refused, "robust"), *rows[1:]])
    assert [one.key for one in run(monkeypatch).seen] == [rows[0]["key"]]
    assert len(engine.seen) > 1


def test_rows_bounds_the_questions(project, tiny_model, monkeypatch):
    write_params(tiny_model, benchmark={"rows": 2, "views": ["ordered"]})
    run(monkeypatch)
    assert [row["sample_id"] for row in rows_of()] == ["1", "4"], "spread over the split"


@pytest.mark.parametrize(
    ("name", "words"),
    [pytest.param("bas", "did you mean 'base'", id="typo"), pytest.param("x", "models: base, teacher", id="unknown")],
)
def test_unknown_model_is_one_line(project, monkeypatch, name, words):
    monkeypatch.setattr(sys, "argv", ["benchmark", "run", name])
    with pytest.raises(StageError, match=words):
        stage.main()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param([], "required: COMMAND", id="nothing"),
        pytest.param(["base"], "invalid choice: 'base'", id="a model alone"),
        pytest.param(["compare", "base"], "required: second", id="one model to compare"),
        pytest.param(["run", "base", "teacher"], "unrecognized arguments: teacher", id="two models to run"),
    ],
)
def test_a_wrong_command_is_one_line(project, monkeypatch, arguments, words):
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    with pytest.raises(StageError, match=words) as caught:
        stage.main()
    assert "\n" not in str(caught.value)


def test_a_model_may_be_called_as_a_command_is(project, tiny_model, monkeypatch):
    write_params(tiny_model, models={"compare": str(tiny_model)}, benchmark={"rows": 1, "views": ["ordered"]})
    monkeypatch.setattr(sys, "argv", ["benchmark", "run", "compare"])
    run(monkeypatch)
    assert len(rows_of("compare")) == 1


def test_a_model_that_is_left_out_is_asked_nothing_and_keeps_its_answers(project, tiny_model, monkeypatch, capsys):
    """Its old log lies where neither gate nor report reads it, and is taken up again."""
    values = {"rows": 2, "views": ["ordered"]}
    write_params(tiny_model, benchmark=values)
    assert answered(monkeypatch)
    before = rows_of()
    write_params(tiny_model, benchmark=values | {"models": ["teacher"]})
    assert answered(monkeypatch) == {} and numbers().entries == []
    assert "base: not asked, benchmark.models is teacher; logs of earlier runs are kept in" in capsys.readouterr().out
    assert list(paths.ANSWERS.glob("*/*.jsonl")) == []
    with pytest.raises(StageError, match="no benchmark results"):
        read_numbers(paths.metrics("benchmark", "base").parent)
    assert answered(monkeypatch) == {}, "left out once more"
    write_params(tiny_model, benchmark=values)
    assert answered(monkeypatch) == {} and rows_of() == before and numbers().entries


def test_missing_checkpoint_is_one_line(project, monkeypatch):
    write_params(project / "gone")
    with pytest.raises(StageError, match="gone: no such model folder"):
        stage.main()


def test_a_log_of_another_version_is_named(project, monkeypatch):
    path = paths.answers("base") / "world.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"key": "k", "reward": 1.0}\n')
    with pytest.raises(StageError, match=r"world.jsonl: row 0: answer: missing"):
        run(monkeypatch)


def test_images_have_no_shuffled_view():
    views = ["ordered", "shuffled", "no_video"]
    [video, image, *_] = split_of(RECORDS[:2])
    assert views_of(image, views, first_cap=True) == ["ordered", "no_video"]
    assert views_of(video, views, first_cap=True) == views
    assert views_of(video, views, first_cap=False) == ["ordered", "shuffled"]


def split_of(records, folder=None):
    folder = folder or paths.INGEST
    write_table(folder / "test.parquet", [dataclasses.asdict(one) for one in records], RECORD_SCHEMA)
    return REGISTRY["world"].read(folder, None).samples


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_single_frame_cannot_be_shuffled(make_clip):
    with pytest.raises(ValueError, match="no order to shuffle"):
        clips.show(make_clip(1), "shuffled", 0)


def test_a_shuffle_is_never_the_identity(make_clip):
    clip = make_clip(2)
    assert all(clips.show(clip, "shuffled", seed).indices == [1, 0] for seed in range(50))


def test_records_become_samples_of_their_own_type(tmp_path):
    samples = split_of(RECORDS, tmp_path)
    assert [one.sample_id for one in samples] == [str(one.problem_id) for one in RECORDS]
    assert {one.problem_type for one in samples} == {"multiple choice", "numerical", "free-form"}
    row = scored(answer_row(completion="<think>t</think><answer>(B)</answer>"), "robust")
    assert (row["pipeline"], row["pipeline_rule"], row["pipeline_extracted"]) == (1.0, "letter", "(B)")
    assert (row["official"], row["video_r1"]) == (None, 0.0), "letters must be equal to the byte there"
    parquet(tmp_path / "test.parquet", [{"problem_id": 1}])
    with pytest.raises(SuiteError, match="record 0: no column"):
        REGISTRY["world"].read(tmp_path, None)


@pytest.mark.parametrize(("variant", "score"), [("robust", 1.0), ("strict", 0.0)])
def test_the_scorer_is_the_pipelines_in_the_variant_asked_for(variant, score):
    row = answer_row(completion="<think>t</think><answer>(B)</answer>")
    assert scored(row, variant)["pipeline"] == score


def test_a_suite_refuses_a_protocol_that_it_has_not(tmp_path):
    fields = {"annotations": str(tmp_path), "media": None, "video_r1_file": None, "subset": None, "limit": None}
    with pytest.raises(SuiteError, match="world: no protocol 'official'; it has pipeline"):
        open_questions("official", name="world", **fields, frames=[4], sampling=SAMPLING)
    with pytest.raises(SuiteError, match="mmvu: no protocol 'pipeline'; it has official, video_r1"):
        open_questions("pipeline", name="mmvu", **fields, frames=[4], sampling=SAMPLING)


# Paths ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["../secret.txt", "sub/../../secret.txt", "/secret.txt"])
@pytest.mark.parametrize("data_type", ["image", "video"])
def test_a_sample_opens_no_file_outside_its_root(tmp_path, data_type, place):
    """Whatever a sample says of itself; only the test split, whose paths ingest has checked, has no root."""
    (tmp_path / "media").mkdir()
    (tmp_path / "secret.txt").write_text("x")
    absolute = str(tmp_path / "secret.txt") if place.startswith("/") else place
    [sample, *_] = split_of(RECORDS[:1], tmp_path)
    outside = dataclasses.replace(sample, media=(absolute,), data_type=data_type)
    assert clips.locate(outside, tmp_path / "media") is None


def test_the_test_splits_paths_open_as_they_stand(project):
    fields = {"annotations": str(paths.INGEST), "video_r1_file": None, "subset": None, "limit": None}
    own = open_questions("pipeline", name="world", media=None, **fields, frames=[4], sampling=SAMPLING)
    assert own.media_root is None
    assert clips.locate(own.annotations.samples[0], own.media_root).name == "1.mp4"
    rooted = open_questions("pipeline", name="world", media="media", **fields, frames=[4], sampling=SAMPLING)
    assert clips.locate(rooted.annotations.samples[0], rooted.media_root) is None, "media/media/1.mp4"


# Numbers --------------------------------------------------------------------------------------------------------------


def test_errors_are_not_wrong_answers():
    rows = [answer_row(sample_id="1"), answer_row(sample_id="2", pipeline=0.0), failed_row(sample_id="3")]
    [one] = totals.entries(rows)
    assert (one.overall.value, one.rows, one.answered, one.scored) == (0.5, 3, 2, 2)
    assert one.errors == {"unreadable clip": 1}
    [failed] = totals.entries([failed_row(view="shuffled")])
    assert (failed.overall.n, failed.overall.value, failed.overall.low) == (0, None, None)


def test_unknown_kinds_are_neither_temporal_nor_static():
    kinds = {"1": "temporal", "2": "static", "3": "unknown"}
    rows = [answer_row(sample_id=i, categories={"time": kind}, pipeline=float(i == "1")) for i, kind in kinds.items()]
    rows += [row | {"view": "shuffled", "key": f"{row['key']} s"} for row in rows]
    assert [one.groups["time"][kind].n for one in totals.entries(rows) for kind in kinds.values()] == [1] * 6
    assert [(one.group, one.n) for one in totals.controls(rows)] == [("temporal", 1), ("static", 1)]


def test_the_order_of_the_log_does_not_matter():
    rows = [answer_row(sample_id=str(i), pipeline=r, cluster=p) for i, (r, p) in enumerate([(1.0, "a"), (0.3, "b")])]
    assert totals.entries(rows) == totals.entries(rows[::-1])


def test_all_questions_failing_is_an_error_of_the_engine(project, tiny_model, monkeypatch):
    for one in RECORDS:
        (project / one.path).write_bytes(b"broken")
    with pytest.raises(EngineError, match="none of 19 questions could be put to base; first: "):
        run(monkeypatch)
    assert not paths.metrics("benchmark", "base").exists()


def test_a_run_of_nothing_has_no_numbers(tmp_path):
    split_of([], tmp_path)
    fields = {"annotations": str(tmp_path), "media": None, "video_r1_file": None, "subset": None, "limit": None}
    questions = open_questions("pipeline", name="world", **fields, frames=[4], sampling=SAMPLING)
    made, engine = benchmark([questions], tmp_path / "log")
    assert (made.entries, made.controls, engine.asked) == ([], [], [])
