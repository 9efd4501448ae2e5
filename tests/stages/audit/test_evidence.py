"""Tags of a question from shares of right completions by view."""

import pytest

from tasks.audit.evidence import Agreement, agreement, chance, difficulty, evidence

VIDEO = {"forward": 1.0, "reversed": 0.0, "shuffled": 0.0, "frozen": 0.0, "one_frame": 0.0, "text": 0.0}


@pytest.mark.parametrize(
    ("changes", "tag"),
    [
        pytest.param({}, "order", id="only the true order is enough"),
        pytest.param({"reversed": 1.0, "shuffled": 1.0}, "any_order", id="frames in any order"),
        pytest.param({"reversed": 1.0, "frozen": 0.75, "shuffled": 1.0}, "one_frame", id="one frame, held"),
        pytest.param({"reversed": 1.0, "one_frame": 1.0}, "one_frame", id="one frame, alone"),
        pytest.param({"frozen": 1.0}, "order", id="a lucky guess on the frozen clip; backwards it answers otherwise"),
        pytest.param({"text": 1.0, "one_frame": 1.0}, "text", id="the question gives it away"),
        pytest.param({"text": 0.5}, "order", id="half of the completions are not enough"),
        pytest.param({"forward": 0.5, "text": 1.0}, "unknown", id="what the model cannot answer tells nothing"),
        pytest.param({"reversed": 1.0}, "order", id="counts survive reversal, not shuffling"),
    ],
)
def test_evidence(changes, tag):
    assert evidence(VIDEO | changes) == tag


def test_an_image_is_one_frame_or_text():
    assert evidence({"forward": 1.0, "text": 0.0}) == "one_frame"
    assert evidence({"forward": 1.0, "text": 1.0}) == "text"


@pytest.mark.parametrize(
    ("share", "name"), [(1.0, "too_easy"), (0.75, "learnable"), (0.25, "learnable"), (0.0, "too_hard")]
)
def test_difficulty(share, name):
    assert difficulty(share) == name


@pytest.mark.parametrize(
    ("options", "samples", "expected"),
    [(4, 1, 0.25), (4, 4, 0.05078125), (2, 4, 0.3125), (0, 4, 0.0)],
    ids=["one guess", "three of four", "of two options", "no options, no luck"],
)
def test_chance(options, samples, expected):
    assert chance(options, samples) == pytest.approx(expected)


def test_agreement_leaves_out_what_is_not_known():
    tags = ["order", "order", "any_order", "unknown", "order", "text"]
    assert agreement(tags, [True, False, True, True, None, False]) == Agreement(2, 2, 1)
    assert agreement([], []).precision is None
