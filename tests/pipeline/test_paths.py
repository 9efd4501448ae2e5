"""paths.py, dvc.yaml and .gitignore tell the same story."""

import ast
import subprocess

import pytest

from tasks import paths
from tests.support.graph import ROOT, covers, raw_graph, stages

OUTS = {out for stage in stages().values() for out in stage.outs}
DEPS = {dep for stage in stages().values() for dep in stage.deps}
# Not results: inputs, what stages share between runs, and folders that only hold other paths.
NOT_OUTS = {"params.yaml", "reports", "models/.work", "data/.work", "data/audit"}


def constants() -> dict[str, str]:
    """Name -> path of every path constant."""
    return {name: str(value) for name, value in vars(paths).items() if name.isupper()}


@pytest.mark.parametrize(("name", "path"), sorted(constants().items()))
def test_every_path_is_an_out_of_one_stage(name, path):
    if path in NOT_OUTS:
        assert not [out for out in OUTS if covers(out, path)]
        return
    holders = {
        stage.name.partition("@")[0]
        for stage in stages().values()
        for out in stage.outs
        if covers(out, path) or covers(path, out)
    }
    assert len(holders) == 1, f"paths.{name}: one stage must make {path}"


@pytest.mark.parametrize(
    ("function", "argument", "stage"),
    [
        pytest.param(paths.verdict, "records", "validate@records", id="verdict"),
        pytest.param(paths.validation_report, "cot", "validate@cot", id="validation report"),
        pytest.param(paths.answers, "grpo", "benchmark@grpo", id="answer logs"),
        pytest.param(paths.metrics, "ingest", "ingest", id="metrics"),
        pytest.param(paths.curve, "sft", "sft", id="curve"),
    ],
)
def test_path_functions_name_outs_of_their_stage(function, argument, stage):
    assert function(argument).as_posix() in stages()[stage].outs


def test_metrics_of_a_matrix_stage():
    assert paths.metrics("benchmark", "base").as_posix() in stages()["benchmark@base"].outs


def test_every_out_has_a_path():
    known = set(constants().values())
    known |= {
        str(function(name))
        for function in (paths.verdict, paths.validation_report)
        for name in raw_graph()["validate"]["foreach"]
    }
    for stage in stages().values():
        own, _, item = stage.name.partition("@")
        known |= {str(paths.metrics(own)), str(paths.curve(own))}
        if item:
            known |= {str(paths.answers(item)), str(paths.metrics(own, item))}
    # data/<stage> is the folder of the tables in paths.py.
    homeless = [out for out in OUTS if out not in known and not any(covers(out, path) for path in known)]
    assert homeless == []


def test_every_data_dep_is_made_by_a_stage_or_given():
    given = ("tasks/", "data/raw", "data/benchmarks")
    orphans = [
        dep
        for dep in DEPS
        if not dep.startswith(given) and not any(covers(out, dep) or covers(dep, out) for out in OUTS)
    ]
    assert orphans == []


def test_a_stage_is_a_folder_is_a_section_and_has_a_description():
    for name, stage in raw_graph().items():
        body = stage.get("do", stage)
        assert (ROOT / "tasks" / name / "__main__.py").is_file()
        assert name in body["params"], f"{name}: its own section"
        assert body["desc"]


def test_outs_that_dvc_keeps_are_ignored_by_git_and_the_others_are_not():
    kept: list[str] = []
    plain: list[str] = []
    for stage in raw_graph().values():
        body = stage.get("do", stage)
        for out in [*body.get("outs", []), *body.get("metrics", []), *body.get("plots", [])]:
            (path, options), *_ = out.items() if isinstance(out, dict) else [(out, {})]
            path = path.replace("${key}", "some").replace("${world.name}", "world_other")
            (plain if options.get("cache") is False else kept).append(path)
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *kept, *plain], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert ignored == kept


def test_work_in_progress_is_no_dependency():
    patterns = (ROOT / ".dvcignore").read_text().split()
    assert {f"{paths.WORK_MODELS}/", f"{paths.WORK_DATA}/", "__pycache__/"} <= set(patterns)


def test_paths_are_relative_to_the_project():
    tree = ast.parse((ROOT / "tasks/paths.py").read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [text for text in texts if text.startswith("/")]
