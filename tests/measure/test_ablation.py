"""The ablation: what the methods differ in, its statistics, and the whole of it at the smallest size."""

import csv
import json

import pytest
import yaml

from measure.ablation.__main__ import SPEED, common, main, parse, pin_settings, skill_rows
from measure.ablation.arms import METHODS, arm
from measure.ablation.evaluate import summary
from measure.ablation.table import FIELDS, SKILL_FIELDS, by_seed, interval, markdown, paired
from measure.runs import lock
from tasks.core.io.errors import StageError
from tasks.core.stats import sign_flip
from tasks.params import Grpo, load
from tests.support.graph import ROOT
from tests.support.training_project import make_project


def row(method, seed, temporal, shuffled=0.25):
    return dict(zip(FIELDS, (method, seed, temporal, 0.5, shuffled, 100, 10.0), strict=True))


@pytest.mark.parametrize(
    ("method", "group", "kind"),
    [
        ("grpo", 8, "grpo"),
        ("grpo_equal_compute", 12, "grpo"),
        ("tgrpo_reward", 8, "tgrpo_reward"),
        ("tgrpo_advantage", 8, "tgrpo_advantage"),
        ("tgrpo_logprob", 8, "logprob"),
        ("tgrpo_logprob_uncentred", 12, "logprob"),
        ("tgrpo_logprob_tokens", 12, "logprob"),
        ("tgrpo_tuned", 12, "logprob"),
    ],
)
def test_methods_differ_in_group_and_objective_alone(method, group, kind):
    base = Grpo(steps=3)
    found = arm(method, base)
    assert (found.group, found.objective.kind) == (group, kind)
    assert found.model_copy(update={"group": 8, "objective": base.objective}) == base


def test_the_mini_profile_trains_what_its_method_does():
    values, found = load(ROOT / "profiles/mini.yaml").grpo, arm("grpo_equal_compute", Grpo())
    assert (found.objective, found.group) == (values.objective, values.group)


def test_sft_does_not_train_and_an_unknown_method_is_named():
    assert arm("sft", Grpo()) is None
    with pytest.raises(StageError, match="no method 'ppo'; methods: sft, grpo"):
        arm("ppo", Grpo())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([0.5], (0.5, None, None), id="one seed has no interval"),
        pytest.param([0.5, 0.5, 0.5], (0.5, 0.5, 0.5), id="no variation"),
        pytest.param([0.4, 0.5, 0.6], (0.5, 0.2516, 0.7484), id="t with two degrees of freedom: 4.303 * 0.0577"),
    ],
)
def test_interval(values, expected):
    assert interval(values) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        pytest.param([0.1] * 5, 2 / 32, id="five of one sign: the least that five seeds can show"),
        pytest.param([0.1] * 6, 2 / 64, id="six of one sign fall below 0.05"),
        pytest.param([0.1, -0.1], 1.0, id="balanced"),
        pytest.param([0.0, 0.0, 0.0], 1.0, id="no difference"),
        pytest.param([0.1] * 20, 0.0, id="many seeds are drawn, not enumerated"),
    ],
)
def test_sign_flip(differences, expected):
    assert sign_flip(differences) == pytest.approx(expected, abs=1e-4)


def test_paired_uses_common_seeds_only():
    found = paired({0: 0.6, 1: 0.7, 2: 0.9}, {0: 0.5, 1: 0.5, 3: 0.1})
    assert found.seeds == 2 and found.difference.mean == pytest.approx(0.15)
    assert found.p_t == pytest.approx(0.2048, abs=1e-3)
    assert paired({0: 1.0}, {1: 1.0}) is None
    assert paired({0: 0.5, 1: 0.5}, {0: 0.4, 1: 0.4}).p_t is None, "a difference without variation has no t"


def test_table_shows_what_ran_and_compares_with_the_baseline():
    rows = [row(m, s, 0.5 + 0.1 * (m == "grpo") + 0.01 * s) for m in ("sft", "grpo") for s in range(3)]
    text = markdown(rows, METHODS, ("grpo",))
    assert "| sft | 3 | 51.0 (48.5 to 53.5) | 26.0" in text
    assert "tgrpo_reward" not in text
    assert "| sft | 3 | -10.0 (-10.0 to -10.0)" in text
    assert by_seed(rows, "grpo", "drop")[1] == pytest.approx(0.36)


@pytest.mark.parametrize(
    ("gain", "seeds", "words"),
    [
        pytest.param([0.1, 0.11, 0.12], 3, "A gain: 11.0 (8.5 to 13.5) points", id="a gain"),
        pytest.param([-0.1, -0.11, -0.12], 3, "A loss: -11.0 (-13.5 to -8.5) points", id="a loss"),
        pytest.param([0.1, -0.1, 0.02], 3, "No difference beyond chance", id="chance"),
        pytest.param([0.1, 0.1, 0.1], 3, "Too few seeds in common to tell", id="no variation has no test"),
        pytest.param([0.1], 1, "Too few seeds in common to tell", id="one seed"),
    ],
)
def test_the_table_ends_with_its_answers_in_words(gain, seeds, words):
    rows = [row("grpo", seed, 0.5) for seed in range(seeds)]
    assert "paper's own rule" not in markdown(rows, METHODS, ("grpo",)), "not asked of what did not run"
    rows += [row("tgrpo_reward", seed, 0.5 + gain[seed]) for seed in range(seeds)]
    text = markdown(rows, METHODS, ("grpo",))
    assert f"- What does the paper's own rule add to GRPO? {words}" in text
    assert text.endswith("\n") and not text.endswith("\n\n")


