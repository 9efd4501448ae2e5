"""Reversed pairs among the RL rows: which rows become whose reverse, and what a reversed row shows."""

import dataclasses

import numpy as np
import pytest
import torch

from tasks.core.schemas.pairs import paired, reversed_id
from tasks.core.schemas.records import truth_of
from tasks.core.train.clips import ClipStore
from tasks.grpo.data import backwards, open_views, render
from tasks.grpo.objectives.perturbations import Reverse
from tests.support.grpo_stage import record, settings

DIRECTION = record(1)


def row(number, **changes):
    return dataclasses.replace(DIRECTION, problem_id=number, path=f"clip {number}", **changes)


def still(number):
    return row(number, problem="What colour is it?", options=["A. red", "B. blue"])


def shown(records):
    return [(r.problem_id, r.path, truth_of(r.solution)) for r in records]


@pytest.mark.parametrize(
    ("rows", "expected", "pairs"),
    [
        pytest.param(
            [row(0), row(7)], [(0, "clip 0", "B"), (-1, "clip 0", "A")], 1, id="the second becomes the reverse"
        ),
        pytest.param(
            [row(0), still(3), row(7), row(8)],
            [(0, "clip 0", "B"), (3, "clip 3", "B"), (-1, "clip 0", "A"), (8, "clip 8", "B")],
            1,
            id="other rows stay in place, and a last one without a second",
        ),
        pytest.param([row(0, data_type="image"), still(1)], [(0, "clip 0", "B"), (1, "clip 1", "B")], 0, id="nothing"),
        pytest.param(
            [row(0, problem="What is eaten before it?", options=["A. rice", "B. soup"]), row(5)],
            [(0, "clip 0", "B"), (-1, "clip 0", "B")],
            1,
            id="the question's order word is exchanged and the answer stays",
        ),
        pytest.param([], [], 0, id="no row"),
    ],
)
def test_every_second_row_about_order_becomes_the_reverse_of_the_one_before(rows, expected, pairs):
    made = paired(rows)
    assert shown(made.records) == expected and len(made.records) == len(rows)
    assert made.counts["pairs"] == pairs == len(made.reversed_ids)
    assert made.reversed_ids == {number for number, _, _ in expected if number < 0}


def test_an_order_word_is_turned_in_the_question():
    before = row(0, problem="What is eaten before the cake?", options=["A. rice", "B. soup"])
    assert paired([before, row(1)]).records[1].problem == "What is eaten after the cake?"


def test_what_no_rule_maps_is_counted_by_reason_without_the_words_of_a_row():
    rows = [still(1), still(2), row(3, data_type="image"), row(4, options=["A. left", "B. up"])]
    rows.append(row(5, options=["A. left", "B. into 'it'"]))
    assert paired(rows).counts == {
        "pairs": 0,
        "not_paired": {
            "no rule tells the answer on the reversed clip": 2,
            "an image has no order": 1,
            "the answer's counterpart ... is none of the options": 2,
        },
    }


@pytest.mark.parametrize("number", [0, 5, 10**12])
def test_ids_of_a_pair_tell_each_other(number):
    assert reversed_id(reversed_id(number)) == number and reversed_id(number) < 0


def opened(stage, prompt, perturbations):
    skipped = []
    views = open_views(
        prompt,
        1,
        clips=stage.clips,
        processor=stage.processor,
        perturbations=perturbations,
        seed=0,
        on_skip=lambda skipped_record, reason: skipped.append(reason),
    )
    return views, skipped


def test_a_reversed_row_shows_its_frames_backwards_and_shares_no_features(stage):
    forward, _ = opened(stage, stage.prompts[0], ())
    backward, _ = opened(stage, stage.prompts[0]._replace(reversed=True), (Reverse(),))
    assert np.array_equal(backward.ordered.clip.frames, forward.ordered.clip.frames[::-1])
    assert not torch.equal(backward.ordered.encoded.pixels, forward.ordered.encoded.pixels)
    assert not backward.ordered.perturbed, "backwards is the true order of this question"
    assert np.array_equal(backward.perturbed[0].clip.frames, forward.ordered.clip.frames), "its reverse is the clip"
    assert backward.ordered.encoded.source is None and forward.ordered.encoded.source is not None


def test_a_clip_of_one_frame_costs_its_row(stage, make_clip):
    stage.clips = ClipStore(lambda path, data_type: make_clip(frames=1), 1e-9)
    views, skipped = opened(stage, stage.prompts[0]._replace(reversed=True), ())
    assert views is None and skipped == ["a clip of one frame has no reverse"]


@pytest.mark.parametrize(
    ("pairs", "losses"),
    [
        pytest.param(False, [0.0, 0.013344823, 0.031455498], id="rows as they are"),
        pytest.param(True, [0.0, 0.0064944923, 0.0234381], id="pairs"),
    ],
)
def test_literal_losses(stage, scored_by_parity, tmp_path, pairs, losses):
    made = paired([record(0), record(2)])
    ids = made.reversed_ids if pairs else ()
    records = made.records if pairs else [record(0), record(2)]
    stage.prompts = backwards(render(records, stage.processor, template="brief", system="You see."), ids)
    assert [prompt.reversed for prompt in stage.prompts] == [False, pairs]
    trained = stage.train(
        tmp_path / "work", settings(steps=3, beta=0.5, learning_rate=3e-4, objective={"kind": "grpo"})
    )
    logged = [entry["loss"] for entry in trained.trainer.state.log_history if "loss" in entry]
    assert logged == pytest.approx(losses, rel=1e-3, abs=1e-7)
