import pytest

from tasks.annotate.given import given_metrics, given_rows
from tasks.core.schemas.records import Record


def record(process, solution="<answer>B</answer>"):
    return Record(
        3, "Which way?", "video", "multiple choice", ["A. left", "B. right"], process, solution, "a.mp4", source="start"
    )


@pytest.mark.parametrize(
    ("said", "answer", "reward"),
    [
        pytest.param("<answer>B</answer>", "B", 1.0, id="the-true-answer"),
        pytest.param("<answer>A</answer>", "A", 0.0, id="the-teachers-wrong-answer"),
    ],
)
def test_reasoning_of_a_record_stands_for_a_completion(said, answer, reward):
    text = f"<think>It goes right.</think>\n{said}"
    [row] = given_rows([record(text)])
    assert (row["completion"], row["answer"], row["reward"], row["finish_reason"]) == (text, answer, reward, "stop")
    assert (row["process"], row["source"]) == ("", "start")
    metrics = given_metrics([row], "x.json")
    assert (metrics["taken_from"], metrics["rows"], metrics["mean_reward"]) == ("x.json", 1, reward)
    assert metrics["mean_tokens"] is None
