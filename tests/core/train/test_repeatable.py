"""Gradients by several threads are the same each time."""

import subprocess
import sys

import torch

from tasks.core.io.work import find_work
from tasks.core.train.runs import begin_training
from tests.support.graph import ROOT

SUMS = """
import torch
from tasks.core.train.repeatable import sum_in_order

sum_in_order()
torch.manual_seed(0)
values, index, gradient = torch.randn(300, 128), torch.randint(0, 300, (2000,)), torch.randn(2000, 128)
sums = set()
for _ in range(300):
    rows = values.clone().requires_grad_()
    rows[index].backward(gradient)
    sums.add(rows.grad.numpy().tobytes())
print(torch.get_num_threads(), len(sums))
"""


def test_rows_that_are_read_often_get_one_gradient_by_two_threads():
    """Without it 300 sums gave 248 results beside a busy process."""
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", SUMS], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "2 1\n", done.stdout + done.stderr[-2000:]


def test_training_begins_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before, filled = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    try:
        torch.use_deterministic_algorithms(False)
        begin_training(find_work(tmp_path / "work", "sft", {}, {"processes": 1, "length": "1 step"}))
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled
