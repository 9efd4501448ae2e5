import pytest

from tasks.core.prompts import QUESTION_TEMPLATES, TYPE_TEMPLATES, messages, question_text, sft_target, user_text
from tasks.core.schemas.records import PROBLEM_TYPES, Record

CHOICE = Record(0, "Which way?", "video", "multiple choice", ["A. left", "B. right"], "", "<answer>B</answer>", "a.mp4")
NUMBER = Record(1, r"What is $\frac{1}{2} + {x}$?", "image", "numerical", [], "", "<answer>3</answer>", "a.png")

PUBLISHED_CHOICE = (
    "Which way?Options:\nA. left\nB. right\n\n"
    "Please think about this question as if you were a human pondering deeply. Engage in an internal dialogue using "
    "expressions such as 'let me think', 'wait', 'Hmm', 'oh, I see', 'let's break it down', etc, or other natural "
    "language thought expressions It's encouraged to include self-reflection or verification in the reasoning process. "
    "Provide your detailed reasoning between the <think> and </think> tags, and then give your final answer between "
    "the <answer> and </answer> tags. Please provide only the single option letter (e.g., A, B, C, D, etc.) within the "
    "<answer> </answer> tags."
)
BRIEF_CHOICE = (
    "Which way?\nA. left\nB. right\nThink in <think> </think>, then answer in <answer> </answer>. One letter."
)


@pytest.mark.parametrize(("template", "text"), [("video_r1", PUBLISHED_CHOICE), ("brief", BRIEF_CHOICE)])
def test_exact_wording(template, text):
    assert user_text(CHOICE, template) == text


@pytest.mark.parametrize("template", QUESTION_TEMPLATES)
def test_braces_in_a_question_stay(template):
    assert user_text(NUMBER, template).startswith(NUMBER.problem)
    assert question_text(NUMBER, template) == NUMBER.problem


def test_every_type_has_a_suffix_that_starts_with_a_space():
    assert QUESTION_TEMPLATES.keys() == TYPE_TEMPLATES.keys()
    for suffixes in TYPE_TEMPLATES.values():
        assert set(suffixes) == set(PROBLEM_TYPES)
        assert all(suffix.startswith(" ") for suffix in suffixes.values())


def test_messages_put_the_medium_before_the_text():
    chat = messages(NUMBER, template="brief", system="Be kind.")
    assert [turn["role"] for turn in chat] == ["system", "user"]
    assert chat[0]["content"] == [{"type": "text", "text": "Be kind."}]
    assert chat[1]["content"] == [{"type": "image"}, {"type": "text", "text": user_text(NUMBER, "brief")}]


def test_blind_messages_hold_text_alone():
    content = messages(CHOICE, template="brief", system="", medium=False)[1]["content"]
    assert [part["type"] for part in content] == ["text"]


def test_sft_target():
    assert sft_target("<think>a</think>", "<answer>B</answer>") == "<think>a</think>\n<answer>B</answer>"
