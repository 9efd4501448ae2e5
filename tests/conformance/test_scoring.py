"""Every scorer against a table of cases: prediction, truth, expected score, and the reason.

The table is the file named by VIDEO_R1_SCORING_CASES, by default the one beside this test. Each row names its
benchmark, metric and scorer; a row that nothing here computes fails, unless its scorer and metric are listed in
NOT_IMPLEMENTED.
"""

import json
import os
from pathlib import Path

import pytest

from tasks.benchmark.base import alike
from tasks.benchmark.protocols import video_r1
from tasks.benchmark.reading import mmmu_rules, tempcompass_rules
from tasks.benchmark.reading.text import strip_reasoning
from tasks.benchmark.suites import mvbench, video_holmes, video_mme
from tasks.benchmark.suites import vsi_bench as vsi
from tasks.benchmark.totals import knowledge_gain
from tasks.core.stats import clustered_stderr, paired

FILE = Path(os.environ.get("VIDEO_R1_SCORING_CASES") or Path(__file__).with_name("scoring_cases.jsonl"))
CASES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines() if line.strip()]

# Scorers of evaluation frameworks that differ from the benchmark's own; neither protocol uses them.
# (framework, benchmark, metric); "*" stands for every metric of the benchmark.
NOT_IMPLEMENTED = {
    ("lmms-eval", "vsibench", "MRA:.5:.95:.05"),
    ("lmms-eval", "vsibench", "accuracy"),
    ("lmms-eval", "videomme", "extract_letter"),
    ("lmms-eval", "mvbench", "mcq_acc"),
    ("lmms-eval", "mvbench", "aggregate/mvbench_accuracy"),
    ("lmms-eval", "mmvu", "multiple-choice/rule_based"),
    ("lmms-eval", "mmvu", "open-ended/rule_based"),
    ("lmms-eval", "stats", "pooled_sample_stderr"),
    ("lmms-eval", "stats", "expected_accuracy"),
    ("lmms-eval", "stats", "consensus_accuracy"),
    ("lmms-eval", "stats", "consistency_rate"),
    ("VLMEvalKit", "*", "*"),
}


def framework(scorer: str) -> str:
    """Whose scorer a row names: lmms-eval, VLMEvalKit or the benchmark itself."""
    for name in ("lmms-eval", "VLMEvalKit"):
        if f"/{name}@" in scorer:
            return name
    return "own"


def listed(case) -> bool:
    name = framework(case["scorer"])
    return any(
        name == other and benchmark in ("*", case["benchmark"]) and metric in ("*", case["metric"])
        for other, benchmark, metric in NOT_IMPLEMENTED
    )


# VSI-Bench ----------------------------------------------------------------------------------------------------------


def vsi_score(kind, prediction, gold):
    return (vsi.accuracy if kind in vsi.CHOICE else vsi.mean_relative_accuracy)(prediction, gold)


def vsi_means(case):
    """Question type -> mean score in percent; a row without types is about the one its metric names."""
    named = case["metric"].removeprefix("aggregate/").removesuffix("_MRA:.5:.95:.05").removesuffix("_MRA")
    kinds = case.get("question_types") or [named.removesuffix("_accuracy")] * len(case["prediction"])
    scores: dict[str, list[float]] = {}
    for kind, prediction, gold in zip(kinds, case["prediction"], case["gold"], strict=True):
        scores.setdefault(kind, []).append(100 * vsi_score(kind, prediction, gold))
    return {kind: sum(values) / len(values) for kind, values in scores.items()}


def weighted(means, coefficients):
    return sum(means[name] * coefficients[name] for name in means)


def vsi_overall(means):
    return weighted(means, vsi.coefficients(list(means)))


def vsi_aggregate(case):
    means = vsi_means(case)
    name = case["metric"].removeprefix("aggregate/")
    if name == "overall":
        return vsi_overall(means)
    for suffix in ("_accuracy", "_MRA:.5:.95:.05", "_MRA"):
        name = name.removesuffix(suffix)
    kinds = [kind for kind in means if kind == name or kind in vsi.SUITE.combined.get(name, ())]
    return weighted({kind: means[kind] for kind in kinds}, alike(kinds))


def vsi_micro(case):
    scores = [
        vsi_score(kind, prediction, gold)
        for kind, prediction, gold in zip(case["question_types"], case["prediction"], case["gold"], strict=True)
    ]
    return 100 * sum(scores) / len(scores)


def vsi_micro_of_tasks(case):
    counts = case["counts"]
    return sum(case["prediction"][name] * counts[name] for name in counts) / sum(counts.values())


# The others ---------------------------------------------------------------------------------------------------------


def mme_percent(case):
    """Percent over answered questions of all durations, or of the one the metric names."""
    wanted = case["metric"].removeprefix("aggregate/").partition("_")[0]
    durations = case.get("durations") or [wanted] * len(case["prediction"])
    rights = [
        said == gold
        for prediction, gold, duration in zip(case["prediction"], case["gold"], durations, strict=True)
        if (said := video_mme.extract_letter(prediction)) and wanted in ("overall", duration)
    ]
    return round(100 * sum(rights) / len(rights), 1) if rights else 0.0


def mmmu_choice(case):
    return mmmu_rules.choose(case["prediction"], case["options"])[0]


def mmmu_open(case):
    candidates = mmmu_rules.parse_open(case["prediction"])
    if candidates == mmmu_rules.API_ERROR:
        return "API Error (excluded)"
    return mmmu_rules.open_is_right(case["gold"], candidates)


