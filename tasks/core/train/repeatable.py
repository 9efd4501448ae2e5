"""Training on a processor that gives the same weights each time, also by several threads.

Where several rows read one row of a tensor (`x[index]`), PyTorch's backward adds their gradients from all threads at
once, in the order in which they come (`aten/src/ATen/native/cpu/IndexKernel.cpp`, `cpu_atomic_add_float`). A sum rounds
by its order: how busy the machine is would show in the weights. Asked for deterministic algorithms it adds in one.
"""

from __future__ import annotations

import torch


def sum_in_order() -> None:
    """Let this process add in one order, if it trains on a processor.

    On a GPU nothing is asked for: equal bytes are not claimed there, and some of its kernels have no such form. An
    operation without one warns here, and does as before.
    """
    if torch.cuda.is_available():
        return
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Else every new tensor is filled with not-a-number first, which costs time and finds what no kernel here does.
    torch.utils.deterministic.fill_uninitialized_memory = False
