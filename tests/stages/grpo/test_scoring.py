"""Scores of a group: rewards, the objective's terms, advantages."""

import pytest
import torch

from tasks.grpo.rollout import Completion
from tasks.grpo.scoring import advantages, score_group
from tasks.grpo.settings import rewards_of
from tests.support.grpo_stage import RECORDS, settings


def answers(letters, tokens=3):
    return [Completion([1] * tokens, f"<think>so</think><answer>{letter}</answer>", False) for letter in letters]


def advantages_of(score):
    return advantages(torch.tensor([score.total]), "group")[0] + torch.tensor(score.advantage_terms)


def test_binary_rewards_hide_the_published_bonus_and_not_the_advantage_term():
    """The blind spot: an affine change of a two-valued vector is undone by group normalisation."""
    group, other = answers("BBBAAAAA"), answers("AAAA")

    def scored(kind):
        return advantages_of(score_group(RECORDS[0], group, other, rewards_of(settings(objective={"kind": kind}))))

    plain = scored("grpo")
    torch.testing.assert_close(scored("tgrpo_reward"), plain, rtol=1e-3, atol=1e-3)
    assert plain.tolist() == pytest.approx([1.2074] * 3 + [-0.7244] * 5, abs=1e-3)
    torch.testing.assert_close(scored("tgrpo_advantage")[:3], plain[:3] + 0.3 * 3 / 8)


def test_score_parts_add_up():
    values = settings(length={"omega": 0.2, "min_tokens": 3, "max_tokens": 4}, format_weight=0.5)
    score = score_group(
        RECORDS[0],
        [*answers("BB"), *answers("B", tokens=5), Completion([1] * 3, "B", False)],
        answers("AA"),
        rewards_of(values),
    )
    assert score.accuracy == [1, 1, 1, 0]
    assert score.format == [1, 1, 1, 0]
    assert score.length == [0.2, 0.2, 0, 0]
    assert score.total == pytest.approx([1 + 0.5 + 0.2 + 0.3] * 2 + [1 + 0.5 + 0.3, 0])


@pytest.mark.parametrize(
    ("scale", "expected"),
    [("group", [0.7071, -0.7071, 0.0, 0.0]), ("batch", [1.2247, -1.2247, 0.0, 0.0]), ("none", [2.0, -2.0, 0.0, 0.0])],
)
def test_advantages(scale, expected):
    """Groups with and without variance, and a lost prompt, which counts nowhere."""
    rewards = torch.tensor([[2.0, -2.0], [0.0, 0.0], [torch.nan, torch.nan]])
    found = advantages(rewards, scale)
    torch.testing.assert_close(found, torch.tensor([*expected, 0.0, 0.0]).view(3, 2), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize(
    ("reward", "completions"), [(2.2, 12), (1.3, 6)], ids=["mean rounded up", "mean rounded up, few completions"]
)
def test_equal_rewards_leave_no_advantage(reward, completions, scale):
    """An optimizer would scale what rounding left to a full step, where no group tells anything apart."""
    rewards = torch.tensor([[reward] * completions, [reward] + [0.0] * (completions - 1)])
    assert (rewards[0] - rewards[0].mean()).any(), "the mean is rounded: the case is one"
    assert not advantages(rewards, scale)[0].any()
