"""Operations of a run, counted from the calls that it makes: matrix products, convolutions and attention.

Calls of PyTorch made in Python pass by here, in rollouts, scoring and losses alike, whatever the code path; what a
backward pass does is counted by PyTorch's dispatcher. A multiply and an add are two; fused attention is two products
forward and five backward, causal or not. Element-wise operations are left out.

PyTorch's counter alone would see all of it, at more than twice the time of a small model's step: it goes into every
operation, and most of them are not products. A test holds this count to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Operations(TorchFunctionMode):
    """What a block has taken so far."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        """Operations until now, without those of paused blocks."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make the call and count it."""
        if func is torch.Tensor.backward:
            with dispatcher_count() as counter:
                func(*args, **(kwargs or {}))
            self.total += counter.get_total_flops()
            return None
        result = func(*args, **(kwargs or {}))
        count = _RULES.get(func)
        if count is not None:
            self.total += count(result, *args, **(kwargs or {}))
        return result

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave a block out of the count."""
        before = self.total
        try:
            yield
        finally:
            self.total = before


def dispatcher_count() -> FlopCounterMode:
    """PyTorch's counter, told of the fused attention of a processor, which it does not know."""
    return FlopCounterMode(display=False, custom_mapping={FUSED: _fused, FUSED_BACKWARD: _fused_backward})


def _fused(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return sdpa_flop_count(query, _repeated(key, query), _repeated(value, query))


def _fused_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, _repeated(key, query), _repeated(value, query))


def _repeated(shape: Any, query: Any) -> tuple[int, ...]:
    """Shape (batch, heads, tokens, size) of keys or values with as many heads as the queries that share them."""
    return (shape[0], query[1], *shape[2:])


def _product(result: torch.Tensor, left: Any, right: Any, *_: Any, **__: Any) -> int:
    return 2 * result.numel() * left.shape[-1]


def _added_product(result: torch.Tensor, _: Any, left: Any, right: Any, **__: Any) -> int:
    return 2 * result.numel() * left.shape[-1]


def _convolution(result: torch.Tensor, value: Any, weight: Any, *_: Any, **__: Any) -> int:
    return 2 * result.numel() * weight[0].numel()


def _attention(_: Any, query: Any, key: Any, value: Any, *__: Any, **___: Any) -> int:
    return _fused(query.shape, key.shape, value.shape)


_RULES: dict[Any, Callable[..., int]] = {
    torch.nn.functional.linear: _product,
    **dict.fromkeys((torch.matmul, torch.mm, torch.bmm), _product),
    **dict.fromkeys((torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.mm, torch.Tensor.bmm), _product),
    **dict.fromkeys((torch.addmm, torch.Tensor.addmm, torch.Tensor.addmm_), _added_product),
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), _convolution),
    torch.nn.functional.scaled_dot_product_attention: _attention,
    FUSED: _attention,
}


@contextmanager
def counted() -> Iterator[Operations]:
    """Count the operations of a block; the count can be read while it goes on."""
    with Operations() as spent:
        yield spent
