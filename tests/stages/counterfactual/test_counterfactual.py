"""Counterfactual pairs: answers that words map, clips written alike, pair accuracy."""

import json

import numpy as np
import pytest

from tasks.core.io.errors import StageError
from tasks.core.schemas.mapping import COUNTERPARTS, ORDER_WORDS, Mapped, counterpart, mapped
from tasks.core.schemas.records import Record
from tasks.core.video import Clip, VideoError
from tasks.core.video.decode import read_clip
from tasks.counterfactual.__main__ import main, make, parse, score

COLOURS = ["A. red", "B. blue"]
MEALS = ["A. rice", "B. soup"]
SIDES = ["A. to the left", "B. to the right", "C. upwards", "D. it stays"]


def question(problem="Which way does the car go?", options=SIDES, truth="A", kind="multiple choice", path="1.mp4"):
    return Record(1, problem, "video", kind, list(options), "", f"<answer>{truth}</answer>", path)


@pytest.mark.parametrize(
    ("text", "table", "expected"),
    [
        ("Moves left, then Right.", "mirrored", "Moves right, then Left."),
        ("walks away from the door", "reversed", "walks toward the door"),
        ("leftover paint", "mirrored", None),
        ("picks up the cup", "reversed", "puts down the cup"),
        ("a right-angled turn", "mirrored", None),
    ],
    ids=["case is kept", "two words for one", "part of a word", "phrases before words", "part of a compound"],
)
def test_counterpart(text, table, expected):
    assert counterpart(text, COUNTERPARTS[table]) == expected


def test_every_counterpart_goes_back():
    for table in (*COUNTERPARTS.values(), ORDER_WORDS):
        assert all(table[other] == word for word, other in table.items())


@pytest.mark.parametrize(
    ("record", "kind", "truth", "relation"),
    [
        pytest.param(question(), "reversed", "B", "change", id="a direction turns round"),
        pytest.param(question(), "mirrored", "B", "change", id="left becomes right"),
        pytest.param(question("It", ["A. opens", "B. closes"], "B"), "reversed", "A", "change", id="opening"),
        pytest.param(question("What colour?", COLOURS), "mirrored", "A", "stay", id="a colour stays"),
        pytest.param(question("?", [], "it moves up", "free-form"), "reversed", "it moves down", "change", id="text"),
        pytest.param(
            question("What does he eat before the cake?", ["A. rice", "B. soup"]),
            "reversed",
            "A",
            "question",
            id="order",
        ),
    ],
)
def test_mapped(record, kind, truth, relation):
    told = mapped(record, kind)
    assert isinstance(told, Mapped), told
    assert told.relation == relation and told.record.solution == f"<answer>{truth}</answer>"


@pytest.mark.parametrize(
    ("record", "kind", "asked", "truth"),
    [
        pytest.param(question("What comes first?", MEALS), "reversed", "What comes last?", "A", id="the answer stays"),
        pytest.param(question("Which way does it go first?"), "reversed", "Which way does it go last?", "B", id="both"),
        pytest.param(
            question("Does it go left or right?"), "reversed", "Does it go left or right?", "B", id="both sides named"
        ),
        pytest.param(
            question("Which way does the car on the left go?"),
            "mirrored",
            "Which way does the car on the right go?",
            "B",
            id="the left one is the right one in the mirror",
        ),
        pytest.param(
            question("Does it go left or right?"), "mirrored", "Does it go left or right?", "B", id="both in the mirror"
        ),
        pytest.param(
            question("How?", ["A. left to right", "B. right to left"]), "reversed", "How?", "B", id="ends of one way"
        ),
        pytest.param(
            question("What is at the end of the video?", MEALS),
            "reversed",
            "What is at the start of the video?",
            "A",
            id="the end of the video",
        ),
        pytest.param(
            question("What comes first?", ["A. rice", "B. he lifts it"]),
            "reversed",
            "What comes last?",
            "A",
            id="wrong one",
        ),
    ],
)
def test_the_question_is_put_to_the_changed_clip(record, kind, asked, truth):
    told = mapped(record, kind)
    assert isinstance(told, Mapped), told
    assert (told.record.problem, told.record.solution) == (asked, f"<answer>{truth}</answer>")


