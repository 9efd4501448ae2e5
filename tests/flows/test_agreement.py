"""`dvc repro` and the flow cannot disagree: the same edits through both leave equal locks and run the same stages.

Two copies of the toy project; each edit is applied to both, one is then brought up to date by `dvc repro`, the other by
the flow. `--keep-going`, because the flow too goes on with stages that do not depend on a failed one.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.support.toy_project import dvc, make_toy, ran

pytestmark = [pytest.mark.slow, pytest.mark.server]


def param(**values) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "params.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))

    return edit


def stage(name: str, **values) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "dvc.yaml"
        graph = yaml.safe_load(path.read_text())
        graph["stages"][name].update(values)
        path.write_text(yaml.safe_dump(graph, sort_keys=False))

    return edit


def file(name: str, text: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / name
        path.unlink(missing_ok=True)  # an output may be a link into the cache
        path.write_text(text)

    return edit


def lost(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


class Edit(NamedTuple):
    why: str
    apply: Callable[[Path], object]
    runs: list[str]
    fails: bool = False


ALL = ["bench@base", "bench@tuned", "report", "rows", "train", "validate@rows"]
AFTER_TRAIN = ["bench@tuned", "report", "train"]
TWO_MODELS = {"tuned": "model.txt", "base": "data/rows.txt"}
EDITS = [
    Edit("the first run runs everything", lambda folder: None, ALL),
    Edit("no edit runs nothing", lambda folder: None, []),
    Edit("a parameter reruns its stage and what reads it", param(train=2), AFTER_TRAIN),
    Edit("a parameter put back is restored from the cache; the report alone has none", param(train=1), ["report"]),
    Edit(
        "a new model runs its own item and the report",
        param(models={**TWO_MODELS, "raw": "raw.txt"}),
        ["bench@raw", "report"],
    ),
    Edit("policy is no dependency", stage("train", meta={"prefect": {"retries": 1}}), []),
    Edit("a lost output comes back from the cache", lost("model.txt"), []),
    Edit("a tampered output is put right", file("data/rows.txt", "tampered\n"), []),
    Edit(
        "an upstream edit below a frozen stage stops there",
        lambda f: (stage("train", frozen=True)(f), param(rows=2)(f)),
        ["bench@base", "report", "rows", "validate@rows"],
    ),
    Edit("thawed, it catches up", stage("train", frozen=False), AFTER_TRAIN),
    Edit(
        "a changed command reruns its stage",
        stage("report", cmd="python stage.py report report.txt scores raw.txt"),
        ["report"],
    ),
    Edit(
        "an edited expectation reruns the gate and trains nothing",
        file("expectations.py", 'RULES = ["BROKEN", "WRONG"]\n'),
        ["validate@rows"],
    ),
    Edit(
        "a bad row stops at the gate",
        file("raw.txt", "first\nBROKEN\n"),
        ["bench@base", "bench@raw", "rows", "validate@rows"],
        fails=True,
    ),
    Edit(
        "a good row passes it",
        file("raw.txt", "first\nthird\n"),
        ["bench@base", "bench@raw", "bench@tuned", "report", "rows", "train", "validate@rows"],
    ),
    Edit(
        "a failing stage keeps what depends on it from running",
        param(fail="bench@tuned", bench=2),
        ["bench@base", "bench@raw", "bench@tuned"],
        fails=True,
    ),
    Edit("repaired, the rest runs", param(fail="none"), ["bench@base", "bench@raw", "bench@tuned", "report"]),
]


def by_flow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    from flows.pipeline import RunFailedError, video_r1

    monkeypatch.chdir(folder)
    try:
        video_r1()
    except RunFailedError:
        return False
    return True


def test_the_same_edits_leave_equal_locks_and_run_the_same_stages(tmp_path, monkeypatch, prefect_server):
    one, two = make_toy(tmp_path / "dvc"), make_toy(tmp_path / "flow")
    for edit in EDITS:
        edit.apply(one), edit.apply(two)
        with ThreadPoolExecutor(1) as aside:
            passed = aside.submit(dvc, one, "repro", "--keep-going")
            passed_by_flow = by_flow(two, monkeypatch)
        assert (passed.result().returncode == 0, passed_by_flow) == (not edit.fails, not edit.fails), edit.why
        assert (ran(one), ran(two)) == (edit.runs, edit.runs), edit.why
        locks = [yaml.safe_load((folder / "dvc.lock").read_text()) for folder in (one, two)]
        assert locks[0] == locks[1], edit.why
