"""Sections of the page on whom RL paid and on what questions need of their clips."""

from __future__ import annotations

import pytest

from tasks.audit.summary import examples, summary
from tasks.core.world.split import make_split
from tasks.grpo.ledger import CHECKS
from tasks.report.audits import audit_tables
from tasks.report.payments import payment_tables
from tests.stages.report.test_page import page_of
from tests.support.report_inputs import HOSTILE, inputs_of, row


def alarm(value: float | None, **changes: object) -> dict[str, object]:
    fires = value is not None and value >= 0.02
    told = {"name": "sound pay", "what": "share of pay", "value": value, "fires_from": 0.02, "example": "step 1"}
    return {**told, "fires": fires, **changes}


@pytest.mark.parametrize(
    ("value", "cells", "note"),
    [
        pytest.param(0.03, ["sound pay", "ALARM", "0.03", "share of pay"], "step 1", id="fires, with its example"),
        pytest.param(0.01, ["sound pay", "quiet", "0.01", "share of pay"], "", id="stays quiet"),
        pytest.param(None, ["sound pay", "nothing to measure", "–", "share of pay"], "", id="nothing to measure"),
    ],
)
def test_alarms(value: float | None, cells: list[str], note: str) -> None:
    ledger = {"completions": 12, "pay": {"accuracy": 0.75, "length_reward": 0.25}, "alarms": [alarm(value)]}
    terms, alarms = payment_tables(ledger)
    assert [[cell.text for cell in row] for row in terms.rows] == [["accuracy", "75.0%"], ["length reward", "25.0%"]]
    assert [cell.text for cell in alarms.rows[0]] == cells and alarms.rows[0][3].note == note
    assert payment_tables({}) == [] and len(CHECKS) == 6


def tag(problem_id: int, evidence: str, **changes: object) -> dict[str, object]:
    """A row of a tag table."""
    shares = {"forward": 1.0, "reversed": 0.25, "shuffled": None, "frozen": 0.5, "one_frame": 0.5, "text": 0.0}
    return {
        **{"problem_id": problem_id, "path": f"{problem_id}.mp4", "problem": "Which way?", "data_type": "video"},
        **{"problem_type": "multiple choice", "evidence": evidence, "difficulty": "learnable"},
        **{f"right_{view}": share for view, share in shares.items()},
        **{"chance": 0.1, "temporal": evidence == "order", "error": ""},
        **changes,
    }


def test_an_audit_keeps_a_question_of_every_tag_a_video_where_there_is_one() -> None:
    tags = [tag(1, "order"), tag(2, "order"), tag(3, "text", data_type="image"), tag(4, "text"), tag(5, "error")]
    told = examples([row for row in tags if row["evidence"] != "error"])
    assert [each["evidence"] for each in told] == ["text", "order"] and told[0]["problem_id"] == 4
    assert examples(tags[:4][::-1]) == told, "whatever the order of the rows"
    kept = summary(tags)["examples"]
    assert kept[1]["right"] == {"forward": 1.0, "reversed": 0.25, "frozen": 0.5, "one_frame": 0.5, "text": 0.0}


def test_audit_tables_show_shares_with_intervals_and_agreement() -> None:
    numbers = summary([tag(1, "order"), tag(2, "order"), tag(3, "text", temporal=True), tag(4, "error")])
    accuracy, needs, hard, agreement = audit_tables({"teacher": numbers})
    assert [cell.text for cell in accuracy.rows[0]] == [
        *("teacher", "4", "100.0%", "25.0%", "–", "50.0%", "50.0%", "0.0%"),
    ]
    assert needs.head[:3] == ["audit", "questions", "unknown"] and needs.rows[0][-1].text == "66.7%"
    assert needs.rows[0][-1].note, "an interval"
    assert hard.rows[0][3].text == "100.0%"
    assert [cell.text for cell in agreement.rows[0]] == ["teacher", "100.0%", "66.7%", "3"]
    assert audit_tables({}) == []
    unknown = summary([tag(1, "order", temporal=None)])
    assert len(audit_tables({"users": unknown})) == 3, "no truth, no agreement"


def test_the_page_has_both_sections_and_says_what_is_missing(tmp_path) -> None:
    [raw] = make_split(tmp_path, 1, 3)
    path = str(tmp_path / raw["path"])
    numbers = summary([tag(1, "order", path=path, problem=HOSTILE), tag(2, "text", path=str(tmp_path / "gone.mp4"))])
    ledger = {"completions": 12, "pay": {"accuracy": 1.0}, "alarms": [alarm(0.5, example=HOSTILE)]}
    text = page_of(inputs_of({"m": [row()]}, audits={"teacher": numbers}, ledger=ledger), count=0)
    for words in ("whom RL paid", "what questions need", "sound pay", "data:image/jpeg", "forward 100.0%, reversed"):
        assert words in text
    assert "<script" not in text and "no picture" in text
    empty = page_of(inputs_of({"m": [row()]}), count=0)
    assert "grpo: no ledger" in empty and "python -m tasks.audit MODEL RECORDS" in empty
