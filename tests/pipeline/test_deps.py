"""DVC sees only what dvc.yaml names: every first-party file that a stage may import must be one of its deps."""

import ast

import pytest

from tasks.params import Video
from tests.support.graph import ROOT, covers, reached, sections_read, stages

# What a stage imports and need not depend on. What of it decides a result reaches DVC in another way, and as deps these
# files would rerun everything at every edit.
SPINE = {
    "tasks/__init__.py": "environment defaults: offline, quiet",
    "tasks/core/__init__.py": "a docstring",
    "tasks/core/schemas/__init__.py": "a docstring; the modules beside it are deps one by one",
    "tasks/params": "the values a stage reads are its params deps",
    "tasks/grpo/__init__.py": "a docstring",
    "tasks/grpo/objectives": "values to all who read params; the stage grpo, which they pay in, depends on them",
    "tasks/paths.py": "the paths a stage reads and writes are its deps and outs (test_paths.py)",
    "tasks/launch.py": "where a stage runs is not what it computes",
}
# Sections that reach a stage as the paths of its deps.
BY_PATH = {"models", "data_root"}
NAMES = sorted(stages())


@pytest.mark.parametrize("name", NAMES)
def test_deps_cover_every_import(name):
    stage = stages()[name]
    files = {path for path in reached(stage.package) if not any(covers(dep, path) for dep in SPINE)}
    assert f"tasks/{stage.package}/__main__.py" in files, "the stage has an entry point"
    missing = sorted(path for path in files if not any(covers(dep, path) for dep in stage.deps))
    assert missing == [], f"dvc.yaml: {name}: imported, but no dep holds it"


def test_grpo_depends_on_its_objectives():
    assert any(covers(dep, "tasks/grpo/objectives/base.py") for dep in stages()["grpo"].deps)


@pytest.mark.parametrize("name", NAMES)
def test_no_code_dep_is_idle(name):
    stage = stages()[name]
    files = reached(stage.package)
    code = {dep for dep in stage.deps if dep.startswith(("tasks/", "flows/"))}
    idle = sorted(dep for dep in code if not any(covers(dep, path) for path in files))
    assert idle == [], f"dvc.yaml: {name}: nothing in it is imported"
    assert all((ROOT / dep).exists() for dep in code)


@pytest.mark.parametrize("name", NAMES)
def test_params_are_the_sections_that_the_stage_reads(name):
    stage = stages()[name]
    assert {key.partition(".")[0] for key in stage.params} - BY_PATH == sections_read(stage.package) - BY_PATH


@pytest.mark.parametrize("name", [name for name in NAMES if "video" in sections_read(stages()[name].package)])
def test_a_stage_depends_on_what_decides_pixels_and_not_on_how_they_are_come_by(name):
    named = {key.partition(".")[2] for key in stages()[name].params if key.startswith("video")}
    assert named == set(Video().sampling())


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("validate@")])
def test_an_edited_expectation_reruns_gates_only(name):
    deps = stages()[name].deps
    assert not [
        dep
        for dep in deps
        if covers(dep, "tasks/core/schemas/expectations.py") or covers(dep, "tasks/core/schemas/gx.py")
    ]


@pytest.mark.parametrize("path", [path for path, why in SPINE.items() if why.startswith("a docstring")])
def test_what_is_left_out_as_a_docstring_is_one(path):
    [only] = ast.parse((ROOT / path).read_text()).body
    assert isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant)


PACKAGES = sorted(path.parent.name for path in (ROOT / "tasks").glob("*/__main__.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_holds_only_what_its_command_imports(package):
    held = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tasks" / package).rglob("*.py")}
    assert held - reached(package) == set(), "would rerun the stage, and is not imported by it"
