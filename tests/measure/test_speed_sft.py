"""The SFT benchmark: what its table says, and that every path runs over the same tokens."""

import argparse

import pytest

from measure.speed.sft import PATHS, Cost, measure, render, table
from tests.support.training_project import make_project


def found(tokens, padding, update, peak):
    seconds = {"collate": 0.2, "update": update}
    return Cost(2, tokens, padding, {"wall": seconds, "processor": {"collate": 9.0, "update": 9.0}}, peak)


def test_the_table_compares_with_the_padded_path():
    options = argparse.Namespace(clock="wall", threads=1, device="cpu", rows=8, turns=3)
    measured = dict(
        zip(PATHS, [found(1000, 250, 2.8, 200.0), found(800, 50, 2.8, 200.0), found(750, 0, 1.0, 100.0)], strict=True)
    )
    text = table(measured, options)
    assert "| padded | 500 | 25.0% | 100.0 | 1400.0 | 1500.0 | 200 | 1.00x | 1.00x |" in text
    assert "| padding-free | 375 | 0.0% | 100.0 | 500.0 | 600.0 | 100 | 2.50x | 0.50x |" in text
    assert text.endswith("\nsft step: 2.5x padded\n")


@pytest.mark.slow
def test_every_path_runs_over_the_same_rows(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model)
    (tmp_path / "clips").mkdir()
    render(tmp_path / "clips", 16)
    seen = {name: measure(name, str(tmp_path / "clips"), 1, "cpu") for name in PATHS}
    assert [one.steps for one in seen.values()] == [8, 8, 8]
    real = {name: one.tokens - one.padding for name, one in seen.items()}
    # The last token of a row predicts nothing and is left out.
    assert real["padded"] == real["grouped by length"] == real["padding-free"] + 16
    assert seen["padding-free"].padding == 0 < seen["grouped by length"].padding < seen["padded"].padding
    assert all(one.seconds["wall"]["update"] > 0 for one in seen.values())