@pytest.mark.parametrize(
    ("record", "kind", "reason"),
    [
        pytest.param(question(truth="C"), "reversed", "'downwards' is none of the options", id="no such option"),
        pytest.param(question(truth="D"), "mirrored", "left and right are spoken of", id="options speak of sides"),
        pytest.param(question("Why?", ["A. x", "B. y"]), "reversed", "no rule tells", id="nothing to go by"),
        pytest.param(question("Read it.", [], "STOP", "OCR"), "mirrored", "mirror writing", id="writing"),
        pytest.param(question("How many?", [], "3", "numerical"), "reversed", "no rule tells", id="a count"),
        pytest.param(
            question("After how many seconds does it start?", [], "3", "regression"),
            "reversed",
            "counts from the clip's beginning",
            id="seconds from the beginning",
        ),
        pytest.param(question("At 0:05, which way?"), "reversed", "counts from", id="a timestamp"),
        pytest.param(question("Which way does it go at 3.5 s?"), "reversed", "counts from", id="a time"),
        pytest.param(
            question("What is shown after the second cut?", MEALS), "reversed", "counts from", id="the second of a row"
        ),
        pytest.param(question("Which way does the 3rd car go?"), "reversed", "counts from", id="a number in a row"),
        pytest.param(
            question("What does he eat after the door opens?", MEALS),
            "reversed",
            "takes for granted what turns round",
            id="the door closes in the reverse, and the answer stays",
        ),
        pytest.param(
            question("While it moves up, which way does the arm go?"),
            "reversed",
            "takes for granted what turns round",
            id="it moves down in the reverse, and the answer changes",
        ),
        pytest.param(
            question("?", [], "it moves up, then left", "free-form"), "reversed", "tells a sequence", id="two moves"
        ),
        pytest.param(
            question("?", ["A. opens before closing", "B. closes before opening"]),
            "reversed",
            "tells a sequence",
            id="a sequence that words for one change do not turn",
        ),
        pytest.param(
            question("?", [], "the man opens the door and leaves", "free-form"),
            "reversed",
            "a sequence",
            id="two events",
        ),
        pytest.param(
            question("?", [], "it rose up", "free-form"),
            "reversed",
            "turns the word 'rose'",
            id="half of it in the table",
        ),
        pytest.param(question("?", [], "it moves up and down", "free-form"), "reversed", "a sequence", id="both ways"),
        pytest.param(
            question("Where is the cup?", ["A. on the left", "B. on the right"]),
            "reversed",
            "side that stays",
            id="place",
        ),
        pytest.param(
            question("Which hand does he use?", ["A. left", "B. right"]), "reversed", "side that stays", id="a hand"
        ),
        pytest.param(
            question("?", [], "the man in the left seat moves up", "free-form"),
            "reversed",
            "side that stays",
            id="who moves, by a side",
        ),
        pytest.param(
            question("?", [], "he left the room", "free-form"), "reversed", "another sense", id="left as gone"
        ),
        pytest.param(
            question("What is the first letter on the sign?", MEALS), "reversed", "another sense", id="first on a sign"
        ),
        pytest.param(
            question("What is at the end of the street?", MEALS), "reversed", "another sense", id="the end of a street"
        ),
        pytest.param(question("Who looks after the dog?", MEALS), "reversed", "another sense", id="looking after"),
        pytest.param(
            question("What does he do first?", ["A. he lifts it", "B. he eats"]),
            "reversed",
            "turns the word 'lifts' round",
            id="an event that the table does not have",
        ),
        pytest.param(
            question("What does he eat after he opened it?", MEALS),
            "reversed",
            "turns the word 'opened' round",
            id="an event of the question in a form that the table does not have",
        ),
        pytest.param(
            question("What does the sign say?", ["A. STOP", "B. GO"]),
            "mirrored",
            "mirror writing",
            id="writing to choose",
        ),
        pytest.param(
            question("What number is on the shirt?", [], "7", "numerical"), "mirrored", "mirror writing", id="digits"
        ),
        pytest.param(
            question("Is he left-handed?", ["A. yes", "B. no"]), "mirrored", "no rule turns", id="a side in a compound"
        ),
        pytest.param(
            question("Which?", ["A. the leftmost", "B. the rightmost"]), "mirrored", "no rule turns", id="leftmost"
        ),
        pytest.param(question("Which way?", ["A. east", "B. west"]), "mirrored", "no rule turns", id="the compass"),
        pytest.param(question("Who left the room?", COLOURS), "mirrored", "another sense", id="left as gone, mirrored"),
    ],
)
def test_what_no_rule_tells_is_refused(record, kind, reason):
    assert reason in mapped(record, kind)


