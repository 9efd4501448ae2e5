"""What an answer earns: objectives by log-probability, every loss of TRL, replaced prompts, seeds."""

import dataclasses
import math

import pyarrow.parquet as pq
import pytest
import torch

from tasks.core.engine.sampler import RowSampler
from tasks.core.io.errors import StageError
from tasks.core.train.features import encode_media
from tasks.grpo import collect
from tasks.grpo.batch import view_divergence
from tasks.grpo.checks import check_trackers
from tasks.grpo.data import substitute
from tasks.grpo.groups import Group, Part, PartResult, assemble, own_parts
from tasks.grpo.log import letter_shares, step_metrics
from tasks.grpo.rollout import Completion, sample
from tasks.grpo.scoring import Comparison, advantages, score_group
from tasks.grpo.settings import arguments, rewards_of
from tests.support.grpo_stage import (
    LOGPROB,
    RECORDS,
    Stage,
    generation,
    logp_alone,
    opened,
    parity_score,
    settings,
    shown,
    some_views,
    tokens_alone,
)

LOSSES = {
    "grpo": [(0.0, 6.11687), (0.0, 8.6611)],
    "dapo": [(-0.0721563, 5.33476), (0.1678914, 6.84883)],
    "dr_grpo": [(-0.0360781, 2.66738), (0.0909412, 3.7098)],
    "bnpo": [(-0.0721563, 5.33476), (0.1678914, 6.84883)],
    "cispo": [(0.4094515, 5.33476), (-0.3863239, 6.84883)],
    "sapo": [(-0.0206161, 6.11687), (-0.0357071, 8.66111)],
    "luspo": [(-0.2164689, 16.00428), (0.5456469, 22.25874)],
    "vespo": [(0.4094515, 5.33476), (-0.3863239, 6.84883)],
}
"""Loss and gradient norm of two steps, by loss type."""
WAYS = {
    "logprob": (
        {"objective": {**LOGPROB, "centred": False}},
        [(-0.0666696, 6.3873), (-0.0259485, 4.58681), (-0.0028582, 7.07328)],
    ),
    "centred": (
        {"objective": LOGPROB},
        [(0.0, 5.97811), (0.0, 5.20379), (0.0, 7.04514)],
    ),
    "tokens": (
        {"objective": {**LOGPROB, "centred": False, "token_share": 0.5}},
        [(-0.0666696, 6.84883), (0.0, 3.80873), (-0.0792865, 8.91758)],
    ),
    "advantage": (
        {"objective": {"kind": "tgrpo_advantage", "completions": 2}},
        [(-0.0375, 6.19535), (-0.0375, 6.39279), (-0.046875, 7.633)],
    ),
    "ktr": (
        {"objective": {"kind": "ktr"}},
        [(-0.0541172, 5.3762), (-0.0104146, 6.77617), (0.0, 5.98638)],
    ),
    "exchange": (
        {"objective": {"kind": "exchange"}},
        [(0.0, 6.31841), (0.0, 5.93875), (0.0, 6.52681)],
    ),
    "permuted": (
        {"objective": {"kind": "permuted"}},
        [(0.0, 6.08824), (0.0, 7.30785), (0.0, 6.42657)],
    ),
    "papo": (
        {"objective": {"kind": "papo", "gamma": 0.5}},
        [(-0.0490932, 7.21623), (-0.0677491, 10.67671), (-0.0476377, 6.1379)],
    ),
    "views that are no order of the frames": (
        {"objective": {"kind": "exchange", "perturbations": [{"kind": "one_frame"}, {"kind": "mirror"}]}},
        [(0.0, 6.08824), (0.0, 7.30785), (0.0, 6.52452)],
    ),
    # A group of two often agrees, so that prompts are replaced.
    "refill": ({"group": 2, "refill": 2}, [(0.0, 6.49648), (0.0, 3.83575), (0.0, 5.23881)]),
}
"""Settings, and loss and gradient norm of three steps."""


def seen(result):
    return [(entry["loss"], entry["grad_norm"]) for entry in result.trainer.state.log_history if "loss" in entry]


# Kind logprob.


