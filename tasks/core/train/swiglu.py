"""A block's second norm and its SwiGLU MLP as one operation that keeps its input alone, slice of tokens by slice.

The backward pass repeats norm, gate and up projection of a slice and uses them at once, so that nothing of the MLP's
width ever exists for more than a slice. That also spares the allocator: glibc fills the hole of a freed aligned block
with smaller ones alone, so that large intermediates grow the heap even where they do not outlive the operation.

    n = w * x / rms(x)        y = (silu(n G + g) * (n U + u)) D + d
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear, silu
from transformers.activations import SiLUActivation

SLICE = 1024
"""Tokens; long enough that matrix products run at full speed."""


def fits(norm: Any, mlp: Any, value: torch.Tensor) -> bool:
    """Whether `normed_swiglu` stands for norm and MLP here: float32 on a CPU, plain projections, no autocast."""
    if not is_swiglu(norm, mlp):
        return False
    parts = (norm, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
    return (
        value.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and all(type(part) is torch.nn.Linear for part in parts[1:])
        # Sharded weights are gathered by hooks that only a call of the module runs.
        and not any(part._forward_pre_hooks or part._forward_hooks for part in parts)
        and all(part.weight.dtype == value.dtype == torch.float32 for part in parts)
        and isinstance(mlp.act_fn, SiLUActivation)
    )


def is_swiglu(norm: Any, mlp: Any) -> bool:
    """Whether norm and MLP are of the form above; a norm that scales by one plus its weight is not."""
    return (
        all(hasattr(mlp, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn"))
        and hasattr(norm, "variance_epsilon")
        and list(dict(norm.named_parameters())) == ["weight"]
    )


def normed_swiglu(norm: Any, mlp: Any, value: torch.Tensor) -> torch.Tensor:
    """MLP of the normed value.

    Args:
        norm: an RMS norm that scales by its weight.
        mlp: gate, up and down projection, with or without biases.
        value: (..., hidden).

    Returns:
        (..., hidden).
    """
    weights = [w for part in (mlp.gate_proj, mlp.up_proj, mlp.down_proj) for w in (part.weight, part.bias)]
    return _NormedSwiGLU.apply(value, norm.variance_epsilon, norm.weight, *weights)


class _NormedSwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, value: torch.Tensor, epsilon: float, norm: torch.Tensor, *weights: torch.Tensor | None
    ) -> torch.Tensor:
        gate, gate_bias, up, up_bias, down, down_bias = weights
        rows = value.reshape(-1, value.shape[-1])
        out = torch.empty_like(rows)
        for part, x in zip(out.split(SLICE), rows.split(SLICE), strict=True):
            normed = _unit(x, epsilon)[0] * norm
            opened = silu(linear(normed, gate, gate_bias), inplace=True).mul_(linear(normed, up, up_bias))
            part.copy_(linear(opened, down, down_bias))
        ctx.save_for_backward(value, norm, *weights)
        ctx.epsilon = epsilon
        return out.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        value, norm, *weights = ctx.saved_tensors
        gate, gate_bias, up, up_bias, down, _ = weights
        rows, grads = (t.reshape(-1, t.shape[-1]) for t in (value, grad))
        grad_value = torch.empty_like(rows)
        totals = [
            torch.zeros_like(w) if wanted else None
            for w, wanted in zip((norm, *weights), ctx.needs_input_grad[2:], strict=True)
        ]
        for place, x, dy in zip(grad_value.split(SLICE), rows.split(SLICE), grads.split(SLICE), strict=True):
            unit, inverse = _unit(x, ctx.epsilon)
            normed = unit * norm
            gated, raised = linear(normed, gate, gate_bias), linear(normed, up, up_bias)
            opened, back = silu(gated), dy @ down
            grad_up = back * opened
            grad_gate = torch.ops.aten.silu_backward(back.mul_(raised), gated)
            grad_normed = (grad_gate @ gate).addmm_(grad_up, up)
            products = ((grad_gate, normed), (grad_up, normed), (dy, opened.mul_(raised)))
            for (left, right), weight, bias in zip(products, totals[1::2], totals[2::2], strict=True):
                if weight is not None:
                    weight.addmm_(left.T, right)
                if bias is not None:
                    bias += left.sum(0)
            if totals[0] is not None:
                totals[0] += (grad_normed * unit).sum(0)
            turned = grad_normed.mul_(norm)
            place.copy_(turned.sub_(unit.mul_((turned * unit).mean(-1, keepdim=True))).mul_(inverse))
        return grad_value.view_as(value), None, *totals


def _unit(x: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows over their root mean square, and one over it (T, 1)."""
    inverse = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)
    return x * inverse, inverse