def ramp(path, data_type):
    if path == "broken.mp4":
        raise VideoError(path, "no decoder")
    pixels = np.zeros((4, 28, 56, 3), np.uint8)
    pixels[:, :, :28] = np.array([40, 80, 120, 160], np.uint8)[:, None, None, None]
    return Clip(pixels, [0, 1, 2, 3], 25.0, 2.5, 1.6)


def test_pairs_are_written_alike_and_scored_together(tmp_path):
    pairs, refused = make([question(), question(path="broken.mp4")], ["reversed", "mirrored"], ramp, tmp_path)
    assert [(pair["forward"], pair["changed"], pair["relation"]) for pair in pairs] == [
        (0, 1, "change"),
        (2, 3, "change"),
    ]
    assert refused == {"no decoder": 2}
    records = json.loads((tmp_path / "records.json").read_text())
    shown = [read_clip(tmp_path / row["path"], frames=4, fps=2.5, min_frames=4) for row in records]
    levels = [clip.frames[:, 14, 14, 0].astype(int).tolist() for clip in shown]
    assert np.abs(np.subtract(levels[0], [40, 80, 120, 160])).max() < 6
    assert np.abs(np.subtract(levels[1], [160, 120, 80, 40])).max() < 6
    assert np.abs(shown[3].frames[:, 14, 42, 0].astype(int) - [40, 80, 120, 160]).max() < 6
    said = [{"problem_id": n, "completion": f"<think>.</think><answer>{a}</answer>"} for n, a in enumerate("ABAA")]
    told = score(said, tmp_path)
    assert (told["all"].n, told["all"].value) == (2, 0.5), "right on one member alone is not right"
    with pytest.raises(StageError, match="1 predictions are missing, the first is of problem_id 3"):
        score(said[:3], tmp_path)


def test_commands(tmp_path):
    assert parse(["a.json", "--out", "x"]).command == "make"
    assert parse(["score", "a.jsonl", "--out", "x"]).command == "score"
    said = tmp_path / "said.jsonl"
    with pytest.raises(StageError, match="no such file of predictions"):
        main(["score", str(said), "--out", str(tmp_path)])
    said.touch()
    with pytest.raises(StageError, match="make pairs first"):
        main(["score", str(said), "--out", str(tmp_path)])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        pytest.param(["paint", "a.json"], "say `make FILE` or `score FILE`", id="another command"),
        pytest.param(["score"], "say `make FILE` or `score FILE`", id="a command without its file"),
        pytest.param(["a.json", "--frames", "1"], "at least 2", id="one frame has no order to change"),
    ],
)
def test_wrong_command_lines(words, reason):
    with pytest.raises(StageError, match=reason):
        parse([*words, "--out", "x"])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param({"problem_id": 0}, "prediction 1", id="no completion"),
        pytest.param({"problem_id": 0, "completion": None}, "prediction 1", id="a failed completion"),
        pytest.param({"problem_id": "0", "completion": ""}, "problem_id as a number", id="an id as text"),
    ],
)
def test_a_row_that_is_no_prediction_is_named(tmp_path, row, reason):
    make([question()], ["reversed"], ramp, tmp_path)
    with pytest.raises(StageError, match=reason):
        score([row], tmp_path)


def test_without_pairs_nothing_is_scored(tmp_path):
    make([question("Why?", ["A. x", "B. y"])], ["reversed"], ramp, tmp_path)
    with pytest.raises(StageError, match=r"pairs\.json: no pair to score"):
        score([], tmp_path)
