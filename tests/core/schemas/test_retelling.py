"""Reasoning retold of the clip played backwards: what a rule tells, and what is refused."""

import pytest

from tasks.core.schemas.mapping import NOT_TURNED, Mapped, mapped
from tasks.core.schemas.records import Record
from tasks.core.schemas.retelling import WORDS, Retold, retold

WAYS = ["A. left", "B. right", "C. up", "D. down"]


def told(reasoning, options=WAYS, truth="B", problem="Which way does the ball move?"):
    kind = "multiple choice" if options else "free-form"
    record = Record(0, problem, "video", kind, options, "", f"<answer>{truth}</answer>", "x")
    backwards = mapped(record, "reversed")
    assert isinstance(backwards, Mapped)
    return retold(record, backwards, reasoning)


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        pytest.param(
            "The ball starts at the left and ends at the right, so it moves right. right is B.",
            "The ball starts at the right and ends at the left, so it moves left. left is A.",
            id="places-ways-and-letter",
        ),
        pytest.param("From the BOTTOM to the top: up.", "From the Top to the bottom: down.", id="places-up-and-down"),
        pytest.param("A ball goes right, so (B).", "A ball goes left, so (A).", id="a-sentence-s-a-is-no-option"),
        pytest.param("It is A or B; it goes right.", "It is B or A; it goes left.", id="both-letters-change-places"),
        pytest.param("Not C, it goes right: B", "Not D, it goes left: A", id="letters-of-all-options"),
        pytest.param("Rightwards, and not leftwards.", "Leftwards, and not rightwards.", id="words-of-the-table"),
        pytest.param("It enters, so B.", "It leaves, so A.", id="what-happens-without-a-place"),
        pytest.param("It rises from the bottom.", "It falls from the top.", id="a-way-and-its-place"),
        pytest.param("X-axis: right, vitamin-B", "X-axis: left, vitamin-B", id="a-letter-within-a-word-stays"),
    ],
)
def test_a_motion_is_told_backwards(reasoning, expected):
    assert told(reasoning) == Retold(expected)


def test_letters_stay_where_an_option_has_no_counterpart():
    options = ["A. right", "B. left", "C. It stays"]
    assert told("Not C: it goes right, A", options, "A") == Retold("Not C: it goes left, B")


def test_free_form_answers_have_no_letters():
    said = told("The ball moves right. A ball, B.", [], "the ball moves right", "Describe the motion.")
    assert said == Retold("The ball moves left. A ball, B.")


@pytest.mark.parametrize(
    ("reasoning", "reason"),
    [
        pytest.param("The ball is red.", "no word of direction", id="nothing-to-turn"),
        pytest.param("It goes left, then right.", "tells a sequence", id="then"),
        pytest.param("First it goes right.", "tells a sequence", id="first"),
        pytest.param("It goes right after the turn.", "tells a sequence", id="after"),
        pytest.param("At 3 seconds it goes right.", "counts from the clip's beginning", id="seconds"),
        pytest.param("In the third frame it is right.", "counts from the clip's beginning", id="third"),
        pytest.param("That is right, it goes left.", "another sense", id="right-as-correct"),
        pytest.param("The man has left, to the right.", "another sense", id="left-as-gone"),
        pytest.param("He left the room on the right.", "another sense", id="left-a-place"),
        pytest.param("It appears that it goes right.", "another sense", id="appears-as-seems"),
        pytest.param("The door opened on the right.", "turns the word 'opened' round", id="a-form-not-in-the-table"),
        pytest.param("It enters from the left.", "told with a way or a place", id="it-would-leave-there"),
        pytest.param(
            "The car appears on the left and goes right.", "with a way or a place", id="it-would-vanish-there"
        ),
        pytest.param("They pick up the right one.", "turns the word 'pick up' round", id="two-words-not-in-the-table"),
        pytest.param("He drops it on the right.", "turns the word 'drops' round", id="a-change-not-in-the-table"),
        pytest.param("From the left-hand side it goes right.", "turns the word 'left' round", id="half-of-a-compound"),
        pytest.param("It starts top-left and goes right.", "turns the word 'top' round", id="a-corner"),
        pytest.param("The leftmost ball goes right.", "turns the word 'leftmost' round", id="leftmost"),
        pytest.param("From the upper edge it goes right.", "turns the word 'upper' round", id="upper"),
        pytest.param("Slowing down, it goes right.", "turns the word 'slowing down' round", id="down-without-a-way"),
        pytest.param("It is upside down and goes right.", "another sense", id="upside-down"),
        pytest.param("They end up on the right.", "another sense", id="up-without-a-way"),
    ],
)
def test_what_a_rule_cannot_retell_is_refused(reasoning, reason):
    refused = told(reasoning)
    assert isinstance(refused, str) and reason in refused


def test_an_answer_that_stays_is_not_retold():
    record = Record(0, "Which colour comes before the last?", "video", "free-form", [], "", "<answer>red</answer>", "x")
    backwards = mapped(record, "reversed")
    assert isinstance(backwards, Mapped) and backwards.relation == "question"
    assert retold(record, backwards, "It goes right.") == "the answer does not turn round with the clip"


def test_twice_retold_is_as_it_was():
    text = "The ball starts at the left and ends at the right, so it moves right. right is B."
    once = told(text)
    again = told(once.text, truth="A")
    assert again == Retold(text)


def test_no_word_of_the_table_is_taken_for_one_that_it_lacks():
    assert not [word for word in WORDS if NOT_TURNED.fullmatch(word)]
