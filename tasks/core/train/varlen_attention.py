"""Attention on a GPU without masks: FlashAttention's variable-length kernel over stretches of one row.

Packed rows (`packing.py`) take three calls: prompts against themselves, causally; completions against themselves,
causally; completions against their prompt. The last two are merged by their log-sum-exp, and the merged result and
log-sum-exp give each call's share of the gradient (`split_attention.py` does the same on a CPU):

    out = (exp(a) * out_prompt + exp(b) * out_own) / (exp(a) + exp(b))        a, b: log-sum-exp of the two scores

A vision encoder whose attention ends at windows takes one call for all windows, where SDPA takes one for each.

Tensors are (tokens, heads, size) in float16 or bfloat16; the kernel reads fewer key heads than query heads as groups.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tasks.core.train.packing import Layout

ENCODER = "flash_varlen_windows"
"""Name for transformers, which hands the bounds of windows to implementations with `flash` in their name."""
LARGEST_HEAD = 256
"""Head size up to which the kernel goes; sizes are multiples of 8."""


class Stretches(NamedTuple):
    """Consecutive stretches of a row: stretch i is tokens bounds[i] to bounds[i + 1]."""

    bounds: torch.Tensor
    """(S + 1,) int32, ascending from 0; stretches may be empty."""
    longest: int


class Bounds(NamedTuple):
    """Stretches of a packed row, made once and read by every layer."""

    prompts: Stretches
    """The P prompts, counted from the row's start."""
    completions: Stretches
    """Every completion, counted from where completions begin."""
    groups: Stretches
    """All completions of each of the P prompts, counted likewise."""


class Kernel(NamedTuple):
    """What computes attention over stretches of queries against the stretches of keys of the same number."""

    forward: Callable[..., tuple[torch.Tensor, torch.Tensor]]
    """(query, key, value, asked, seen, causal, scale) to result (T, h, d) and log-sum-exp (h, T) float32."""
    backward: Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
    """(grad, query, key, value, result, log-sum-exp, asked, seen, causal, scale) to the three gradients."""


def runs_on(value: torch.Tensor) -> bool:
    """Whether the kernel takes tensors like this one, heads of its last dimension's size."""
    size = value.shape[-1]
    return value.is_cuda and value.dtype in (torch.float16, torch.bfloat16) and size <= LARGEST_HEAD and size % 8 == 0


def bounds(layout: Layout, device: torch.device) -> Bounds:
    """Bounds of a packed row's prompts, completions and groups; kept for the layers that ask for the same again."""
    return _bounds(tuple(layout.prompts), tuple(map(tuple, layout.completions)), device)


def attend_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    scale: float | None,
    kernel: Kernel | None = None,
) -> torch.Tensor:
    """Attention (1, N, heads, d) over a packed row.

    Args:
        query: (1, heads, N, d), likewise key and value with as many or fewer heads.
        key: see query.
        value: see query.
        layout: of the row.
        scale: of the scores; None is one over the root of d.
        kernel: FlashAttention where it is None.
    """
    rows = (t[0].transpose(0, 1) for t in (query, key, value))
    where = bounds(layout, query.device)
    result: torch.Tensor = _Packed.apply(*rows, layout.prompt_tokens, where, scale, kernel or FLASH)
    return result.unsqueeze(0)


def use_varlen_encoder(visual: Any) -> None:
    """Let a vision encoder attend to all its windows in one call; elsewhere than on a GPU in half precision as before.

    Args:
        visual: an encoder of transformers that gives window bounds to flash attention; changed in place.
    """
    if visual.config._attn_implementation == "sdpa":
        AttentionInterface.register(ENCODER, windowed_attention)
        visual.config._attn_implementation = ENCODER


