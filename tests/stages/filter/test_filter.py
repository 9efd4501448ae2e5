import dataclasses
import json
import random
from pathlib import Path

import pytest
import yaml

from tasks import paths
from tasks.core.io.tables import TableError, read_table, write_table
from tasks.core.schemas.records import COT_SCHEMA, REJECTED_SCHEMA, SFT_SCHEMA, CotRow, cot_from_row
from tasks.filter import __main__ as stage
from tasks.filter import rules
from tasks.filter.filter import Tally, filter_rows
from tasks.filter.rules import ascii_share, build_rules, repeat_share

RULES = build_rules(min_reward=0.6, min_think_chars=10, max_think_chars=200, max_repeat_share=0.6, min_ascii_share=0.9)
THINK = "The ball starts left and ends right."


def row(completion, *, problem_type="multiple choice", solution="<answer>B</answer>", problem_id=0, finish="stop"):
    options = ["A. left", "B. right"] if problem_type == "multiple choice" else []
    return CotRow(
        problem_id=problem_id,
        problem="Which way?",
        data_type="video",
        problem_type=problem_type,
        options=options,
        process="",
        solution=solution,
        path="a.mp4",
        completion=completion,
        answer="",
        reward=0.0,
        finish_reason=finish,
    )


def said(think=THINK, answer="B"):
    return f"<think>{think}</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("given", "broken"),
    [
        pytest.param(row(said()), [], id="good"),
        pytest.param(row(said(answer="(B) right")), [], id="robust-reward"),
        pytest.param(row(said() + "\n"), [], id="trailing-newline"),
        pytest.param(row(said(answer="A")), ["reward"], id="wrong"),
        pytest.param(
            row(said(answer="3"), problem_type="regression", solution="<answer>5</answer>"),
            ["reward"],
            id="0.6-is-not-more",
        ),
        pytest.param(
            row(said(answer="4"), problem_type="regression", solution="<answer>5</answer>"),
            [],
            id="0.8-is-more-than-0.6",
        ),
        pytest.param(row(f"Well. {said()}"), ["format"], id="text-before"),
        pytest.param(row(f"{said()}<answer>A</answer>"), ["format"], id="two-answers"),
        pytest.param(row("<answer>B</answer>"), ["format", "length"], id="no-reasoning"),
        pytest.param(row(said("left")), ["length"], id="too-short"),
        pytest.param(row(said(" ".join(f"w{i}" for i in range(100)))), ["length"], id="too-long"),
        pytest.param(row(said("球从左边开始,在右边结束,所以它向右移动")), ["language"], id="chinese"),
        pytest.param(row(said("The ball goes → right, 2 × 3 = 6, a café.")), [], id="signs-and-an-accent"),
        pytest.param(row(said("it goes right and " * 8)), ["repetition"], id="loop"),
        pytest.param(row("", finish="error"), ["unanswered", "reward", "format", "length"], id="no-answer-at-all"),
        pytest.param(row(f"<think>{THINK}", finish="length"), ["reward", "format", "length"], id="cut-off"),
    ],
)
def test_rules(given, broken):
    [decision] = filter_rows([given], RULES)
    assert decision.broken == broken
    assert set(decision.row) == set((REJECTED_SCHEMA if broken else SFT_SCHEMA).names)
    if broken:
        assert (decision.row["rule"], decision.row["rules"]) == (broken[0], broken)


def test_a_kept_row_has_the_reasoning_and_the_true_answer():
    [decision] = filter_rows([row(f"<think>\n{THINK} </think> <answer>(b) right</answer>")], RULES)
    kept = decision.row
    assert kept["process"] == f"<think>{THINK}</think>"
    assert kept["solution"] == "<answer>B</answer>"
    assert kept["reward"] == 1.0
    assert set(kept) == set(SFT_SCHEMA.names)


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 1), ("1 + 2 = 3", 1), ("abc", 1), ("abcд", 0.75), ("球", 0)],
)
def test_ascii_share(text, share):
    assert ascii_share(text) == share


@pytest.mark.parametrize(
    ("text", "share"),
    [
        pytest.param("", 0, id="empty"),
        pytest.param("a b c", 0, id="shorter-than-one-4-gram"),
        pytest.param("a b c d e", 0, id="all-new"),
        pytest.param("a b c d A B C D", 1 / 5, id="case-does-not-count"),
        pytest.param("a a a a a", 1 / 2, id="one-word"),
        pytest.param("球向左" * 4, 6 / 9, id="chinese-without-spaces"),
        pytest.param("ha" * 200, 36 / 37, id="a-word-without-end"),
        pytest.param("word " * 2 + "pneumonoultramicroscopicsilicovolcanoconiosis", 0, id="a-long-word"),
    ],
)
def test_repeat_share(text, share):
    assert repeat_share(text) == pytest.approx(share)


def tally_of(rows, rules=RULES):
    tally = Tally(rules)
    for decision in filter_rows(rows, rules):
        tally.count(decision)
    return tally.summary()


