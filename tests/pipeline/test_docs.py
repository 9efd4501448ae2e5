"""README, picture, Makefile and prefect.yaml name what is there."""

import re

import pytest
import yaml

from tests.support.graph import ROOT, raw_graph, stages
from tests.support.readme_results import REPORT, results, shown

README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TEXTS = "\n".join(page.read_text() for page in PAGES if page.name != "CHANGELOG.md")


@pytest.mark.parametrize("name", sorted(stages()))
def test_every_stage_is_in_the_picture(name):
    assert f">{name}<" in (ROOT / "docs/stages.svg").read_text()


def test_the_picture_shows_no_other_stage():
    drawn = set(re.findall(r">((?:validate|benchmark)@\w+)<", (ROOT / "docs/stages.svg").read_text()))
    assert drawn == {name for name in stages() if "@" in name}


@pytest.mark.parametrize("target", ["setup", "check", "quick", "test", "run", "rehearse", "clean"])
def test_make_has_the_target_and_readme_tells_it(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"make {target}" in README


COMMANDS = re.compile(r"python -m ((?:tasks|flows|measure|tests|examples)(?:\.\w+)+)")


@pytest.mark.parametrize("module", sorted(set(COMMANDS.findall(TEXTS))))
def test_every_module_that_the_docs_run_exists(module):
    path = ROOT.joinpath(*module.split("."))
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:profiles|docs|tests|tasks|measure|\.dvc)/[\w./-]+)`", TEXTS)))
)
def test_every_file_that_the_docs_name_exists(path):
    assert (ROOT / path).exists()


def test_deployments_aim_at_stages_of_the_graph():
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert [each["name"] for each in deployments] == ["full", "data", "train", "benchmark"]
    for each in deployments:
        assert set(each["parameters"].get("targets", [])) <= set(stages()) | set(raw_graph())
        assert f"`{each['name']}`" in (ROOT / "docs/orchestration.md").read_text()


def test_readme_shows_the_results_of_the_kept_run():
    """`python -m tests.support.readme_results` copies them."""
    assert shown(README) == results(REPORT.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_is_linked_from_the_readme():
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"](docs/{page.name})" not in README] == []
