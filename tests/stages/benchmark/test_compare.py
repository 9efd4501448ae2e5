"""Two models question by question."""

import pytest

from tasks.benchmark.compare import compare, lines
from tasks.benchmark.suites import vsi_bench
from tasks.core.io.errors import StageError


@pytest.mark.parametrize(
    ("groups", "weights"),
    [
        pytest.param(["route_planning", "object_counting"], {"route_planning": 0.5, "object_counting": 0.5}, id="two"),
        pytest.param(
            ["object_rel_direction_easy", "object_rel_direction_hard", "object_counting"],
            {"object_rel_direction_easy": 0.25, "object_rel_direction_hard": 0.25, "object_counting": 0.5},
            id="directions share one place",
        ),
        pytest.param(["object_rel_direction_easy"], {"object_rel_direction_easy": 1.0}, id="a direction alone"),
    ],
)
def test_weights_of_vsi_bench(groups, weights):
    assert vsi_bench.coefficients(groups) == weights


def row(sample, score, benchmark="mvbench", said="A", cluster=None):
    return {
        "benchmark": benchmark,
        "subset": "",
        "protocol": "official",
        "frames": 16,
        "view": "ordered",
        "sample_id": sample,
        "cluster": cluster or sample,
        "categories": {},
        "question": "q",
        "answer": "A",
        "completion": said,
        "official": score,
        "official_extracted": said,
    }


def test_compare_lists_flips_and_leaves_unmatched_out():
    first = [row(str(i), 1.0) for i in range(10)] + [row("x", 1.0), row("e", None)]
    second = [row(str(i), float(i < 4), said="AB"[i >= 4]) for i in range(10)] + [row("e", 1.0)]
    [found] = compare(first, second, ("one", "two"))["comparisons"]
    assert (found["n"], found["difference"], len(found["flips"])) == (10, 0.6, 6)
    assert found["only_first"] == 2
    assert found["mcnemar"] == {"n": 10, "first_only_right": 6, "second_only_right": 0, "p": 0.03125}
    assert found["flips"][0]["completions"] == ["A", "B"]
    assert found["p_holm"] == found["p"], "one benchmark needs no correction"


def test_compare_corrects_over_benchmarks_of_one_protocol_and_frame_cap():
    first = [row(f"{i}", float(i % 3 > 0), name) for name in ("mvbench", "video_mme") for i in range(30)]
    second = [row(f"{i}", float(i % 2), name) for name in ("mvbench", "video_mme") for i in range(30)]
    made = compare(first, second, ("one", "two"))
    assert all(one["p_holm"] == pytest.approx(min(1.0, 2 * one["p"])) for one in made["comparisons"])
    assert "smallest detectable difference" in "\n".join(lines(made))


def test_compare_of_nothing_in_common_is_told():
    with pytest.raises(StageError, match="no scored question on ordered frames in common"):
        compare([row("1", 1.0)], [row("2", 1.0)], ("one", "two"))