def test_counts_add_up():
    answers = [said(), said(answer="A"), "", "x"]
    rows = [row(text, problem_id=i, finish="error" if not text else "stop") for i, text in enumerate(answers)]
    counted = tally_of(rows)
    assert (counted["rows"], counted["kept"], counted["rejected_rows"]) == (4, 1, 3)
    assert counted["rejected_share"] == 0.75
    assert counted["rejected"] == {
        "unanswered": 1,
        "reward": 2,
        "format": 0,
        "length": 0,
        "language": 0,
        "repetition": 0,
        "surplus": 0,
    }
    assert counted["breaking"]["format"] == 2
    assert [step["left"] for step in counted["funnel"]] == [3, 1, 1, 1, 1, 1, 1]
    assert counted["by_type"] == {"multiple choice": {"rows": 4, "kept": 1, "rejected": {"unanswered": 1, "reward": 2}}}
    assert [example["problem_id"] for example in counted["examples"]["reward"]] == [1, 3]
    assert tally_of([])["rejected_share"] is None


def test_what_the_published_threshold_alone_keeps_stands_beside():
    rows = [
        row(said(), problem_id=0),  # both
        row(said(answer="(B) right"), problem_id=1),  # the published rule takes the bare letter alone
        row(said("left"), problem_id=2),  # too short for ours
        row(said(answer="A"), problem_id=3),
    ]
    published = tally_of(rows)["published"]
    assert published == {
        "rule": "strict reward > 0.6",
        "kept": 2,
        "kept_share": 0.5,
        "kept_by_both": 1,
        "kept_here_alone": 1,
    }


CHOICE = "multiple choice"
OPTIONAL = {
    "reject_leaks": True,
    "reject_disagreement": True,
    "reject_refusals": True,
    "require_option_mention": True,
    "temporal_reference": "video",
}
LIMITS = {
    "min_reward": 0.0,
    "min_think_chars": 1,
    "max_think_chars": 400,
    "max_repeat_share": 1.0,
    "min_ascii_share": 0.0,
}


@pytest.mark.parametrize(
    ("completion", "kind", "broken"),
    [
        pytest.param(said("First it is left, then right, so B."), CHOICE, [], id="good"),
        pytest.param(
            f"The answer is B. {said('Then it goes right, B.')}",
            "multiple choice",
            ["format", "leak"],
            id="said-before",
        ),
        pytest.param(said("The answer is B. First it is left, then right."), CHOICE, ["leak"], id="opens-with-it"),
        pytest.param(said("答案是B。首先它在左边, 然后 B。"), CHOICE, ["leak"], id="opens-with-it-in-chinese"),
        pytest.param(said("Then, the answer is B."), CHOICE, [], id="one-sentence-is-no-leak"),
        pytest.param(
            said("It ends on the left. The answer is A, not right."),
            "multiple choice",
            ["disagreement"],
            id="another-letter",
        ),
        pytest.param(
            said("At first the answer is A. Then it turns: the answer is B."),
            "multiple choice",
            [],
            id="changed-its-mind",
        ),
        pytest.param(
            said("Later there are four. The answer is 4.", "3"), "numerical", ["disagreement"], id="another-number"
        ),
        pytest.param(said("Later there are three. The answer is 3.0 m.", "3"), "numerical", [], id="the-same-number"),
        pytest.param(said("I cannot see the end of the video, so B."), CHOICE, ["refusal"], id="cannot-see"),
        pytest.param(said("It cannot be determined when it ends; right."), CHOICE, ["refusal"], id="undetermined"),
        pytest.param(said("No video was provided, then B."), CHOICE, ["refusal"], id="no-video"),
        pytest.param(said("The ball ends there."), CHOICE, ["option_mention"], id="no-option"),
        pytest.param(said("It ends on the RIGHT."), CHOICE, [], id="text-of-the-option"),
        pytest.param(said("Finally (B) fits."), CHOICE, [], id="letter-of-the-option"),
        pytest.param(said("The ball is right."), CHOICE, ["temporal_reference"], id="no-word-of-time"),
        pytest.param(said("At 3.5 s it is right."), CHOICE, [], id="seconds"),
        pytest.param(said("Then B because it moves."), CHOICE, [], id="letter-and-a-reason"),
        pytest.param(said("然后选B。"), CHOICE, [], id="letter-in-chinese"),
        pytest.param(said("It ends right. Final Answer: A"), CHOICE, ["disagreement"], id="capital-answer"),
        pytest.param(
            said("It ends right, so the answer is option A."), CHOICE, ["disagreement"], id="answer-is-option"
        ),
        pytest.param(said("Then B, but option A is correct."), CHOICE, ["disagreement"], id="option-is-correct"),
        pytest.param(said("然后选B。故选（A）。"), CHOICE, ["disagreement"], id="another-letter-in-chinese"),
        pytest.param(said("First B. The answer is I think right."), CHOICE, [], id="a-pronoun-is-no-letter"),
        pytest.param(said("Later the answer is 1 1/2 m.", "1.5"), "1.5", [], id="mixed-fraction"),
        pytest.param(said("Later the answer is 12 000.", "12000"), "12000", [], id="groups-with-spaces"),
        pytest.param(said("Later the answer is 5 million.", "5000000"), "5000000", [], id="magnitude"),
        pytest.param(said("Later the answer is 5 million.", "5"), "5", ["disagreement"], id="another-magnitude"),
        pytest.param(said("Later the answer is 3, as 2 were left.", "3"), "3", [], id="a-further-number"),
        pytest.param(said("I can’t tell, then B."), CHOICE, ["refusal"], id="curved-apostrophe"),
        pytest.param(said("I don't know, then B."), CHOICE, ["refusal"], id="do-not-know"),
        pytest.param(said("As a language model, then B."), CHOICE, ["refusal"], id="language-model"),
        pytest.param(said("抱歉，然后选B。"), CHOICE, ["refusal"], id="sorry-in-chinese"),
        pytest.param(said("The driver cannot see the man, then B."), CHOICE, [], id="somebody-else-cannot-see"),
        pytest.param(said("I can't help but notice it ends at B."), CHOICE, [], id="cannot-help"),
    ],
)
def test_optional_rules(completion, kind, broken):
    truth = {CHOICE: "B", "numerical": "3"}.get(kind, kind)
    kind = CHOICE if kind == CHOICE else "numerical"
    given = row(completion, problem_type=kind, solution=f"<answer>{truth}</answer>")
    [decision] = filter_rows([given], build_rules(**LIMITS, **OPTIONAL))
    assert decision.broken == broken


