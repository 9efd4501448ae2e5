"""The road from clips to report with every family, at its smallest: each stage as its command runs it, in one process.

`test_smoke.py` walks the same stages through DVC. Questions and media are made once; teacher and base are made for each
family (measure/smallest/models.py).
"""

import importlib
import json
import shutil
import sys

import pytest
import yaml

from measure.smallest import models
from tasks import paths
from tasks.core.io.jsonl import read_jsonl
from tasks.grpo import collect
from tests.support.families import FAMILIES, missing
from tests.support.graph import ROOT
from tests.support.grpo_stage import parity_score

pytestmark = pytest.mark.slow

MODELS = ("base", "teacher", "sft", "grpo")
FIRST = ("annotate", "validate cot", "filter", "validate sft", "sft")
LAST = (*(f"benchmark run {model}" for model in MODELS), "validate predictions", "report")


def run(command):
    """A stage as `python -m tasks.STAGE ..` runs it, by its exit code."""
    name, *words = command.split()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *words])
        assert not importlib.import_module(f"tasks.{name}.__main__").main(), command


def write_params(**changes):
    params = yaml.safe_load((ROOT / "measure/smallest/params.yaml").read_text())
    params["ingest"]["sources"][0]["rows"] = 36
    params["grpo"] |= {"save_steps": 1, "group": 3}
    for section, values in changes.items():
        params[section] |= values
    paths.PARAMS.write_text(yaml.safe_dump(params))


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """A project with its questions and media, which do not depend on the family."""
    folder = tmp_path_factory.mktemp("families")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "data/raw").mkdir(parents=True)
        (folder / "data/benchmarks").mkdir()
        write_params()
        run("ingest")
        run("validate records")
    return folder


@pytest.fixture(params=FAMILIES)
def project(request, ingested, tmp_path, monkeypatch):
    """A copy of it with two models of a family, as the working directory."""
    if (reason := missing(request.param)) is not None:
        pytest.skip(reason)
    folder = tmp_path / request.param
    shutil.copytree(ingested, folder)
    monkeypatch.chdir(folder)
    side = models.main(folder / "models/smoke", request.param)
    write_params(video={"min_pixels": side**2, "max_pixels": side**2})
    return request.param


def stop_after(monkeypatch, groups):
    """Make `parity_score` the reward, and end the run when more groups than these are scored."""
    asked = []

    def score(*arguments, **options):
        asked.append(arguments)
        if groups is not None and len(asked) > groups:
            raise KeyboardInterrupt
        return parity_score(*arguments, **options)

    monkeypatch.setattr(collect, "score_group", score)
    return asked


def test_from_clips_to_report_and_resumed_to_the_bit(project, monkeypatch):
    for stage in FIRST:
        run(stage)
    asked = stop_after(monkeypatch, None)
    run("grpo")
    whole = (paths.GRPO_MODEL / "model.safetensors").read_bytes()
    groups = len(asked)
    shutil.rmtree(paths.GRPO_MODEL)
    stop_after(monkeypatch, groups - 1)
    with pytest.raises(KeyboardInterrupt):
        run("grpo")
    again = stop_after(monkeypatch, None)
    run("grpo")
    assert 0 < len(again) < groups, "the second run went on from the first step"
    assert (paths.GRPO_MODEL / "model.safetensors").read_bytes() == whole
    assert (paths.SFT_MODEL / "model.safetensors").read_bytes() != whole
    for stage in LAST:
        run(stage)

    kept = json.loads(paths.metrics("filter").read_text())
    assert 0 < kept["kept"] < kept["rows"], "the rules keep some of the teacher's reasoning"
    assert len(read_jsonl(paths.GRPO_STEPS)) == 2
    for folder in (paths.SFT_MODEL, paths.GRPO_MODEL):
        assert json.loads((folder / "config.json").read_text())["model_type"] == project
    for model in MODELS:
        entries = json.loads(paths.metrics("benchmark", model).read_text())["entries"]
        told = [(entry["view"], entry["rows"] > 0, entry["errors"]) for entry in entries]
        assert told == [("no_video", True, {}), ("ordered", True, {}), ("shuffled", True, {})]
        assert f"| {model} |" in paths.REPORT_TABLES.read_text()
    assert "<html" in paths.REPORT_PAGE.read_text()
