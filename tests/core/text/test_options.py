"""Letters of options; the reason is in the id."""

import pytest

from tasks.core.text.options import is_letter_of, lettered, misfit, repeats, unlettered


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(["left", "right"], ["A. left", "B. right"], id="bare"),
        pytest.param(["A. left", "B. right"], ["A. left", "B. right"], id="lettered"),
        pytest.param(["A) left", "B) right"], ["A) left", "B) right"], id="brackets"),
        pytest.param(["(A) left", "(B) right"], ["(A) left", "(B) right"], id="two-brackets"),
        pytest.param(["A: left", "B：right"], ["A: left", "B：right"], id="colons"),
        pytest.param(["A、左", "B、右"], ["A、左", "B、右"], id="chinese-marks"),
        pytest.param(["a. left", "b. right"], ["A. left", "B. right"], id="small-letters"),
        pytest.param(["(a) left", "(b) right"], ["(A) left", "(B) right"], id="small-letters-in-brackets"),
        pytest.param(["A. left", "b. right"], ["A. left", "B. right"], id="capital-and-small-letter"),
        pytest.param(["e. coli", "b. subtilis"], ["A. e. coli", "B. b. subtilis"], id="small-letters-that-are-text"),
        pytest.param(["A", "B"], ["A", "B"], id="letters-that-stand-in-the-picture"),
        pytest.param(["B. left", "A. right"], ["A. B. left", "B. A. right"], id="letters out of order are text"),
        pytest.param(["A man", "B movie"], ["A. A man", "B. B movie"], id="letter-that-begins-a-text"),
        pytest.param([], [], id="none"),
    ],
)
def test_lettered(given, expected):
    assert lettered(given) == expected


def test_more_options_than_letters_are_refused():
    with pytest.raises(ValueError, match="27 options"):
        lettered(["x"] * 27)


@pytest.mark.parametrize(
    ("option", "text"),
    [("A. left", "left"), ("A) left", "left"), ("(A) left", "left"), ("left", "left"), ("A", "A"), ("A.", "A.")],
)
def test_unlettered(option, text):
    assert unlettered(option, "A") == text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param(["A. left", "B. right"], None, id="lettered"),
        pytest.param(["left", "right"], None, id="bare"),
        pytest.param(["A.", "B."], None, id="labels-alone"),
        pytest.param(["J. Smith", "K. Jones"], None, id="names"),
        pytest.param(["U.S. army", "French army"], None, id="an-abbreviation"),
        pytest.param(["A. left", "A. right"], "labels A, A where A, B belong", id="one-letter-twice"),
        pytest.param(["B. left", "A. right"], "labels B, A where A, B belong", id="letters-out-of-order"),
        pytest.param(["b. left", "a. right"], "labels B, A where A, B belong", id="small-letters-out-of-order"),
        pytest.param(["a. left", "b."], "option 2 is empty behind its label", id="small-label-without-a-text"),
        pytest.param(["B. left", "C. right"], "labels B, C where A, B belong", id="labels-moved-by-one"),
        pytest.param(["B、左", "A、右"], "labels B, A where A, B belong", id="chinese-labels-out-of-order"),
        pytest.param(["B.left", "A.right"], "labels B, A where A, B belong", id="labels-out-of-order-without-spaces"),
        pytest.param(["B.C.", "A.D."], None, id="abbreviations-of-two-letters"),
        pytest.param(["e. coli", "b. subtilis"], None, id="small-letters-that-are-text"),
        pytest.param(["A. left", "right"], "option 2 has not the label B", id="one-without-a-label"),
        pytest.param(["A. left", " "], "option 2 is empty", id="empty"),
        pytest.param(["A. left", "\u200b"], "option 2 is empty", id="zero-width-space"),
        pytest.param(["left", "\u200d"], "option 2 is empty", id="zero-width-joiner"),
        pytest.param(["left", "\u202a\u202c"], "option 2 is empty", id="direction-marks"),
        pytest.param(["left", "\u3164"], "option 2 is empty", id="blank-filler"),
        pytest.param(["A. left", "B."], "option 2 is empty behind its label", id="label-without-a-text"),
        pytest.param(
            ["(A) left", "(B) \u200b"], "option 2 is empty behind its label", id="label-and-a-zero-width-space"
        ),
        pytest.param(["x"] * 27, "27 options", id="more-than-letters"),
    ],
)
def test_misfit(options, reason):
    assert (misfit(options) or "").startswith(reason or "")
    assert (misfit(options) is None) == (reason is None)


@pytest.mark.parametrize(
    ("options", "truth", "twin"),
    [
        pytest.param(["A. left", "B. right"], "A", None, id="two-texts"),
        pytest.param(["A. left", "B. left"], "A", "B", id="one-text"),
        pytest.param(["A. turn  left", "B) turn left"], "B", "A", id="white-space-and-brackets"),
        pytest.param(["A. left", "B. left", "C. up"], "C", None, id="wrong-options-may-repeat"),
        pytest.param(["A. x", "B. X"], "A", None, id="case-tells-apart"),
        pytest.param(["A. left", "B. left\u200b"], "A", "B", id="zero-width-space"),
        pytest.param(["A. caf\u00e9", "B. cafe\u0301"], "A", "B", id="accent-as-a-character-of-its-own"),
    ],
)
def test_repeats(options, truth, twin):
    assert repeats(options, truth) == twin


@pytest.mark.parametrize(
    ("truth", "holds"), [("A", True), ("B", True), ("C", False), ("a", False), ("", False), ("AB", False), ("@", False)]
)
def test_is_letter_of(truth, holds):
    assert is_letter_of(truth, ["x", "y"]) == holds