def test_tokens_exchange_an_answers_advantage_and_keep_its_sum(stage, tmp_path):
    _, plain = opened(stage, tmp_path / "plain", objective=LOGPROB, prompts_per_step=3)
    _, batch = opened(stage, tmp_path / "shared", objective={**LOGPROB, "token_share": 0.5}, prompts_per_step=3)
    mask = batch["completion_mask"]
    assert batch["advantages"].shape == mask.shape
    means = (batch["advantages"] * mask).sum(dim=1) / mask.sum(dim=1)
    torch.testing.assert_close(means, plain["advantages"])
    spread = [float(row[kept.bool()].std()) for row, kept in zip(batch["advantages"], mask, strict=True)]
    told = [kind != "image" and bool(value) for kind, value in zip(kinds(batch), plain["advantages"], strict=True)]
    assert [value > 0 for value in spread] == told, "an image has no other order"


def kinds(batch):
    by_id = {str(record.problem_id): record.data_type for record in RECORDS}
    return [by_id[key] for key in batch["view"]]


def lost(*drops):
    """A comparison of answers of one token that lose so many nats under one other view."""
    return Comparison([[-1.0]] * len(drops), [[[drop] for drop in drops]])


def test_binary_rewards_do_not_hide_the_logprob_term():
    """Where the published bonus changes no advantage (test_scoring.py), answers of one group get different terms."""
    group = [Completion([1] * 3, f"<think>so</think><answer>{letter}</answer>", False) for letter in "BBBAAAAA"]
    values = settings(objective={**LOGPROB, "centred": False})
    plain = score_group(RECORDS[0], group, [], rewards_of(settings()))
    score = score_group(RECORDS[0], group, [], rewards_of(values), lost(math.log(2), 0.0, 9.0, 9.0, 0, 0, 0, 0))
    found = advantages(torch.tensor([score.total]), "group")[0] + torch.tensor(score.advantage_terms)
    base = advantages(torch.tensor([plain.total]), "group")[0]
    torch.testing.assert_close(found - base, torch.tensor([0.15, 0, 0.3 * (1 - math.exp(-9)), 0, 0, 0, 0, 0]))


def test_an_all_correct_group_teaches_by_logprob_alone():
    group = [Completion([1], "<think>so</think><answer>B</answer>", False)] * 4
    values = settings(objective=LOGPROB)
    assert not score_group(RECORDS[0], group, [], rewards_of(values), lost(0.0, 0.0, 0.0, 0.0)).has_signal
    score = score_group(RECORDS[0], group, [], rewards_of(values), lost(1.0, 0.0, 0.0, 0.0))
    assert score.has_signal and not score.varies


def test_drops_equal_each_answer_asked_alone(stage, tmp_path):
    trainer, batch = opened(stage, tmp_path, objective=LOGPROB, prompts_per_step=3)
    rows = pq.read_table(tmp_path / "rollouts" / "00000001.parquet").to_pylist()
    assert not any(row["perturbed"] for row in rows), "no second group is sampled"
    assert all((row["order_nats"] is None) == (row["data_type"] == "image") for row in rows)
    for i, row in enumerate(rows):
        if row["data_type"] == "image":
            continue
        ids = batch["completion_ids"][i][batch["completion_mask"][i].bool()]
        ordered, shuffled = (
            logp_alone(trainer.model, view.encoded, ids) for view in shown(stage.views(row["problem_id"]))
        )
        assert row["order_nats"] == pytest.approx(ordered - shuffled, abs=2e-3)


# Kind papo.


def test_the_divergence_of_the_views_is_that_of_rows_alone(stage, tmp_path):
    """In the loss and in the log: of a video's completions asked one by one under each view, of an image's nothing."""
    trainer, batch = opened(stage, tmp_path, objective={"kind": "papo", "gamma": 1.0}, prompts_per_step=3)
    batch["advantages"] = torch.zeros_like(batch["advantages"])
    told = [kind != "image" for kind in kinds(batch)]
    assert batch["contrasted"].tolist() == told and 0 < sum(told) < len(told)
    expected = []
    for row in torch.tensor(told).nonzero().squeeze(1).tolist():
        ids = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        own, other = (tokens_alone(trainer.model, batch[name][row], ids) for name in ("prompt", "other_prompt"))
        expected.append(float(((other - own).exp() - (other - own) - 1).clamp(max=10.0).mean()))
    loss = float(trainer._compute_loss(trainer.model, batch))
    assert loss == pytest.approx(-sum(expected) / len(expected), rel=1e-3) and loss < 0
    assert trainer._metrics["train"]["view_divergence"] == [pytest.approx(-loss)]


