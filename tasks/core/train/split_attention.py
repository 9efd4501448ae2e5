"""Attention over a packed row (`packing.py`), split so that nothing masked is computed.

A prompt attends to itself, causally. A token of a completion attends to its prompt and, causally, to its completion:

    out = (exp(a) * out_prompt + exp(b) * out_own) / (exp(a) + exp(b))        a, b: log-sum-exp of the two scores

On the CPU both parts run in PyTorch's fused kernel, which gives the log-sum-exp. Its backward needs of the forward only
the result and the log-sum-exp; given the merged ones, it computes each part's share of the gradient
(as in ring attention, Liu et al. 2023, arXiv 2310.01889). On a GPU in half precision `varlen_attention.py` does the
same by FlashAttention. On other devices, or if `varlen` is off, completions attend to [prompt, completions] under a
mask.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tasks.core.train.packing import Layout
from tasks.core.train.varlen_attention import attend_varlen, runs_on

NAME = "shared_prefix"
MASKED = "shared_prefix_masked"
"""The same without FlashAttention."""
fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""PyTorch's kernel: result and log-sum-exp."""
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def shared_prefix_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    shared_prefix: Layout | None = None,
    completion_cache: Any = None,
    varlen: bool = True,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention function for transformers: a packed row, completions being sampled, otherwise plain SDPA.

    Args:
        module: the attention layer.
        query: (1, heads, N, d).
        key: (1, key heads, N, d).
        value: (1, key heads, N, d).
        attention_mask: of an ordinary batch; a packed row has none.
        shared_prefix: layout of a packed row.
        completion_cache: a `CompletionCache`, which computes attention itself.
        varlen: whether a packed row may go through FlashAttention, where that runs.
        options: scaling, dropout and what else transformers passes on.

    Returns:
        (1, N, heads, d), and no weights.
    """
    if shared_prefix is None and completion_cache is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    # Rotation leaves float32 under autocast, which knows SDPA but not its kernel.
    query, key = query.to(value.dtype), key.to(value.dtype)
    scale = options.get("scaling")
    if completion_cache is not None:
        return completion_cache.attend(module.layer_idx, query, key, value, scale), None
    assert shared_prefix is not None
    if varlen and runs_on(query):
        return attend_varlen(query, key, value, shared_prefix, scale), None
    return attend(query, key, value, shared_prefix, scale, merge=query.device.type == "cpu"), None


def register() -> None:
    """Make `shared_prefix_attention` known to transformers under both names; ordinary batches get SDPA's masks."""
    for name, function in ((NAME, shared_prefix_attention), (MASKED, partial(shared_prefix_attention, varlen=False))):
        AttentionInterface.register(name, function)
        AttentionMaskInterface.register(name, sdpa_mask)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, scale: float | None, merge: bool
) -> torch.Tensor:
    """Attention (1, N, heads, d) over a packed row; `merge` takes the two-part kernel, which only the CPU has."""
    if merge:
        return _Split.apply(query, key, value, layout, scale)
    edge = layout.prompt_tokens
    (q, qa), (k, ka), (v, va) = (t.split([edge, layout.completion_tokens], dim=2) for t in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    parts = [
        scaled_dot_product_attention(asked, seen, kept, is_causal=True, scale=scale, enable_gqa=grouped)
        for asked, seen, kept in zip(*(t.split(layout.prompts, dim=2) for t in (q, k, v)), strict=True)
    ]
    if layout.completion_tokens:
        parts.append(_masked(qa, ka, va, k, v, layout, scale))
    return torch.cat(parts, dim=2).transpose(1, 2)


def own_mask(lengths: list[int], prompt: int, device: torch.device | None = None) -> torch.Tensor:
    """(T, prompt + T) bool: the T tokens of a prompt's completions see the prompt and their own completion so far.

    prompt of 2, completions of 2 and 1:   1 1 | 1 0 0
                                       1 1 | 1 1 0
                                       1 1 | 0 0 1
    """
    completion = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(device)
    own = (completion.unsqueeze(1) == completion.unsqueeze(0)).tril()
    return pad(own, (prompt, 0), value=True)


def _masked(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    prompt_key: torch.Tensor,
    prompt_value: torch.Tensor,
    layout: Layout,
    scale: float | None,
) -> torch.Tensor:
    """Completions against [prompt, completions] of their group by one masked call each."""
    counts = [sum(lengths) for lengths in layout.completions]
    parts = zip(
        layout.completions,
        query.split(counts, dim=2),
        key.split(counts, dim=2),
        value.split(counts, dim=2),
        prompt_key.split(layout.prompts, dim=2),
        prompt_value.split(layout.prompts, dim=2),
        strict=True,
    )
    repeats = query.shape[1] // key.shape[1]
    outputs = []
    for lengths, q, k, v, pk, pv in parts:
        if not sum(lengths):
            continue
        keys, values = (repeat_kv(torch.cat(pair, dim=2), repeats) for pair in ((pk, k), (pv, v)))
        mask = own_mask(lengths, pk.shape[2], query.device)
        outputs.append(scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=scale))
    return torch.cat(outputs, dim=2)