PIECES = ("The ANSWER is ", "option ", "Choice (", "B", "C", "A is right", " 12", "3.5", ". ", "\n", "so ")
OF_MORE_SCRIPTS = ("答案是", "故选", "İ", "option B is correct")


def test_conclusions_are_looked_for_from_the_first_word_that_may_begin_one():
    random_ = random.Random(0)
    texts = ["".join(random_.choices(PIECES, k=random_.randrange(12))) for _ in range(2000)]
    texts += [f"{text}{random_.choice(OF_MORE_SCRIPTS)}{text}" for text in texts]
    for pattern in (rules._CONCLUDED_LETTER, rules._CONCLUDED_NUMBER):
        found = [pattern.findall(text) for text in texts]
        assert found == [pattern.findall(text, rules._first_of(rules._CONCLUDING, text)) for text in texts]
        assert 300 < sum(map(bool, found)) < 3700


def test_an_option_may_say_that_the_question_cannot_be_answered():
    given = dataclasses.replace(
        row(said("It cannot be determined then, so B.")), options=["A. left", "B. Cannot be determined"]
    )
    [decision] = filter_rows([given], build_rules(**LIMITS, **OPTIONAL))
    assert decision.broken == []


@pytest.mark.parametrize(
    ("asked_of", "data_type", "temporal", "broken"),
    [
        ("video", "video", None, True),
        ("video", "image", None, False),
        ("temporal", "video", None, False),
        ("temporal", "video", True, True),
        ("none", "video", True, False),
    ],
)
def test_where_time_must_be_spoken_of(asked_of, data_type, temporal, broken):
    given = dataclasses.replace(row(said("The ball is right.")), data_type=data_type, temporal=temporal)
    [decision] = filter_rows([given], build_rules(**LIMITS, temporal_reference=asked_of))
    assert bool(decision.broken) == broken


def test_of_several_completions_those_that_agree_stay_and_the_best_alone():
    answers = ["B", "(B) right", "A", "B."]
    rows = [row(said(answer=answer)) for answer in answers]
    lone = row(said(), problem_id=1)
    decisions = list(filter_rows([*rows, lone], build_rules(**LIMITS, min_self_consistency=0.5)))
    assert [decision.broken for decision in decisions] == [
        [],
        ["surplus"],
        ["reward", "self_consistency"],
        ["surplus"],
        [],
    ]
    everything = filter_rows([*rows, lone], build_rules(**LIMITS, min_self_consistency=0.8), None)
    assert [bool(decision.broken) for decision in everything] == [True, True, True, True, False]
    two = filter_rows(rows, build_rules(**LIMITS), 2)
    assert [decision.broken for decision in two] == [[], [], ["reward"], ["surplus"]]


def test_stage(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sources = {"sources": [{"name": "w", "format": "world", "split": "train", "rows": 1}]}
    params = {"models": {"base": "b"}, "ingest": sources, "filter": {"min_think_chars": 5}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(TableError, match="run `dvc repro annotate` first"):
        stage.main()
    rows = [row(said(), problem_id=0), row(said(answer="A"), problem_id=1)]
    write_table(paths.COT, [{name: getattr(r, name) for name in COT_SCHEMA.names} for r in rows], COT_SCHEMA)
    stage.main()
    assert [kept["problem_id"] for kept in read_table(paths.SFT_ROWS, SFT_SCHEMA)] == [0]
    rejected = read_table(paths.REJECTED_ROWS, REJECTED_SCHEMA)
    assert [(cot_from_row(r).problem_id, r["rule"]) for r in rejected] == [(1, "reward")]
    assert json.loads(paths.metrics("filter").read_text())["kept"] == 1
    assert "kept 1 of 2 rows; rejected by rule: reward 1" in capsys.readouterr().out
