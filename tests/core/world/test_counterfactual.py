"""Counterfactual scenes: their pixels are what their name says, and their answers follow."""

import numpy as np
import pytest

from tasks.core.world.counterfactual import mirror_scene, recolour_scene, reverse_scene, variants
from tasks.core.world.render import clip_seconds, render_frames
from tasks.core.world.scene import DIRECTIONS, sample_scene

SEEDS = range(6)


def drawn(kind, seed):
    return sample_scene(kind, np.random.default_rng(seed))


def shown(scene):
    return render_frames(scene, clip_seconds()).astype(int)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["move", "order", "turn", "blink", "still", "sign"])
def test_a_reversed_scene_is_the_clip_played_backwards(kind, seed):
    scene = drawn(kind, seed)
    assert (shown(reverse_scene(scene)) == shown(scene)[::-1]).all()
    assert reverse_scene(reverse_scene(scene)) == scene


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mirrored_scene_moves_the_other_way_at_the_same_height(seed):
    scene = drawn("move", seed)
    flipped = shown(scene)[:, :, ::-1]
    other = np.abs(shown(mirror_scene(scene)) - flipped).max(axis=-1) > 60
    assert other.mean() < 0.03, "rounding at edges only; the figures themselves are symmetric"


@pytest.mark.parametrize(
    ("kind", "skill", "changes", "stays"),
    [
        pytest.param("move", "direction", {"reversed"}, {"recoloured"}, id="motion follows time, not colour"),
        pytest.param("order", "order", {"reversed", "recoloured"}, {"mirrored"}, id="order of colours follows both"),
        pytest.param("blink", "often", set(), {"reversed", "recoloured", "mirrored"}, id="a count stays"),
        pytest.param("move", "colour", {"recoloured"}, {"reversed", "mirrored"}, id="static question, moving clip"),
    ],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_change_where_the_truth_does(kind, skill, changes, stays, seed):
    asked = {variant.name: variant.question for variant in variants(drawn(kind, seed), skill, seed)}
    forward = asked.pop("forward")
    assert {question.problem for question in asked.values()} == {forward.problem}
    differs = {name for name, question in asked.items() if question.answer != forward.answer}
    assert changes <= differs and not stays & differs


def test_left_and_right_exchange_up_and_down_stay():
    for seed in range(20):
        scene = drawn("move", seed)
        horizontal = scene.direction in DIRECTIONS[:2]
        assert (mirror_scene(scene).direction != scene.direction) == horizontal


@pytest.mark.parametrize(
    ("change", "kind"),
    [pytest.param(reverse_scene, "enter", id="backwards it leaves"), pytest.param(mirror_scene, "sign", id="writing")],
)
def test_no_counterfactual_where_the_question_would_change(change, kind):
    assert change(drawn(kind, 0)) is None


def test_colours_go_round():
    scene = drawn("turn", 0)
    four = scene
    for _ in range(4):
        four = recolour_scene(four)
    assert four == scene != recolour_scene(scene)
