"""README, picture, Makefile and prefect.yaml name what is there."""

import re

import pytest
import yaml

from tests.support.graph import ROOT, raw_graph, stages

README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(stages()))
def test_every_stage_is_in_the_picture(name):
    assert f">{name}<" in (ROOT / "docs/stages.svg").read_text()


def test_the_picture_shows_no_other_stage():
    drawn = set(re.findall(r">((?:validate|benchmark)@\w+)<", (ROOT / "docs/stages.svg").read_text()))
    assert drawn == {name for name in stages() if "@" in name}


@pytest.mark.parametrize("target", ["setup", "check", "quick", "test", "run", "clean"])
def test_make_has_the_target_and_readme_tells_it(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"make {target}" in README


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ((?:tasks|flows)\.\w+)", README))))
def test_every_module_that_readme_runs_exists(module):
    path = ROOT.joinpath(*module.split("."))
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:profiles|docs|tests|tasks|requirements|\.dvc)/[\w./-]+)`", README)))
)
def test_every_file_that_readme_names_exists(path):
    assert (ROOT / path).exists()


def test_deployments_aim_at_stages_of_the_graph():
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert [each["name"] for each in deployments] == ["full", "data", "train", "benchmark"]
    for each in deployments:
        assert set(each["parameters"].get("targets", [])) <= set(stages()) | set(raw_graph())
        assert f"`{each['name']}`" in README
