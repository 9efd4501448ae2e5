"""What training is watched for: signs in the log, and what is never allowed."""

import pytest
import torch

from tasks.core.train.guards import Limits, Signs, weights_norm

LIMITS = Limits(gradient_times=5.0, loss_times=2.0, kl_nats=1.0, entropy_share=0.1, empty_steps=3, stop=())
STEADY = [{"loss": 1.0, "grad_norm": 1.0}] * 12
RL = {"loss": 0.0, "grad_norm": 1.0, "reward": 0.5, "no_signal": 0.2, "kl": 0.1, "entropy": 2.0}


def signs(entries, limits=LIMITS):
    read = Signs(limits)
    return [sorted(read.read(entry)) for entry in entries][-1]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([*STEADY, {"loss": 1.0, "grad_norm": 6.0}], ["gradient"], id="a gradient spike"),
        pytest.param([*STEADY, {"loss": 1.0, "grad_norm": 4.0}], [], id="a large gradient within the limit"),
        pytest.param([*STEADY[:3], {"loss": 1.0, "grad_norm": 60.0}], [], id="a spike before a median is known"),
        pytest.param([*STEADY, {"loss": 1.0}], [], id="a step without the figure"),
        pytest.param([*STEADY, *[{"loss": 2.5, "grad_norm": 1.0}] * 9], ["loss"], id="the loss rises"),
        pytest.param([*STEADY, {"loss": 9.0, "grad_norm": 1.0}], [], id="one high loss is no rise"),
        pytest.param([RL, {**RL, "kl": 1.5}], ["kl"], id="far from the reference model"),
        pytest.param([*[RL] * 10, {**RL, "entropy": 0.1}], ["entropy"], id="entropy collapsed"),
        pytest.param([*[RL] * 10, {**RL, "entropy": 0.3}], [], id="entropy lower, not collapsed"),
        pytest.param(
            [*[{"loss": 1.0, "entropy": 2.0}] * 10, {"loss": 1.0, "entropy": 0.01}], [], id="sft learns: no collapse"
        ),
        pytest.param([{**RL, "reward": 0.0}] * 3, ["reward"], id="no answer earns anything"),
        pytest.param([{**RL, "no_signal": 1.0}] * 3, ["reward"], id="no prompt teaches anything"),
        pytest.param([*[{**RL, "reward": 0.0}] * 2, RL, {**RL, "reward": 0.0}], [], id="not in a row"),
        pytest.param([{"train_loss": 1.0}], [], id="the closing summary"),
    ],
)
def test_signs(entries, expected):
    assert signs(entries) == expected
    assert signs(entries, Limits(None, None, None, None, None, ())) == [], "null never tells a sign"


@pytest.mark.parametrize(
    ("value", "finite"),
    [(1.0, True), (float("nan"), False), (float("inf"), False), (1e30, False)],
    ids=["whole", "not a number", "infinite", "so large that its square overflows"],
)
def test_the_norm_of_weights_tells_what_is_past_use(value, finite):
    weights = [torch.ones(3), torch.tensor([1.0, value]), torch.empty(0)]
    assert bool(torch.isfinite(torch.tensor(weights_norm(weights)))) == finite