@pytest.mark.parametrize(
    ("own", "other", "value", "moves"),
    [
        pytest.param(-1.0, -1.0, 0.0, False, id="alike"),
        pytest.param(-1.0, -3.0, math.exp(-2) + 2 - 1, True, id="less likely elsewhere"),
        pytest.param(-3.0, -1.0, math.exp(2) - 2 - 1, True, id="likelier elsewhere"),
        pytest.param(-0.1, -300.0, 10.0, False, id="beyond the bound nothing pulls"),
        pytest.param(-300.0, -0.1, 10.0, False, id="nor where the exponential overflows"),
    ],
)
def test_a_tokens_divergence_pulls_at_both_views(own, other, value, moves):
    sides = [torch.tensor([[each, 0.0]], requires_grad=True) for each in (own, other)]
    divergence = view_divergence(*sides, torch.tensor([[1, 0]]), 10.0)
    divergence.sum().backward()
    assert float(divergence) == pytest.approx(value, rel=1e-5)
    gradients = [side.grad[0].tolist() for side in sides]
    assert all((abs(first) > 0) == moves and second == 0 for first, second in gradients)
    assert gradients[0][0] == -gradients[1][0]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_literal_losses_and_exact_resume(tiny_model, make_clip, tmp_path, scored_by_parity, way):
    changes, expected = WAYS[way]
    values = settings(steps=3, save_steps=1, **changes)
    straight = Stage(tiny_model, make_clip)
    whole = straight.train(tmp_path / "whole", values)
    torch.testing.assert_close(
        torch.tensor(seen(whole)), torch.tensor(expected), rtol=2e-3, atol=1e-5, msg=str(seen(whole))
    )
    with pytest.raises(KeyboardInterrupt):
        Stage(tiny_model, make_clip, stop_at=straight.asked - 1).train(tmp_path / "parts", values)
    resumed = Stage(tiny_model, make_clip)
    resumed.train(tmp_path / "parts", values)
    assert resumed.asked < straight.asked
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, straight.model.state_dict()[name]), name
    steps = [(tmp_path / run / "steps.jsonl").read_text() for run in ("whole", "parts")]
    assert steps[0] == steps[1] and steps[0].count("\n") == 3


# Losses.


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"])
def test_every_loss_of_trl_trains(stage, tmp_path, scored_by_parity, loss_type):
    """Literal losses of two steps; `luspo` at the sequence level, `cispo` with a bound that lets a ratio of 1 pass."""
    stage.model.generation_config.eos_token_id = list(range(0, 360, 8))  # answers of one to six tokens
    extra = {"cispo": {"epsilon_high": 5.0}, "luspo": {"importance_level": "sequence"}}.get(loss_type, {})
    before = stage.model.lm_head.weight.clone()
    result = stage.train(tmp_path, settings(steps=2, loss_type=loss_type, **extra))
    expected = LOSSES[loss_type]
    torch.testing.assert_close(
        torch.tensor(seen(result)), torch.tensor(expected), rtol=5e-3, atol=2e-5, msg=str(seen(result))
    )
    assert not torch.equal(stage.model.lm_head.weight, before)


def test_a_missing_tracker_is_named(tmp_path):
    with pytest.raises(StageError, match="grpo.report_to: no_such_tracker is not installed"):
        check_trackers(["no_such_tracker"])
    assert arguments(settings(), 0, tmp_path).report_to == []


# Places and replaced prompts.


@pytest.mark.parametrize(
    ("rows", "first", "expected"),
    [
        pytest.param([5] * 4 + [7] * 4, 0, [(0, 5, 0, 4, 0, 2), (1, 7, 0, 4, 0, 2)], id="whole groups"),
        pytest.param([5] * 4, 4, [(1, 5, 0, 4, 0, 2)], id="the second process"),
        pytest.param([5] * 2, 2, [(0, 5, 2, 4, 1, 2)], id="half a group takes half the shuffled answers"),
        pytest.param([5], 1, [(0, 5, 1, 2, 0, 1)], id="one row of four takes one of two, or none"),
        pytest.param([5] * 4 + [5] * 4, 0, [(0, 5, 0, 4, 0, 2), (1, 5, 0, 4, 0, 2)], id="a prompt drawn twice"),
        pytest.param([5] * 2 + [7] * 4, 2, [(0, 5, 2, 4, 1, 2), (1, 7, 0, 4, 0, 2)], id="across a border"),
    ],
)
def test_places(rows, first, expected):
    found = [
        (p.slot, p.prompt, p.ordered.start, p.ordered.stop, p.perturbed.start, p.perturbed.stop)
        for p in own_parts(rows, first, 4, 2)
    ]
    assert found == expected


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_shuffled_answers_are_shared_out_whole(ranks):
    rows = 4 // ranks
    found = [copy for rank in range(ranks) for p in own_parts([0] * rows, rank * rows, 4, 2) for copy in p.perturbed]
    assert found == [0, 1]


