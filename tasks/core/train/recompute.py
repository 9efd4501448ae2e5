"""Selective activation checkpointing: activations that are large and cheap to compute are not kept for backward.

The norms and the MLP of a transformer block keep their input only and run again in the backward pass, up to the last
value that it needs: the MLP's output projection is not repeated. Attention keeps what its fused kernel needs and runs
once. (Korthikanti et al. 2022, arXiv 2205.05198, choose by the same measure, bytes kept per operation repeated; there
attention keeps its scores and is what is repeated, here a fused kernel keeps none and the MLP is the largest part.)
On a CPU in float32, norm and MLP go through `swiglu.py`, slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tasks.core.backbones import Block, of_model
from tasks.core.models.protocols import Model
from tasks.core.train.swiglu import fits, normed_swiglu

OWN_VALUE = "sdpa_own_value"


def use_selective_checkpointing(model: Model) -> Any:
    """Let a model's blocks keep fewer activations; values and gradients stay the same. Called by `prepare`.

    A forward without gradient is unchanged. Adapters and autocast keep working.

    Args:
        model: unwrapped; its blocks are changed in place.

    Returns:
        The same model.
    """
    backbone = of_model(model)
    names = backbone.names
    if names.text_block is not None:
        for layer in backbone.decoder(model).layers:
            layer.forward = _forward(layer, names.text_block)
    if names.vision_block is None:
        return model
    vision = getattr(model.model, names.encoder[0]).config
    if vision._attn_implementation == "sdpa":
        AttentionInterface.register(OWN_VALUE, _own_value)
        vision._attn_implementation = OWN_VALUE
    for block in backbone.vision_blocks(model):
        block.forward = _forward(block, names.vision_block)
    return model


def _forward(block: Any, names: Block) -> Callable[..., torch.Tensor]:
    """Forward of a pre-norm block of attention and MLP."""
    attention, mlp = getattr(block, names.attention), getattr(block, names.mlp)
    before, between = (getattr(block, name) for name in names.norms)

    def forward(hidden_states: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        attended = attention(_recomputed(hidden_states, before), *rest, **options)
        hidden_states = hidden_states + (attended[0] if isinstance(attended, tuple) else attended)
        return hidden_states + _mixed(hidden_states, between, mlp)

    return forward


def _own_value(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any, **options: Any
) -> Any:
    """SDPA on a copy of the values: a view would keep the encoder's joint projection, three times as large."""
    return sdpa_attention_forward(module, query, key, value.contiguous(), *rest, **options)


def _mixed(value: torch.Tensor, norm: Any, mlp: Any) -> torch.Tensor:
    if torch.is_grad_enabled() and fits(norm, mlp, value):
        return normed_swiglu(norm, mlp, value)
    return _recomputed(value, norm, mlp)


def _recomputed(value: torch.Tensor, *modules: Any) -> torch.Tensor:
    """Modules one after the other; the first one's input alone is kept."""

    def run(value: torch.Tensor) -> torch.Tensor:
        for module in modules:
            value = module(value)
        return value

    if not torch.is_grad_enabled():
        return run(value)
    # Random numbers are put back only where some are drawn: an adapter's dropout.
    draws = any(isinstance(part, torch.nn.Dropout) and part.p for module in modules for part in module.modules())
    return checkpoint(run, value, use_reentrant=False, preserve_rng_state=draws)
