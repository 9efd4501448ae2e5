import random
import re

import pytest

from tasks.core.text import answer_of, behind_opening, is_well_formed, opened_by, think_of


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param("<answer>B</answer>", "B", id="plain"),
        pytest.param("<answer>\n B \n</answer>", "B", id="space-goes"),
        pytest.param("<answer>A</answer> no, <answer>B</answer>", "A", id="first-block-counts"),
        pytest.param("<answer>two\nlines</answer>", "two\nlines", id="over-lines"),
        pytest.param("<answer></answer>", "", id="empty-is-not-missing"),
        pytest.param("<answer>B", None, id="unclosed"),
        pytest.param("B", None, id="no-tags"),
        pytest.param("<ANSWER>B</ANSWER>", None, id="case-matters"),
    ],
)
def test_answer_of(text, answer):
    assert answer_of(text) == answer


def test_think_of():
    assert think_of("<think> a\nb </think><think>c</think>") == "a\nb"
    assert think_of("<think>a") is None


@pytest.mark.parametrize(
    ("text", "good"),
    [
        pytest.param("<think>a</think><answer>B</answer>", True, id="tight"),
        pytest.param("\n<think>a</think>\n\n<answer>B</answer>\n", True, id="space-around-and-between"),
        pytest.param("<think>a</think> so <answer>B</answer>", False, id="text-between"),
        pytest.param("Well, <think>a</think><answer>B</answer>", False, id="text-before"),
        pytest.param("<think>a</think><answer>B</answer>.", False, id="text-after"),
        pytest.param("<think>a</think><answer>B</answer><answer>C</answer>", False, id="two-answers"),
        pytest.param("<think>a</think>b</think><answer>B</answer>", False, id="think-closed-twice"),
        pytest.param("<think><think>a</think><answer>B</answer>", False, id="think-opened-twice"),
        pytest.param("<think><answer>B</answer></think><answer>B</answer>", False, id="answer-inside-think"),
        pytest.param("<answer>B</answer><think>a</think>", False, id="wrong-order"),
        pytest.param("<think> </think><answer>B</answer>", False, id="empty-think"),
        pytest.param("<think>a</think><answer>\n</answer>", False, id="empty-answer"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_is_well_formed(text, good):
    assert is_well_formed(text) is good


def test_think_of_is_what_a_pattern_finds():
    block, random_ = re.compile(r"<think>\s*(.*?)\s*</think>", re.DOTALL), random.Random(0)
    for text in ("".join(random_.choices(PIECES, k=8)) for _ in range(3000)):
        match = block.search(text)
        assert think_of(text) == (match.group(1) if match else None), text


WHOLE = re.compile(r"<think>(.*?)</think>\s*<answer>(.*?)</answer>", re.DOTALL)
PIECES = ("<think>", "</think>", "<answer>", "</answer>", "a", " ", "\n", "\u2028", "<", "")


def test_is_well_formed_is_what_one_pattern_and_four_counts_tell():
    random_ = random.Random(0)
    texts = ["".join(random_.choices(PIECES, k=9)) for _ in range(3000)]
    for inside in ["".join(random_.choices(PIECES, k=2)) for _ in range(500)]:
        texts += [f"<think>{inside}</think>a<answer>b</answer>", f"<think>a</think>{inside}<answer>b</answer>"]
        texts += [f"<think>a</think><answer>{inside}</answer>", f"<think>a{inside}</think><answer>b</answer>"]
    for text in texts:
        whole = WHOLE.fullmatch(text.strip())
        good = whole is not None and all(text.count(tag) == 1 for tag in PIECES[:4])
        assert is_well_formed(text) is bool(good and all(part.strip() for part in whole.groups())), text
    assert 100 < sum(map(is_well_formed, texts)) < len(texts) - 100


OPENED = "assistant\n<think>\n"


@pytest.mark.parametrize(
    ("prompt", "target", "left"),
    [
        pytest.param(OPENED, "<think>a</think>\n<answer>B</answer>", "a</think>\n<answer>B</answer>", id="opened"),
        pytest.param(OPENED, "<think>\na</think>", "a</think>", id="its line break too"),
        pytest.param("assistant\n", "<think>a</think>", "<think>a</think>", id="not opened"),
        pytest.param("<think>\n\n</think>\n\n", "<think>a</think>", "<think>a</think>", id="opened and closed"),
        pytest.param(OPENED, "<answer>B</answer>", "<answer>B</answer>", id="a target without reasoning"),
    ],
)
def test_what_a_prompt_has_opened_is_not_said_again(prompt, target, left):
    assert behind_opening(prompt, target) == left
    assert bool(opened_by(prompt)) == (prompt.strip().endswith("<think>"))