def test_parts_of_a_group_are_joined_in_order_and_one_loss_loses_it(stage):
    def part(start, lost=False, slot=0):
        place = Part(slot, 0, range(start, start + 2), range(0))
        answers = [Completion([start], "", False), Completion([start + 1], "", False)]
        return PartResult(place, lost, [0], [], answers, [], None)

    def score(slot, prompt, answers, perturbed, comparison):
        return [answer.ids for answer in answers]

    found = assemble([part(2), part(0), part(0, slot=1), part(2, lost=True, slot=1)], stage.prompts, score)
    assert found[0].score == [[0], [1], [2], [3]]
    assert found[1] is None


def test_substitute_never_repeats_and_ends():
    assert substitute(3, {0, 1}, 0, 1, 0, 1) == 2
    assert substitute(3, {0, 1, 2}, 0, 1, 0, 1) is None
    assert len({substitute(1000, set(), 0, 1, slot, 1) for slot in range(20)}) > 15


def test_refill_replaces_prompts_that_teach_nothing(tiny_model, make_clip, tmp_path, monkeypatch):
    """Answers to three of five questions never differ in reward; they are replaced, and still logged."""

    def score(item, answers, *rest):
        found = parity_score(item, answers, *rest)
        return found._replace(total=[0.0] * len(answers)) if item.problem_id in (0, 1, 2) else found

    monkeypatch.setattr(collect, "score_group", score)
    plain = Stage(tiny_model, make_clip).train(tmp_path / "plain", settings(steps=2))
    filled = Stage(tiny_model, make_clip).train(tmp_path / "filled", settings(steps=2, refill=3))

    def mean(result, name):
        values = [e[name] for e in result.trainer.state.log_history if "loss" in e]
        return sum(values) / len(values)

    assert mean(plain, "refilled") == 0 and mean(filled, "refilled") > 0
    assert mean(filled, "no_signal") < mean(plain, "no_signal")
    rows = pq.read_table(tmp_path / "filled/rollouts").to_pylist()
    dropped = [row for row in rows if not row["perturbed"] and row["advantage"] is None]
    assert dropped and {row["problem_id"] for row in dropped} <= {0, 1, 2}
    assert any(row["attempt"] > 0 for row in rows)


# Random streams.


def test_an_answer_depends_on_its_seed_alone(stage):
    """Not on neighbours, their number, or the padding that they cause."""
    views = some_views(stage)
    features = encode_media(stage.model, views)

    def answers(rows, seeds):
        sampler = RowSampler([s for group in seeds for s in group], 6, 1.0, 1.0, "cpu")
        picked = [views[i] for i in rows], [features[i] for i in rows], [len(group) for group in seeds]
        with torch.no_grad():
            return sample(stage.model, *picked, generation(stage), True, sampler)

    together = answers([0, 1, 2], [[1, 2], [3], [4, 5]])
    assert answers([2], [[5]]) == [[together[2][1]]]
    assert answers([1, 0], [[3], [2]]) == [together[1], [together[0][1]]]
    assert len({tuple(ids) for group in together for ids in group}) > 2


# What a step says.


def test_metrics_by_problem_type_and_letters(stage):
    def group(slot, letters, kind="multiple choice"):
        answers = [Completion([1, 2], f"<think>so</think><answer>{letter}</answer>", False) for letter in letters]
        item = dataclasses.replace(RECORDS[0], problem_type=kind)
        score = score_group(item, answers, [], rewards_of(settings()))
        return Group(slot, 0, stage.prompts[0]._replace(record=item), [0], [], answers, [], None, score)

    found = step_metrics([group(0, "BBAC"), group(1, ["?", "B", "B", "B"]), group(2, "1122", "numerical"), None], 1)
    assert found["skipped"] == 0.25 and found["refilled"] == 0.25
    assert found["accuracy/multiple choice"] == pytest.approx((0.5 + 0.75) / 2)
    assert found["prompts/numerical"] == 1
    letters = {name: value for name, value in found.items() if name.startswith("letter/")}
    assert letters == {"letter/A": 1 / 8, "letter/B": 5 / 8, "letter/C": 1 / 8, "letter/none": 1 / 8}
    assert found["unparsed/multiple choice"] == pytest.approx(1 / 8)
    assert letter_shares([]) == {}
