"""The plan of the flow is what DVC would walk."""

from pathlib import Path

import pytest
import yaml

from flows.plan import Node, PlanError, Policy, plan


def edit(change) -> None:
    """Change the toy's dvc.yaml in place."""
    path = Path("dvc.yaml")
    graph = yaml.safe_load(path.read_text())
    change(graph["stages"])
    path.write_text(yaml.safe_dump(graph, sort_keys=False))


def names(nodes: list[Node]) -> set[str]:
    return {node.stage for node in nodes}


ALL = {"rows", "validate@rows", "train", "bench@tuned", "bench@base", "report"}


@pytest.mark.parametrize(
    ("targets", "downstream", "expected"),
    [
        pytest.param([], False, ALL, id="no target is the whole graph"),
        pytest.param(
            ["train"], False, {"rows", "validate@rows", "train"}, id="a target brings its upstream, gate included"
        ),
        pytest.param(
            ["train"], True, {"train", "bench@tuned", "report"}, id="downstream leaves the upstream and siblings out"
        ),
        pytest.param(["bench"], False, ALL - {"report"}, id="the name of a foreach stage is all its items"),
        pytest.param(["bench@base"], False, {"rows", "bench@base"}, id="one item"),
        pytest.param(
            ["train", "bench@base"],
            False,
            {"rows", "validate@rows", "train", "bench@base"},
            id="two targets, each stage once",
        ),
    ],
)
def test_stages_of_a_plan(toy, targets, downstream, expected):
    nodes = plan(targets, downstream)
    assert len(nodes) == len(names(nodes))
    assert names(nodes) == expected


def test_every_stage_comes_after_its_upstream(toy):
    seen: set[str] = set()
    for node in plan():
        assert set(node.upstream) <= seen
        seen.add(node.stage)


def test_a_stage_behind_a_gate_waits_for_the_gate(toy):
    upstream = {node.stage: node.upstream for node in plan()}
    assert upstream["train"] == ("rows", "validate@rows")


def test_a_frozen_stage_is_cut_from_its_upstream(toy):
    edit(lambda stages: stages["train"].update(frozen=True))
    assert names(plan(["train"])) == {"train"}


def test_a_new_matrix_item_joins_the_plan(toy):
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["models"]["other"] = "raw.txt"
    Path("params.yaml").write_text(yaml.safe_dump(params))
    assert names(plan()) == ALL | {"bench@other"}


def test_policy_is_read_from_meta(toy):
    edit(lambda stages: stages["train"].update(meta={"prefect": {"retries": 2, "timeout_seconds": 5, "slot": "gpu"}}))
    policies = {node.stage: node.policy for node in plan()}
    assert policies["train"] == Policy(retries=2, timeout_seconds=5, slot="gpu")
    assert policies["rows"] == Policy()


@pytest.mark.parametrize(
    ("target", "text"),
    [
        pytest.param("trian", "unknown stage 'trian'; did you mean 'train'?", id="a slip names the nearest"),
        pytest.param("qqq", "stages: bench@base", id="nothing near names them all"),
        pytest.param("model.txt", "unknown stage 'model.txt'", id="an output is not a stage"),
        pytest.param("bench@nobody", "unknown stage 'bench@nobody'", id="an item that is not there"),
    ],
)
def test_an_unknown_target_is_refused_in_one_line(toy, target, text):
    with pytest.raises(PlanError) as caught:
        plan([target])
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_policy_key_is_refused(toy):
    edit(lambda stages: stages["train"].update(meta={"prefect": {"retry": 2}}))
    with pytest.raises(PlanError, match="train: meta.prefect.retry is unknown; valid: retries"):
        plan()


def test_a_folder_without_dvc_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError, match="not inside of a DVC repository"):
        plan()
