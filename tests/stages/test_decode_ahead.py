"""Stages that ask a model, with clips decoded ahead: their answers are those without."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks import paths
from tasks.annotate import __main__ as annotate
from tasks.benchmark import __main__ as benchmark
from tasks.benchmark import log
from tasks.core.video import open as open_module
from tests.support import benchmark_runs
from tests.support import benchmark_trees as trees
from tests.support.infer_project import FakeEngine, make_project


@pytest.mark.parametrize(
    ("stage", "argv", "written"),
    [
        (annotate, ["annotate"], lambda: [pq.read_table(paths.COT).to_pylist(), paths.metrics("annotate").read_text()]),
        (benchmark, ["benchmark", "run", "base"], lambda: answers(paths.answers("base"))),
    ],
    ids=["annotate", "benchmark"],
)
def test_answers_are_the_same_with_workers(tmp_path, tiny_model, monkeypatch, stage, argv, written):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", argv)
    monkeypatch.setattr(stage, "open_engine", lambda **_: FakeEngine())
    make_project(tmp_path, tiny_model)
    text, found = paths.PARAMS.read_text(), []
    for workers in (0, 2):
        params = json.dumps({"frames": 4, "min_frames": 2, "decode_workers": workers, "disk_cache_gb": 0})
        paths.PARAMS.write_text("".join([text[: text.index("video:")], f"video: {params}\n"]))
        stage.main()
        found.append(written())
        shutil.rmtree(paths.ANSWERS, ignore_errors=True)
    assert found[0] == found[1]


def answers(folder):
    """Rows of a model's logs."""
    return [row for path in log.logs_in(folder) for row in log.read(path).values()]


@pytest.mark.slow
def test_public_benchmarks_are_answered_the_same_with_workers_and_cached_frames(tmp_path, monkeypatch):
    """A missing and a broken clip among them; folders of pictures are never cached."""
    monkeypatch.chdir(tmp_path)
    trees.annotate(tmp_path / "annotations")
    trees.render(tmp_path / "annotations", tmp_path / "media")
    read, inner = [], open_module.guarded

    def counted(function, path, *args, **options):
        read.append(str(path))
        return inner(function, path, *args, **options)

    monkeypatch.setattr(open_module, "guarded", counted)
    found, decoded = [], []
    for number, changes in enumerate([(0, 0.0), (2, 0.0), (2, 1.0), (2, 1.0)]):
        folder = tmp_path / f"logs {number}"
        settings = dict(zip(("decode_workers", "disk_cache_gb"), changes, strict=True))
        made, _ = benchmark_runs.benchmark(benchmark_runs.opened(tmp_path), folder, **settings)
        found.append((made.entries, answers(folder)))
        decoded.append({path for path in read if not path.endswith(trees.BROKEN) and not Path(path).is_dir()})
        read.clear()
    assert found[0] == found[1] == found[2] == found[3]
    assert decoded[0] == decoded[1] == decoded[2] != set() and not decoded[3]
