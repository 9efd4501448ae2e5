"""The mini profiles: the same graph, each from the models that the stage world makes under its own name."""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from dvc.repo import Repo

from tasks import profile
from tasks.core.models.load import load_model, load_processor
from tasks.params import parse
from tests.support.graph import ROOT, covers, stages

MINI = ("mini", "mini_qwen3vl")
MODEL_MEGABYTES = 10.0
"""Most that the models of one architecture beside the default's may add to git."""


def text_of(name):
    return profile.text_of(name, ROOT / "profiles")


@pytest.fixture(params=MINI)
def mini(request):
    return parse(text_of(request.param), ROOT / f"profiles/{request.param}.yaml")


@pytest.mark.parametrize("name", MINI)
def test_the_graph_is_the_same_and_whole(name, tmp_path, monkeypatch):
    names = set(stages())  # DVC names a stage by its way from the working directory
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(text_of(name))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        graph = {stage.addressing: stage for stage in repo.index.graph}
        outs = {out.def_path for stage in graph.values() for out in stage.outs}
        deps = {dep.def_path for stage in graph.values() for dep in stage.deps}
    assert set(graph) == names
    given = ("tasks/", "data/raw", "data/benchmarks", "params.yaml")
    homeless = [
        dep
        for dep in deps
        if not dep.startswith(given) and not any(covers(out, dep) or covers(dep, out) for out in outs)
    ]
    assert homeless == []


def test_the_models_that_it_starts_from_are_shipped(mini):
    for folder in (mini.models["base"], mini.models["teacher"]):
        assert folder.startswith(f"models/{mini.world.name}/")
        assert mini.world.architecture == json.loads((ROOT / folder / "config.json").read_text())["model_type"]
        listed = subprocess.run(
            ["git", "ls-files", folder], cwd=ROOT, text=True, capture_output=True, check=True
        ).stdout.split()
        assert f"{folder}/model.safetensors" in listed
        weight = next(load_model(ROOT / folder, "auto", "cpu").parameters())
        assert str(weight.dtype) == f"torch.{mini.world.published_dtype}"
        side = load_processor(ROOT / folder).video_processor.patch_size * 4
        assert mini.video.min_pixels == mini.video.max_pixels == side**2
    saved = {skill.save_as for skill in mini.world.curriculum if skill.save_as is not None}
    assert saved == {path.name for path in (ROOT / "models" / mini.world.name).iterdir()}


def test_further_models_stay_small():
    folders = [path for path in (ROOT / "models").glob("world_*") if path.is_dir()]
    assert folders
    for folder in folders:
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= MODEL_MEGABYTES * 1e6


def test_the_profiles_differ_in_model_and_pixels_alone():
    mini, other = (dict(profile.leaves(yaml.safe_load(text_of(name)))) for name in MINI)
    differing = {place for place in mini.keys() | other.keys() if mini.get(place) != other.get(place)}
    assert all(re.match(r"models\.|start\.path|video\.m\w+_pixels|world\.", place) for place in differing), differing