def windowed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention function for transformers: each window of a row against itself, (1, h, N, d) to (1, N, h, d)."""
    scale = options.get("scaling")
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotation may leave float32 under autocast
    # A view of the joint projection would keep all three thirds of it for the backward pass.
    value = value.contiguous()
    if runs_on(query):
        from torch.nn.attention.varlen import varlen_attn

        rows = (t[0].transpose(0, 1).contiguous() for t in (query, key, value))
        cuts = cu_seq_lens_q.to(torch.int32)
        return varlen_attn(*rows, cuts, cuts, max_length_q, max_length_q, scale=scale).unsqueeze(0), None
    lengths = cu_seq_lens_q.diff().tolist()
    windows = zip(*(t.split(lengths, dim=2) for t in (query, key, value)), strict=True)
    parts = [sdpa_attention_forward(module, *window, None, scaling=scale, is_causal=False)[0] for window in windows]
    return torch.cat(parts, dim=1), None


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        edge: int,
        where: Bounds,
        scale: float | None,
        kernel: Kernel,
    ) -> torch.Tensor:
        result = torch.empty_like(query, memory_format=torch.contiguous_format)
        prompt, completion = slice(None, edge), slice(edge, None)
        p, k, v = query[prompt], key[prompt], value[prompt]
        result[prompt], prompt_lse = kernel.forward(p, k, v, where.prompts, where.prompts, True, scale)
        lse = prompt_lse
        if len(query) > edge:
            q = query[completion]
            own = where.completions
            out, own_lse = kernel.forward(q, key[completion], value[completion], own, own, True, scale)
            seen, seen_lse = kernel.forward(q, k, v, where.groups, where.prompts, False, scale)
            both = torch.logaddexp(own_lse, seen_lse)
            # out_own + w * (out_prompt - out_own), w = exp(lse_prompt - lse)
            weight = (seen_lse - both).exp().to(out.dtype).T.unsqueeze(-1)
            result[completion] = torch.lerp(out, seen, weight)
            lse = torch.cat([prompt_lse, both], dim=1)
        ctx.save_for_backward(query, key, value, result, lse)
        ctx.edge, ctx.where, ctx.scale, ctx.kernel = edge, where, scale, kernel
        return result

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        query, key, value, result, lse = ctx.saved_tensors
        where, edge = ctx.where, ctx.edge
        prompt, completion = slice(None, edge), slice(edge, None)
        grad = grad.contiguous()
        grads = tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in (query, key, value))

        def share(rows: slice, seen: slice, asked: Stretches, kept: Stretches, causal: bool) -> Any:
            """Gradients of queries, keys and values of one call, given the merged result and log-sum-exp."""
            at = lse[:, rows].contiguous()
            parts = (grad[rows], query[rows], key[seen], value[seen], result[rows], at)
            return ctx.kernel.backward(*parts, asked, kept, causal, ctx.scale)

        for total, part in zip(grads, share(prompt, prompt, where.prompts, where.prompts, True), strict=True):
            total[prompt] = part
        if len(query) > edge:
            for total, part in zip(
                grads, share(completion, completion, where.completions, where.completions, True), strict=True
            ):
                total[completion] = part
            read = share(completion, prompt, where.groups, where.prompts, False)
            for total, part, place in zip(grads, read, (completion, prompt, prompt), strict=True):
                total[place] += part
        return *grads, None, None, None, None


@lru_cache(maxsize=8)
def _bounds(prompts: tuple[int, ...], completions: tuple[tuple[int, ...], ...], device: torch.device) -> Bounds:
    lengths = (prompts, tuple(itertools.chain.from_iterable(completions)), tuple(map(sum, completions)))
    return Bounds(*(_stretches(each, device) for each in lengths))


def _stretches(lengths: tuple[int, ...], device: torch.device) -> Stretches:
    ends = list(itertools.accumulate(lengths, initial=0))
    return Stretches(torch.tensor(ends, dtype=torch.int32, device=device), max(lengths, default=0))


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    asked: Stretches,
    seen: Stretches,
    causal: bool,
    scale: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    cuts = (asked.bounds, seen.bounds, asked.longest, seen.longest)
    rows = (t.contiguous() for t in (query, key, value))
    out, lse, *_ = torch.ops.aten._flash_attention_forward(*rows, *cuts, 0.0, causal, False, scale=scale)
    return out, lse


def _flash_backward(
    grad: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    asked: Stretches,
    seen: Stretches,
    causal: bool,
    scale: float | None,
) -> Any:
    cuts = (asked.bounds, seen.bounds, asked.longest, seen.longest)
    rows = (t.contiguous() for t in (grad, query, key, value, out))
    # The state of dropout's random numbers, of which none are drawn.
    state = torch.zeros(2, dtype=torch.uint64, device=query.device)
    unused = torch.empty(0, device=query.device)
    return torch.ops.aten._flash_attention_backward(*rows, lse, *cuts, 0.0, causal, state, unused, scale=scale)


FLASH = Kernel(_flash, _flash_backward)