def mmmu_track(case):
    """Mean over the answers of one track, empty ones left out; a letter among ten options, or an open truth."""
    rights = []
    for prediction, gold in zip(case["prediction"], case["gold"], strict=True):
        if prediction in ("", mmmu_rules.API_ERROR):
            continue
        if len(gold) == 1 and gold.isalpha():
            rights.append(mmmu_rules.choose(prediction, case.get("options") or ["-"] * 10)[0] == gold)
        else:
            rights.append(mmmu_rules.open_is_right(gold, mmmu_rules.parse_open(prediction)))
    return round(sum(rights) / len(rights), 5)


def rating(found):
    return {"rating": found.rating, "match_success": found.match_success}


def paired_difference(case):
    found = paired(case["prediction"], case["gold"], [str(i) for i in range(len(case["gold"]))])
    assert found.se is not None
    return {"mean_diff": found.difference, "se_diff": found.se, "t_stat": found.difference / found.se}


def reward(case):
    return video_r1.mark(case["metric"].removeprefix("reward_fn/"), case["prediction"], case["gold"]).value


RULES = {
    ("vsibench", "MRA:.5:.95:.05"): lambda case: vsi.mean_relative_accuracy(case["prediction"], case["gold"]),
    ("vsibench", "accuracy"): lambda case: vsi.accuracy(case["prediction"], case["gold"]),
    ("vsibench", "aggregate/micro_mean_all (NOT official)"): vsi_micro,
    ("vsibench", "aggregate/micro_from_task_scores (NOT official)"): vsi_micro_of_tasks,
    ("vsibench", "aggregate/overall_from_task_scores"): lambda case: vsi_overall(case["prediction"]),
    ("video_r1_eval", "reward_fn/multiple choice"): reward,
    ("video_r1_eval", "reward_fn/numerical"): reward,
    ("video_r1_eval", "reward_fn/regression"): reward,
    ("video_r1_eval", "reward_fn/free-form"): reward,
    ("video_r1_eval", "reward_fn/OCR"): reward,
    ("videomme", "extract_letter"): lambda case: video_mme.extract_letter(case["prediction"]),
    ("mvbench", "check_ans"): lambda case: mvbench.check_answer(case["prediction"], case["gold"]),
    ("tempcompass", "multi-choice"): lambda case: rating(
        tempcompass_rules.multi_choice(case["prediction"], case["gold"])
    ),
    ("tempcompass", "yes_no"): lambda case: rating(tempcompass_rules.yes_no(case["prediction"], case["gold"])),
    ("tempcompass", "caption_matching"): lambda case: rating(
        tempcompass_rules.caption_matching(case["prediction"], case["gold"], case.get("options") or [case["gold"]])
    ),
    ("videommmu", "parse_multi_choice_response"): mmmu_choice,
    ("videommmu", "open/eval_open"): mmmu_open,
    ("videommmu", "aggregate/track_overall"): mmmu_track,
    ("videommmu", "aggregate/overall_of_tracks"): lambda case: round(
        weighted(case["prediction"], alike(list(case["prediction"]))), 2
    ),
    ("videommmu", "delta_knowledge"): lambda case: round(
        100 * knowledge_gain(case["prediction"]["acc_before"] / 100, case["prediction"]["acc_after"] / 100), 4
    ),
    ("video_holmes", "extract_letter"): lambda case: video_holmes.extract_letter(case["prediction"]),
    ("preprocess", "strip_reasoning_tags"): lambda case: strip_reasoning(case["prediction"]),
    ("stats", "clustered_stderr"): lambda case: clustered_stderr(case["prediction"], case["gold"]),
    ("stats", "stderr_clt"): lambda case: (
        paired(case["prediction"], [0] * len(case["prediction"]), [str(i) for i in range(len(case["prediction"]))]).se
    ),
    ("stats", "paired_diff"): paired_difference,
}


def rule_of(case):
    benchmark, metric = case["benchmark"], case["metric"]
    if (benchmark, metric) in RULES:
        return RULES[benchmark, metric]
    if benchmark == "vsibench" and metric.startswith("aggregate/"):
        tasks = {*vsi.CHOICE, *vsi.NUMBER, vsi.DIRECTION, "overall"}
        if any(metric.removeprefix("aggregate/").startswith(task) for task in tasks):
            return vsi_aggregate
    if benchmark == "videomme" and metric in {f"aggregate/{d}_percent_1dp" for d in ("overall", *video_mme.DURATIONS)}:
        return mme_percent
    return None


def name_of(case) -> str:
    return f"{case['id']}-{case['benchmark']}-{case['metric']}-{case['why'][:60]}"


@pytest.mark.parametrize("case", [pytest.param(case, id=name_of(case)) for case in CASES])
def test_case(case):
    if listed(case):
        pytest.skip(f"{framework(case['scorer'])}'s {case['metric']} is not one of our protocols")
    rule = rule_of(case)
    assert rule is not None, f"unknown metric {case['metric']!r} of {case['benchmark']!r} ({case['scorer']})"
    same(rule(case), case["expected"])


def same(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-6)
    else:
        assert found == expected


def test_the_table_is_not_empty():
    assert CASES


@pytest.mark.parametrize("metric", ["aggregate/nothing", "MRA", ""])
def test_an_unknown_metric_has_no_rule(metric):
    assert rule_of({"benchmark": "vsibench", "metric": metric}) is None