class _Split(torch.autograd.Function):
    """Prompts against themselves; completions against their prompt and against themselves, merged by log-sum-exp.

    Nothing is expanded or masked, and the result is written once, as the next layer reads it.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, scale: float | None
    ) -> torch.Tensor:
        _, heads, total, size = query.shape
        result = query.new_empty(1, total, heads, size)
        out, lse = result.transpose(1, 2), query.new_empty(1, heads, total, 1, dtype=torch.float32)
        for prompt, _ in _spans(layout):
            parts = (t[:, :, prompt] for t in (query, key, value))
            out[:, :, prompt], seen_lse = fused(*parts, is_causal=True, scale=scale)
            lse[:, :, prompt] = seen_lse.unsqueeze(-1)
        if layout.completion_tokens:
            every = slice(layout.prompt_tokens, None)
            own, own_lse = fused(
                *(_apart(t[:, :, every], layout) for t in (query, key, value)), is_causal=True, scale=scale
            )
            out[:, :, every], lse[:, :, every] = _joined(own, layout), _joined(own_lse.unsqueeze(-1), layout)
        for prompt, completions in _spans(layout):
            if completions.start == completions.stop:
                continue
            seen, seen_lse = fused(query[:, :, completions], key[:, :, prompt], value[:, :, prompt], scale=scale)
            part = lse[:, :, completions]
            both = torch.logaddexp(part, seen_lse.unsqueeze(-1))
            # out_own + w * (out_prompt - out_own), w = exp(lse_prompt - lse)
            weight = (seen_lse.unsqueeze(-1) - both).exp().to(seen.dtype)
            out[:, :, completions] = torch.lerp(out[:, :, completions], seen, weight)
            lse[:, :, completions] = both
        ctx.save_for_backward(query, key, value, result, lse)
        ctx.layout, ctx.scale = layout, scale
        return result

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        query, key, value, result, lse = ctx.saved_tensors
        layout, scale = ctx.layout, ctx.scale
        grad, out = grad.contiguous().transpose(1, 2), result.transpose(1, 2)
        grads = tuple(torch.empty_like(t) for t in (query, key, value))

        def share(asked: slice, seen: slice, causal: bool) -> Any:
            """Gradients of queries, keys and values of one part, given the merged result and log-sum-exp."""
            q, k, v = query[:, :, asked], key[:, :, seen], value[:, :, seen]
            at = lse[:, :, asked].squeeze(-1)
            return _backward(grad[:, :, asked], q, k, v, out[:, :, asked], at, 0.0, causal, scale=scale)

        for prompt, _ in _spans(layout):
            for total, part in zip(grads, share(prompt, prompt, True), strict=True):
                total[:, :, prompt] = part
        if layout.completion_tokens:
            every = slice(layout.prompt_tokens, None)
            apart = [_apart(t[:, :, every], layout) for t in (grad, query, key, value, out, lse)]
            own = _backward(*apart[:5], apart[5].squeeze(-1), 0.0, True, scale=scale)
            for total, part in zip(grads, own, strict=True):
                total[:, :, every] = _joined(part, layout)
        for prompt, completions in _spans(layout):
            if completions.start == completions.stop:
                continue
            for total, part, place in zip(
                grads, share(completions, prompt, False), (completions, prompt, prompt), strict=True
            ):
                total[:, :, place] += part
        return *grads, None, None


def _spans(layout: Layout) -> list[tuple[slice, slice]]:
    """Where each prompt and all its completions lie in the row; the second may be empty."""
    spans = []
    prompt_start, start = 0, layout.prompt_tokens
    for prompt, lengths in zip(layout.prompts, layout.completions, strict=True):
        count = sum(lengths)
        spans.append((slice(prompt_start, prompt_start + prompt), slice(start, start + count)))
        prompt_start, start = prompt_start + prompt, start + count
    return spans


def _lengths(layout: Layout) -> list[int]:
    return [length for lengths in layout.completions for length in lengths if length]


def _apart(packed: torch.Tensor, layout: Layout) -> torch.Tensor:
    """(1, h, T, d) to (completions, h, longest, d), zeros behind the shorter ones."""
    rows = packed[0].transpose(0, 1).split(_lengths(layout))
    return pad_sequence(list(rows), batch_first=True).transpose(1, 2)


def _joined(rows: torch.Tensor, layout: Layout) -> torch.Tensor:
    """(completions, h, longest, d) to (1, h, T, d)."""
    unpadded = [row[:length] for row, length in zip(rows.transpose(1, 2), _lengths(layout), strict=True)]
    return torch.cat(unpadded).transpose(0, 1).unsqueeze(0)
