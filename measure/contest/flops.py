"""Operations of a run, counted from the calls that it makes: matrix products, convolutions and attention.

PyTorch's counter sees every operation that reaches the dispatcher, in rollouts, scoring, losses and backward passes
alike, whatever the code path; a multiply and an add are two. It does not know the fused attention of a processor, which
is counted here by the same rules as that of a GPU: two products forward, five backward, causal or not. Element-wise
operations are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

_FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Operations:
    """What a block has taken so far."""

    def __init__(self, counter: FlopCounterMode) -> None:
        self._counter, self._apart = counter, 0

    @property
    def total(self) -> int:
        """Operations until now, without those of paused blocks."""
        return self._counter.get_total_flops() - self._apart

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave a block out of the count."""
        before = self._counter.get_total_flops()
        try:
            yield
        finally:
            self._apart += self._counter.get_total_flops() - before


@contextmanager
def counted() -> Iterator[Operations]:
    """Count the operations of a block; the count can be read while it goes on."""
    counter = FlopCounterMode(display=False, custom_mapping={_FORWARD: _forward, _BACKWARD: _backward})
    with counter:
        yield Operations(counter)


def _forward(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return sdpa_flop_count(query, _repeated(key, query), _repeated(value, query))


def _backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, _repeated(key, query), _repeated(value, query))


def _repeated(shape: Any, query: Any) -> tuple[int, ...]:
    """Shape (batch, heads, tokens, size) of keys or values with as many heads as the queries that share them."""
    return (shape[0], query[1], *shape[2:])
