"""RL rows chosen by the tags of an audit: what is kept, counted and refused."""

import pandas as pd
import pytest
from pydantic import ValidationError

from tasks.audit.evidence import DIFFICULTY, EVIDENCE
from tasks.core.io.digests import file_digest
from tasks.core.io.errors import StageError
from tasks.grpo.rows import choose
from tasks.params.grpo import Rows

TAGGED = [
    (1, "order", "learnable"),
    (2, "text", "too_easy"),
    (3, "one_frame", "too_easy"),
    (4, "error", ""),
]


@pytest.fixture
def tags(tmp_path):
    """A table of tags of questions 1 to 4, its question 5 unasked."""
    path = tmp_path / "tags.parquet"
    columns = ("problem_id", "evidence", "difficulty")
    pd.DataFrame(TAGGED, columns=columns).assign(problem="Which way?", path="a.mp4").to_parquet(path)
    return path


def rows(*numbers, problem="Which way?"):
    return [{"problem_id": number, "problem": problem} for number in numbers]


@pytest.mark.parametrize(
    ("drop", "kept", "dropped"),
    [
        pytest.param(["text"], [1, 3, 4, 5], {"text": 1}, id="what text answers"),
        pytest.param(["text", "too_easy"], [1, 4, 5], {"text": 1, "too_easy": 1}, id="a row counts once"),
        pytest.param(["error"], [1, 2, 3, 5], {"error": 1}, id="what could not be asked, if wanted"),
        pytest.param([], [1, 2, 3, 4, 5], {}, id="nothing"),
    ],
)
def test_rows_are_kept_in_order_and_counted(tags, drop, kept, dropped):
    chosen = choose(rows(1, 2, 3, 4, 5), tags, file_digest(tags)[:12], drop)
    assert [row["problem_id"] for row in chosen.rows] == kept
    assert chosen.counts == {"rows": 5, "kept": len(kept), "not_audited": 1, "dropped": dropped}


@pytest.mark.parametrize(
    ("given", "drop", "digest", "words"),
    [
        pytest.param(rows(1), ["text"], "", "grpo.rows.digest: '', but .*tags.parquet has '", id="no digest"),
        pytest.param(rows(1), ["text"], "0123", "write that, and the stage reruns", id="another table's digest"),
        pytest.param(rows(8, 9), ["text"], None, "none of the 2 RL rows is in it", id="a table of other ids"),
        pytest.param(rows(1, problem="How many?"), [], None, "problem_id 1 asks 'Which way.'", id="other questions"),
        pytest.param(rows(2), ["text"], None, "grpo.rows.drop: text leave none of the 1 RL rows", id="all dropped"),
    ],
)
def test_what_cannot_be_chosen_by_is_refused(tags, given, drop, digest, words):
    with pytest.raises(StageError, match=words):
        choose(given, tags, file_digest(tags) if digest is None else digest, drop)


def test_a_missing_or_foreign_table_is_named(tmp_path):
    with pytest.raises(StageError, match="none.parquet: no such file; `python -m tasks.audit MODEL RECORDS` makes it"):
        choose(rows(1), tmp_path / "none.parquet", "0", ["text"])
    pd.DataFrame({"problem_id": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(StageError, match="no column problem, evidence, difficulty"):
        choose(rows(1), tmp_path / "other.parquet", file_digest(tmp_path / "other.parquet"), ["text"])


def test_every_tag_of_an_audit_can_be_dropped_and_no_other():
    every = [*EVIDENCE, *DIFFICULTY, "error"]
    assert Rows(drop=every).drop == every
    with pytest.raises(ValidationError, match="drop"):
        Rows(drop=["texts"])
