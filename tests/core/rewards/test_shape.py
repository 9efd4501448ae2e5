import pytest

from tasks.core.rewards import format_reward, length_reward


@pytest.mark.parametrize(
    ("text", "strict", "robust"),
    [
        pytest.param("<think>a</think>\n<answer>B</answer>", 1, 1, id="contract"),
        pytest.param(" <think>a</think><answer>B</answer>", 0, 1, id="leading-space"),
        pytest.param("<think>a</think><answer>B</answer>\n", 0, 1, id="trailing-newline"),
        pytest.param("<think>a</think><answer>B</answer> x <answer>C</answer>", 1, 0, id="second-answer-block"),
        pytest.param("<think></think><answer></answer>", 1, 0, id="empty-blocks"),
        pytest.param("<think>a</think> so <answer>B</answer>", 0, 0, id="text-between"),
        pytest.param("<answer>B</answer>", 0, 0, id="no-thinking"),
    ],
)
def test_format_reward(text, strict, robust):
    assert (format_reward(text, "strict"), format_reward(text, "robust")) == (strict, robust)


def test_format_reward_refuses_unknown_variants():
    with pytest.raises(ValueError, match="lenient"):
        format_reward("", "lenient")


@pytest.mark.parametrize(
    ("accuracies", "tokens", "bonus"),
    [
        pytest.param([1, 1], [320, 512], [0.2, 0.2], id="window-includes-its-ends"),
        pytest.param([1, 1], [319, 513], [0, 0], id="outside-the-window"),
        pytest.param([1, 0], [400, 400], [0, 0], id="a-single-correct-answer-gets-none"),
        pytest.param([1, 1, 0], [400, 400, 400], [0.2, 0.2, 0], id="wrong-answers-get-none"),
        pytest.param([0.1, 0.11, 1], [400, 400, 400], [0, 0.2, 0.2], id="correct-is-above-the-threshold"),
        pytest.param([], [], [], id="empty-group"),
    ],
)
def test_length_reward(accuracies, tokens, bonus):
    assert length_reward(accuracies, tokens, omega=0.2, min_tokens=320, max_tokens=512) == bonus


def test_length_reward_refuses_uneven_groups():
    with pytest.raises(ValueError, match="2 accuracies, 1 token counts"):
        length_reward([1, 1], [400], omega=0.2, min_tokens=320, max_tokens=512)