def test_runs_of_other_settings_are_refused(tmp_path):
    pin_settings(tmp_path / "settings.json", {"bias": 0.8, "grpo": {"steps": 2}})
    pin_settings(tmp_path / "settings.json", {"bias": 0.8, "grpo": {"steps": 2}})
    with pytest.raises(StageError, match="runs of other settings .grpo.; choose another --out"):
        pin_settings(tmp_path / "settings.json", {"bias": 0.8, "grpo": {"steps": 3}})


def test_a_method_that_means_something_else_now_is_refused_and_a_further_one_is_added(tmp_path):
    file = tmp_path / "settings.json"
    pin_settings(file, {"bias": 0.8, "methods": {"grpo": {"group": 8}}})
    pin_settings(file, {"bias": 0.8, "methods": {"tgrpo_tuned": {"group": 12}}})
    assert json.loads(file.read_text())["methods"] == {"grpo": {"group": 8}, "tgrpo_tuned": {"group": 12}}
    with pytest.raises(StageError, match="runs of other settings .tgrpo_tuned.; choose another --out"):
        pin_settings(file, {"bias": 0.8, "methods": {"tgrpo_tuned": {"group": 8}}})


def test_speed_levers_do_not_part_runs_and_results_do(tiny_model):
    """A table started with a lever on goes on with it off; what decides results does not change unseen."""
    base = load(ROOT / "params.yaml")
    chosen = parse(["--model", str(tiny_model)])
    assert set(Grpo.model_fields) >= SPEED
    pinned = common(base, chosen)
    levers = base.grpo.model_copy(update={"share_prefix_update": not base.grpo.share_prefix_update, "micro_batch": 1})
    assert common(base.model_copy(update={"grpo": levers}), chosen) == pinned
    other = base.grpo.model_copy(update={"learning_rate": 1.0})
    assert common(base.model_copy(update={"grpo": other}), chosen) != pinned


def test_scores_are_means_by_kind_and_by_skill():
    found = {
        (True, False, "order"): [1.0, 0.0, 1.0],
        (True, True, "order"): [0.0, 0.0, 1.0],
        (True, False, "direction"): [1.0],
        (False, False, "count"): [0.5, 1.0],
    }
    scores = summary(found)
    assert (scores.temporal, scores.static, scores.temporal_shuffled) == pytest.approx((0.75, 0.75, 1 / 3))
    assert list(scores.skills) == ["count", "direction", "order"]
    assert scores.skills["order"] == pytest.approx((3, 2 / 3, 1 / 3))
    assert scores.skills["direction"].accuracy_shuffled is None, "its one clip had no other order"
    rows = skill_rows({"method": "grpo", "seed": 2, "rollouts": 9}, scores)
    assert rows[0] == dict(zip(SKILL_FIELDS, ("grpo", 2, "count", 2, 0.75, None), strict=True))


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        pytest.param({(True, False, "order"): [1.0], (True, True, "order"): [0.0]}, "no static", id="temporal alone"),
        pytest.param({(False, False, "count"): [1.0]}, "no temporal and no shuffled", id="static alone"),
    ],
)
def test_a_split_without_a_kind_of_question_is_refused(found, missing):
    with pytest.raises(ValueError, match=missing):
        summary(found)


@pytest.mark.slow
def test_the_whole_ablation_at_the_smallest_size(tiny_model, tmp_path, monkeypatch, capsys):
    """Two seeds of three methods; run again, nothing trains; a method added later runs alone."""
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model)
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    params["ingest"]["workers"] = 1
    params["grpo"] |= {"sampling": {"max_tokens": 4}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    small = ["--model", "models/sft", "--steps", "1", "--seeds", "2", "--rl-rows", "4", "--test-rows", "16"]
    small += ["--out", "reports/ablation", "--methods"]
    assert main([*small, "sft", "tgrpo_logprob"]) == 0
    first = (tmp_path / "reports/ablation/runs.csv").read_text()
    capsys.readouterr()
    assert main([*small, "sft", "tgrpo_logprob"]) == 0
    assert "temporal" not in capsys.readouterr().out, "finished runs are skipped"
    with lock(tmp_path / "reports/ablation/.locks/grpo-0"):
        assert main([*small, "grpo", "--seeds", "1"]) == 0, "a run that another command has in hand is left to it"
    assert (tmp_path / "reports/ablation/runs.csv").read_text() == first
    assert main([*small, "grpo_equal_compute"]) == 0
    rows = list(csv.DictReader((tmp_path / "reports/ablation/runs.csv").open()))
    assert [(r["method"], r["seed"]) for r in rows] == [
        *(("sft", "0"), ("tgrpo_logprob", "0"), ("sft", "1"), ("tgrpo_logprob", "1")),
        *(("grpo_equal_compute", "0"), ("grpo_equal_compute", "1")),
    ]
    assert [int(r["rollouts"]) for r in rows] == [0, 16, 0, 16, 24, 24], "2 prompts, 8 or 12 answers"
    assert all(0 <= float(r["temporal_accuracy"]) <= 1 for r in rows)
    assert {path.name for path in (tmp_path / "reports/ablation/curves").iterdir()} == {
        f"{method}-{seed}.csv" for method in ("tgrpo_logprob", "grpo_equal_compute") for seed in (0, 1)
    }
    assert "grpo_equal_compute" in (tmp_path / "reports/ablation/table.md").read_text()
    skills = list(csv.DictReader((tmp_path / "reports/ablation/skills.csv").open()))
    assert {(s["method"], s["seed"]) for s in skills} == {(r["method"], r["seed"]) for r in rows}
