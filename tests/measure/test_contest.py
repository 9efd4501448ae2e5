"""The contest of objectives: what is counted, how it is judged, and a run at the smallest size."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from measure.contest import remedies, starts, teaching
from measure.contest.__main__ import main as contest
from measure.contest.__main__ import order, tune
from measure.contest.evaluate import Result, answers
from measure.contest.flops import counted, dispatcher_count
from measure.contest.methods import LEADING, METHODS, TRIALS, Counts, Trial, best_of, read_chosen, settings
from measure.contest.protocols import PROTOCOLS, WIDE_STARTS, Room, command, named, qualified, ready, wanted
from measure.contest.quadruples import STATIC, quadruples
from measure.contest.remedies import pairs, twice
from measure.contest.start_scores import group_shares
from measure.contest.starts import TAUGHT, Start, folder_of, make, scenes_of
from measure.contest.teaching import OWN_SAMPLES, lessons, own_lessons
from measure.contest.training import VALIDATION_SEED, WHOLE, on_quadruples, run
from measure.runs import lock, read_runs
from tasks.core.io.errors import StageError
from tasks.core.models.inputs import encode, prompt_text
from tasks.core.models.load import load_model, load_processor
from tasks.core.schemas.pairs import paired
from tasks.core.schemas.parsing import parse_record
from tasks.core.schemas.records import Record, truth_of
from tasks.core.video.decode import read_clip
from tasks.core.video.perturb import backwards_of
from tasks.core.world.questions import ask
from tasks.core.world.render import clip_seconds, render_frames, write_clip
from tasks.core.world.scene import COLOUR_OF, sample_scene
from tasks.core.world.split import raw_record
from tasks.grpo.objectives.perturbations import OneFrame
from tasks.params import load
from tests.support.training_project import make_project

WIDE = PROTOCOLS["wide"]

# What is counted.


def test_products_and_attention_are_counted_forward_and_backward():
    query, key = (torch.randn(1, heads, 8, 16, requires_grad=True) for heads in (4, 4))
    with counted() as spent:
        torch.nn.functional.scaled_dot_product_attention(query, key, key).sum().backward()
        assert spent.total == 7 * 2 * 4 * 8 * 8 * 16, "two products forward, five backward"
        with spent.paused():
            torch.randn(64, 64) @ torch.randn(64, 64)
        torch.randn(3, 4) @ torch.randn(4, 5)
    assert spent.total == 7 * 2 * 4 * 8 * 8 * 16 + 2 * 3 * 4 * 5


class Doubled(torch.autograd.Function):
    """A product whose backward is written in Python."""

    @staticmethod
    def forward(ctx, value, weight):
        ctx.save_for_backward(value, weight)
        return value @ weight

    @staticmethod
    def backward(ctx, grad):
        value, weight = ctx.saved_tensors
        return grad @ weight.T, value.T.mm(grad)


def test_the_count_is_that_of_the_dispatcher(tiny_model, make_clip, chat):
    """Forward and backward of a video prompt, recomputed layers and a backward of Python among them."""
    processor, model = load_processor(tiny_model), load_model(tiny_model, "float32", "cpu")
    inputs = encode(processor, [prompt_text(processor, chat("video"))], [make_clip()], ["video"])
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    weight = torch.randn(model.config.get_text_config().hidden_size, 3, requires_grad=True)

    def step():
        model.train()
        hidden = model.model(**inputs).last_hidden_state
        (Doubled.apply(hidden[0], weight).sum() + model.lm_head(hidden).logsumexp(-1).sum()).backward()
        with torch.no_grad():
            model.eval()(**inputs)

    with dispatcher_count() as whole:
        step()
    with counted() as spent:
        step()
    assert spent.total == pytest.approx(whole.get_total_flops(), rel=0.002), "but for positions' small products"


# What is compared.


RL_METHODS = [name for name, method in METHODS.items() if method.objective is not None]


@pytest.mark.parametrize("method", RL_METHODS)
def test_every_method_has_settings_of_its_own(method):
    base = load().grpo
    weak, strong = (settings(method, base, Trial(0.0002, strength), 7) for strength in (0.5, 2.0))
    assert weak.steps == 7 and weak.learning_rate == 0.0002
    assert (weak.objective == strong.objective) == method.startswith("grpo"), "what a strength means"
    assert method == "tgrpo" or (weak.beta, weak.length, weak.refill) == (0.0, None, 1)


def test_the_published_rule_is_in_its_published_setting():
    published = settings("tgrpo", load().grpo, Trial(0.0002, 1.0), 7)
    assert published.beta == 0.04 and published.length is not None and published.refill == 0
    assert (published.group, published.objective.completions, published.objective.alpha) == (8, 4, 0.3)


def test_an_unknown_method_lists_the_known_ones():
    with pytest.raises(StageError, match="no method 'ppo' of RL; methods: grpo, tgrpo"):
        settings("ppo", load().grpo, TRIALS[0], 1)
    with pytest.raises(StageError, match="no method 'sft_pairs' of RL"):
        settings("sft_pairs", load().grpo, TRIALS[0], 1)


def test_untuned_methods_are_refused_with_the_command(tmp_path):
    with pytest.raises(StageError, match="no values for grpo; `python .* tune --protocol wide` chooses them"):
        read_chosen(tmp_path / "chosen.json", ["grpo"], command(WIDE, "tune"))


def test_tuning_takes_the_best_mean_over_starts(tmp_path):
    rows = [
        {"start": start, "method": "taro", "trial": str(trial), "pair_accuracy": value}
        for start, values in (("a", (0.2, 0.5, 0.5)), ("b", (0.9, 0.4, 0.4)))
        for trial, value in enumerate(values)
    ]
    (tmp_path / "chosen.json").write_text(json.dumps(best_of(rows, 3, 2)))
    assert read_chosen(tmp_path / "chosen.json", ["taro"], "") == {"taro": TRIALS[0]}
    (tmp_path / "chosen.json").write_text(json.dumps({"exchange": {"values": TRIALS[1]._asdict()}}))
    assert read_chosen(tmp_path / "chosen.json", ["permuted"], "") == {"permuted": TRIALS[1]}, "a placebo is not tuned"
    assert best_of(rows[1:3] + rows[4:], 2, 2)["taro"]["values"] == TRIALS[1]._asdict(), "the earlier one of equals"


@pytest.mark.parametrize(
    ("trials", "starts"), [pytest.param(4, 2, id="a trial is missing"), pytest.param(3, 3, id="a start is missing")]
)
def test_a_method_that_was_not_tried_in_full_has_no_values(trials, starts):
    rows = [{"method": "taro", "trial": str(trial), "pair_accuracy": 0.5} for trial in range(3) for _ in range(2)]
    assert best_of(rows, trials, starts) == {}


def test_whatever_has_ended_compares_methods_on_the_same_starts_and_seeds():
    runs = order(WIDE_STARTS[:2], ["grpo", "ktr"], 3, Counts())
    told = [(seed, start.name.split("-")[0], method) for seed, start, method in runs]
    first = [(0, "colour", "grpo"), (0, "colour", "ktr"), (0, "side", "grpo"), (0, "side", "ktr")]
    assert told[:4] == first and len(told) == 6 + 4, "ktr does not lead: two seeds of three"
    assert len(order(WIDE_STARTS[:2], ["grpo", "ktr"], 3, Counts(leaders=("grpo", "ktr")))) == 6 + 6, "here it does"
    assert set(LEADING) <= set(METHODS)


def test_starts_that_are_not_there_are_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("measure.contest.starts.STARTS", tmp_path)
    with pytest.raises(StageError, match="not made: side-0.8-caption-10; `python .* starts --protocol wide` makes"):
        ready(WIDE, ["side-0.8-caption-10"], [])
    with pytest.raises(StageError, match="not made: .*side-0.8-caption-10"):
        ready(WIDE, None, [])
    with pytest.raises(StageError, match="no start red; starts: colour-0.85-caption-3, "):
        named(WIDE, ["red"])
    with pytest.raises(StageError, match="colour-0.85-caption-3: values are chosen on it; it is not contested"):
        ready(WIDE, ["colour-0.85-caption-3"], [])
    for start in (*WIDE.tuning, WIDE_STARTS[1]):
        (tmp_path / start.name).mkdir()
        (tmp_path / start.name / "start.json").write_text("{}")
    assert ready(WIDE, None, []) == [WIDE_STARTS[1]]


def test_groups_of_a_start():
    shares = group_shares([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0], [1.0, 0.0]], [1.0, 1.0, 0.0, 1.0])
    assert shares == {"mixed_groups": 0.5, "all_wrong_groups": 0.25, "well_formed": 0.75}


def test_a_start_that_serves_tuning_is_not_judged():
    for protocol in PROTOCOLS.values():
        names = [start.name for start in (*protocol.tuning, *protocol.starts)]
        assert len(set(names)) == len(names) and "background" not in {start.shortcut for start in protocol.tuning}
    fresh, seen = PROTOCOLS["confirm"], (*WIDE.tuning, *WIDE.starts)
    assert not set(fresh.starts) & set(seen), "what confirms was not looked at before"
    assert fresh.first_seed > 3 and set(fresh.tuning) <= set(seen)


def test_a_protocol_that_takes_another_ones_values_chooses_none(tmp_path):
    borrowing, lender = PROTOCOLS["consolidated"], WIDE.folder / "own_answers" / "chosen.json"
    assert borrowing.chosen == PROTOCOLS["own_answers"].chosen == lender
    with pytest.raises(StageError, match="consolidated takes the values in .*own_answers/chosen.json"):
        tune(load(), WHOLE, borrowing, ["grpo"], tmp_path, 0.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocol", ["wide", "confirm"])
def test_borrowed_values_are_those_that_the_other_contests_chose(protocol):
    borrowed = read_chosen(WIDE.folder / "own_answers" / "chosen.json", ["grpo", "sft_pairs"], "")
    assert borrowed == read_chosen(PROTOCOLS[protocol].folder / "chosen.json", ["grpo", "sft_pairs"], "")


SCORES = [
    {"start": start.name, "pair_accuracy": str(pairs)}
    for start, pairs in zip(WIDE_STARTS, (0.05, 0.1, 0.95, 0.9, 0.5), strict=False)
]


def test_starts_that_qualify_are_the_first_with_something_to_free():
    assert qualified(WIDE, Room(0.1, 0.9, 2), SCORES) == [WIDE_STARTS[1], WIDE_STARTS[3]]
    with pytest.raises(StageError, match="3 of 4 starts have a pair accuracy of 0.1 to 0.9 .* --protocol wide`"):
        qualified(WIDE, Room(0.1, 0.9, 4), SCORES)  # the sixth is not scored


@pytest.mark.parametrize(
    ("room", "asked"),
    [
        pytest.param(Room(0.1, 0.9, 3), (1, 3, 4), id="enough qualify: only those that a clone has to make anew"),
        pytest.param(Room(0.1, 0.9, 4), (1, 3, 4, 5, 6), id="too few qualify: those that are not scored too"),
        pytest.param(None, (0, 1, 2, 3, 4, 5, 6), id="all are judged"),
    ],
)
def test_no_more_starts_are_made_than_are_judged(room, asked):
    protocol = WIDE._replace(room=room, starts=WIDE_STARTS[:7])
    assert [start for start in protocol.starts if wanted(protocol, start, SCORES)] == [WIDE_STARTS[n] for n in asked]
    assert wanted(protocol, protocol.tuning[0], SCORES)


def test_a_start_that_is_judged_and_not_made_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("measure.contest.starts.STARTS", tmp_path)
    for start in (WIDE_STARTS[1], WIDE_STARTS[4]):
        (tmp_path / start.name).mkdir()
        (tmp_path / start.name / "start.json").write_text("{}")
    protocol = WIDE._replace(room=Room(0.1, 0.9, 2))
    with pytest.raises(StageError, match=f"not made: {WIDE_STARTS[3].name}; "):
        ready(protocol, None, SCORES)  # the fifth qualifies and is made, but only the first two are judged


@pytest.mark.parametrize(
    ("losses", "taken"),
    [
        pytest.param((0.01, 0.0), 0, id="the better one, its loss is allowed"),
        pytest.param((0.02, 0.0), 1, id="the better one loses too much"),
        pytest.param((0.02, -0.05), 1, id="the other one even gains"),
        pytest.param((0.02, 0.03), 0, id="both lose too much: the one that loses less"),
    ],
)
def test_values_spare_static_questions_where_the_protocol_says_so(losses, taken):
    rows = [
        {
            "method": "sft_pairs",
            "trial": str(trial),
            "pair_accuracy": (0.9, 0.8)[trial],
            "static_on_moving": 0.9 - loss + shift,
            "static_on_moving_before": 0.9 + shift,
        }
        for trial, loss in enumerate(losses)
        for shift in (-0.1, 0.1)
    ]
    chosen = best_of(rows, 2, 2, 0.015)["sft_pairs"]
    assert chosen["values"] == TRIALS[taken]._asdict()
    assert chosen["static_on_moving_loss"] == pytest.approx(losses[taken])
    assert best_of(rows, 2, 2)["sft_pairs"]["values"] == TRIALS[0]._asdict(), "any loss is allowed"


def test_scenes_are_biased_from_the_start_s_skill_on():
    late = next(start for start in WIDE_STARTS if start.late == "reason")._replace(bias=0.9)
    given_away = []
    for skill in ("caption", "reason"):
        draw, rng = scenes_of(late, skill), np.random.default_rng(0)
        moving = [scene for _, scene in (draw(rng) for _ in range(400)) if scene.kind == "move"]
        assert 180 < len(moving) < 260, "about half of the scenes"
        given_away.append(sum(COLOUR_OF[each.direction] == each.figures[0].colours[0] for each in moving) / len(moving))
    assert given_away[0] == pytest.approx(0.25, abs=0.1) and given_away[1] == pytest.approx(0.925, abs=0.05)


# Other rows.

EVERY_FRAME = {"frames": 16, "fps": 4.0, "min_frames": 4}


def rl_rows(folder, number=4):
    scenes = [sample_scene("move", np.random.default_rng((7, n))) for n in range(number)]
    rows = []
    for n, scene in enumerate(scenes):
        write_clip(folder / f"{n}.mp4", render_frames(scene, clip_seconds()))
        question = ask(scene, np.random.default_rng(n), "direction")
        record = parse_record(raw_record(n, "video", scene, question, f"{n}.mp4"), f"row {n}")
        rows.append(dataclasses.replace(record, path=str(folder / f"{n}.mp4")))
    return rows


def test_pairs_take_the_place_of_as_many_rows(tmp_path):
    rows = rl_rows(tmp_path)
    still = dataclasses.replace(rows[0], problem_id=9, data_source="world/still")
    made = pairs(None, [*rows, still], tmp_path / "pairs")
    assert len(made) == len(rows) + 1 and made[-1] == still
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
    for forward, backward in zip(made[0:4:2], made[1:4:2], strict=True):
        words = [record.options[ord(truth_of(record.solution)) - ord("A")][3:] for record in (forward, backward)]
        assert words[1] == opposite[words[0]]
        shown = [
            read_clip(record.path, frames=16, fps=4.0, min_frames=4).frames.astype(int)
            for record in (forward, backward)
        ]
        assert np.abs(shown[0][::-1] - shown[1]).mean() < 3, "encoded anew, not another scene"
    assert pairs(None, [*rows, still], tmp_path / "pairs") == made, "made once"


def test_the_switches_make_the_pairs_that_the_contest_makes_as_files(tmp_path):
    """`annotate.pairs` and `grpo.rows.pairs`: the same questions and answers, frames but for the second encoding."""
    rows = rl_rows(tmp_path, number=12)
    files = pairs(None, rows, tmp_path / "pairs")
    sampling = {"frames": 16, "fps": 4.0, "min_frames": 4}
    for row, forward, backward in zip(rows, files[0::2], files[1::2], strict=False):
        first, second = paired([row, row]).records
        for made, file in ((first, forward), (second, backward)):
            assert [made.problem, made.options, made.solution] == [file.problem, file.options, file.solution]
        turned = backwards_of(read_clip(row.path, **sampling), row.path)
        encoded = read_clip(backward.path, **sampling)
        assert turned.frames.shape == encoded.frames.shape
        assert np.abs(turned.frames.astype(int) - encoded.frames).mean() < 3


def test_the_placebo_of_pairs_shows_as_many_clips_as_often(tmp_path):
    rows = rl_rows(tmp_path)
    still = dataclasses.replace(rows[0], problem_id=9, data_source="world/still")
    assert twice(None, [*rows, still], tmp_path) == [rows[0], rows[0], rows[1], rows[1], still]


def test_a_row_without_a_pair_ends_the_run_every_time(tmp_path):
    rows = rl_rows(tmp_path, 2)
    (tmp_path / "0.mp4").unlink()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="0 rows of 1 pairs; .*refused.json has the reasons"):
            pairs(None, rows, tmp_path / "pairs")


def test_audited_rows_are_those_that_one_frame_does_not_answer(monkeypatch, tmp_path):
    rows, asked = rl_rows(tmp_path, 2), []

    def answered(policy, records, view):
        asked.append((policy, list(records), view))
        return [Result(True, "A"), Result(False, "B")]

    monkeypatch.setattr(remedies, "answers", answered)
    assert remedies.audited("start", rows, tmp_path) == rows[1:]
    assert asked == [("start", rows, OneFrame())]


# SFT in place of RL.


def test_lessons_are_what_the_teacher_answers_right_in_the_true_form(tmp_path, monkeypatch):
    record = Record(0, "?", "video", "multiple choice", ["A. a", "B. b"], "", "<answer>A</answer>", "x")
    rows = [dataclasses.replace(record, path=name) for name in ("right", "wrong", "right", "loose")]
    texts = {
        "right": "<think>It moves on. So A.</think>\n<answer>A</answer>",
        "wrong": "<think>So B.</think><answer>B</answer>",
        "loose": "A",
    }
    asked = []

    def answered(policy, records, seeds):
        asked.extend(row.path for row in records)
        return [Result(row.path != "wrong", "A", row.path != "loose", 1.0, texts[row.path]) for row in records]

    monkeypatch.setattr(teaching, "answers", answered)
    kept = lessons("teacher", rows)
    assert [(row.path, row.process) for row in kept] == [("right", "<think>It moves on. So A.</think>")] * 2
    assert asked == ["right", "wrong", "loose"], "a row that stands twice is asked once"


def test_without_a_teacher_a_reversed_row_has_the_forward_reasoning_retold(tmp_path, monkeypatch, capsys):
    rows = pairs(None, rl_rows(tmp_path, number=8), tmp_path / "pairs")
    ways = [record.options[ord(truth_of(record.solution)) - ord("A")][3:] for record in rows]
    said = [f"It moves {way}. {way} is {truth_of(record.solution)}." for way, record in zip(ways, rows, strict=True)]
    by_path = {record.path: text for record, text in zip(rows, said, strict=True)}
    by_path[rows[2].path] = "I see it."  # nothing to retell
    asked = []

    def answered(policy, records, seeds):
        asked.append([row.path for row in records])
        assert (seeds is None) is (len(asked) == 1), "the likeliest first, then samples"
        right = [row.path not in (rows[0].path, *(() if seeds else [rows[6].path])) for row in records]
        texts = [f"<think>{by_path[row.path]}</think><answer>x</answer>" for row in records]
        return [Result(yes, "A", True, 1.0, text) for yes, text in zip(right, texts, strict=True)]

    monkeypatch.setattr(teaching, "answers", answered)
    kept = own_lessons("start", rows, 0)
    assert asked[0] == [row.path for row in rows[0::2]], "a reversed clip is not asked about"
    assert asked[1] == [rows[0].path, rows[6].path] and asked[2:] == [[rows[0].path]] * (OWN_SAMPLES - 2)
    assert [(row.path, row.solution) for row in kept] == [(row.path, row.solution) for row in (rows[2], *rows[4:])]
    assert [row.process for row in kept[1:]] == [f"<think>{text}</think>" for text in said[4:]]
    assert "contest: 1 reasonings not retold: the reasoning has no word of direction" in capsys.readouterr().err


# How it is tested.


def test_quadruples_are_rendered_once_and_ask_the_same(tmp_path):
    asked = quadruples(tmp_path / "q", 3, 5, 1)
    assert [question.variant for question in asked[:6]] == [
        *("forward", "reversed", "recoloured", "mirrored"),
        *(STATIC, STATIC),
    ]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "q").iterdir()}
    assert quadruples(tmp_path / "q", 3, 5, 1) == asked
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "q").iterdir()} == before
    assert len({question.record.problem_id for question in asked}) == len(asked)


# The whole of it.


@pytest.mark.slow
def test_sft_ends_by_its_operations_the_teacher_s_among_them(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model)
    params, start = load(), WIDE_STARTS[0]
    params = params.model_copy(update={"models": {"teacher": str(tiny_model)}})
    shutil.copytree(tiny_model, folder_of(start))
    size = WHOLE._replace(budget=1, rl_rows=16, scenes=2, quick_scenes=1, mixed_rows=16)

    def told(size):
        return run(params, size, start, "sft_twice", 0, TRIALS[0], VALIDATION_SEED, on_quadruples)

    with pytest.raises(StageError, match="answers none of .* rows right; there is nothing to learn from"):
        told(size)
    thought = "<think>It is so.</think>"
    monkeypatch.setattr(
        teaching,
        "lessons",
        lambda teacher, rows: answers(teacher, rows) and [dataclasses.replace(row, process=thought) for row in rows],
    )
    one, points = told(size)
    assert one["steps"] == 1 and [point["steps"] for point in points] == [1]
    more, _ = told(size._replace(budget=one["flops"] + 1))
    assert more["steps"] == 2
    monkeypatch.setattr(
        teaching, "lessons", lambda teacher, rows: [dataclasses.replace(row, process=thought) for row in rows]
    )
    assert told(size)[0]["flops"] < one["flops"], "answering costs"


@pytest.mark.slow
def test_a_start_made_as_annotate_filter_and_sft_make_a_model(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model)
    params, start = load(), Start(1.0, "side", TAUGHT, 5)
    params = params.model_copy(update={"models": {"base": str(tiny_model), "teacher": str(tiny_model)}})
    taught = []

    def answered(teacher, rows):
        taught.extend(rows)
        return [dataclasses.replace(row, process="<think>It is so.</think>") for row in rows]

    monkeypatch.setattr(teaching, "lessons", answered)
    monkeypatch.setattr(starts, "TAUGHT_ROWS", 16)
    folder = make(start, params)
    assert folder == folder_of(start) and json.loads((folder / "start.json").read_text()) == start._asdict()
    assert len(taught) == 16
    before, after = (load_model(path, "float32", "cpu").state_dict() for path in (tiny_model, folder))
    assert any(not torch.equal(before[name], after[name]) for name in before), "it was trained"
    monkeypatch.setattr(teaching, "lessons", lambda *_: pytest.fail("it is made already"))
    assert make(start, params) == folder


@pytest.mark.slow
def test_the_whole_contest_at_the_smallest_size(tiny_model, tmp_path, monkeypatch, capsys):
    """Scored, tuned and run; what has ended is not done again, and a run that another has in hand is left to it."""
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model)
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    params["ingest"]["workers"] = 1
    params["grpo"] |= {"sampling": {"max_tokens": 4}, "prompts_per_step": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    for start in (*WIDE.tuning, *WIDE_STARTS[:2]):
        shutil.copytree(tiny_model, folder_of(start))
        (folder_of(start) / "start.json").write_text("{}")
    small = ["--rl-rows", "16", "--scenes", "2", "--quick-scenes", "1", "--mixed-rows", "16", "--most-steps", "2"]
    small += ["--every", "1", "--methods", "grpo", "papo", "--seeds", "2", "--out", "out"]
    with pytest.raises(StageError, match="out/chosen.json: no values for grpo, papo; `python -m measure.contest tune"):
        contest(small)
    contest(["starts", "--starts", WIDE.tuning[0].name, *small])
    [score] = read_runs(tmp_path / "out/starts.csv")
    assert score["start"] == WIDE.tuning[0].name and 0 <= float(score["mixed_groups"]) <= 1
    contest(["tune", *small])
    tried = read_runs(tmp_path / "out/tuning.csv")
    every_trial = [(method, str(trial)) for trial in range(len(TRIALS)) for method in ("grpo", "papo")]
    assert [(row["method"], row["trial"]) for row in tried] == every_trial
    with lock(tmp_path / "out/.locks" / f"{WIDE_STARTS[0].name}-papo-0"):
        contest(small)
    runs = [(row["start"], row["method"], row["seed"]) for row in read_runs(tmp_path / "out/runs.csv")]
    first, second = (start.name for start in WIDE_STARTS[:2])
    assert runs == [
        *((first, "grpo", "0"), (second, "grpo", "0"), (second, "papo", "0")),
        *((first, "grpo", "1"), (second, "grpo", "1")),
    ], "papo does not lead"
    before = (tmp_path / "out/runs.csv").read_text()
    contest([*small, "--minutes", "0"])
    assert (tmp_path / "out/runs.csv").read_text() == before, "no time, no run"
    capsys.readouterr()
    contest(small)
    assert capsys.readouterr().out.count("contest: ") == 1, "the one that is missing"
    rows = read_runs(tmp_path / "out/runs.csv")
    assert len(rows) == 6 and all(int(row["flops"]) > 0 and int(row["steps"]) == 2 for row in rows)
    papo, grpo = (int(next(r for r in rows if r["method"] == m)["flops"]) for m in ("papo", "grpo"))
    assert papo > grpo, "every row stands twice in the update"
    assert "Incomplete" in (tmp_path / "out/table.md").read_text()
    assert len(read_runs(tmp_path / "out/curves.csv")) == 12
