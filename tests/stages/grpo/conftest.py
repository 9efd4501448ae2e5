"""A policy to train, and a reward that it can earn."""

import pytest

from tasks.grpo import collect
from tests.support.grpo_stage import Stage, parity_score


@pytest.fixture
def stage(tiny_model, make_clip):
    return Stage(tiny_model, make_clip)


@pytest.fixture
def scored_by_parity(monkeypatch):
    """Accuracy that a random model can earn."""
    monkeypatch.setattr(collect, "score_group", parity_score)
