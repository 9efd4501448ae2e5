"""Prompts in order, their views, and completions sampled from them."""

import pytest
import torch

from tasks.core.models.visual_tokens import visual_token_ids
from tasks.core.train.features import encode_media
from tasks.grpo.data import schedule
from tasks.grpo.rollout import sample, up_to_end
from tests.support.grpo_stage import generation, some_views


def test_schedule_is_passes_over_all_prompts_and_a_prefix_of_longer_ones():
    order = schedule(5, 12, seed=1)
    assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5))
    assert order[:5] != order[5:10]
    assert schedule(5, 7, seed=1) == order[:7]
    assert schedule(5, 12, seed=2) != order


@pytest.mark.parametrize("unit", ["frame", "temporal_patch"])
def test_a_shuffle_is_new_each_step_and_never_the_true_order(stage, unit):
    orders = [stage.views(0, step, unit).perturbed[0].order for step in range(1, 40)]
    assert [0, 1, 2, 3] not in orders
    assert orders == [stage.views(0, step, unit).perturbed[0].order for step in range(1, 40)]
    assert len({tuple(order) for order in orders}) > (1 if unit == "frame" else 0)


def test_views_differ_in_pixels_alone(stage):
    ordered, [shuffled] = stage.views(0)
    assert torch.equal(ordered.encoded.ids, shuffled.encoded.ids)
    assert torch.equal(ordered.encoded.seconds_per_grid, shuffled.encoded.seconds_per_grid)
    assert not torch.equal(ordered.encoded.pixels, shuffled.encoded.pixels)
    assert stage.views(1).perturbed == [], "an image has no order"


@torch.no_grad()
def test_a_shared_prefix_changes_no_answer(stage):
    views = some_views(stage)
    features = encode_media(stage.model, views)
    copies = [2, 1, 3, 1, 2]
    shared = sample(stage.model, views, features, copies, generation(stage), True)
    assert shared == sample(stage.model, views, features, copies, generation(stage), False)
    assert [len(group) for group in shared] == copies
    assert len({tuple(group[0]) for group in shared}) > 1, "the answers compared are not all the same"


@torch.no_grad()
def test_visual_tokens_are_never_sampled(stage):
    """With weights of the output layer turned towards them, they would be."""
    banned = visual_token_ids(stage.processor)
    stage.model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(stage.model.lm_head.weight))
    views = some_views(stage)
    features = encode_media(stage.model, views)
    config = generation(stage)
    config.do_sample = True
    drawn = {
        t for group in sample(stage.model, views, features, [64] * len(views), config) for ids in group for t in ids
    }
    assert drawn.isdisjoint(banned) and len(drawn) > 100


def test_up_to_end():
    assert up_to_end([5, 2, 0, 0], [2]) == [5, 2]
    assert up_to_end([5, 6], [2]) == [5, 6]
