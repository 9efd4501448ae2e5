"""Selective activation checkpointing: what is large and cheap to compute is not kept for the backward pass.

Of a transformer block the norms and the MLP keep their input alone and run again in the backward pass, up to the last
value that it reads: the MLP's output projection is not repeated. Attention keeps what its fused kernel needs and runs
once. (Korthikanti et al. 2022, arXiv 2205.05198, choose by the same measure, bytes kept per operation repeated; where
attention is a fused kernel, which keeps no scores, the MLP holds two thirds of the bytes.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def use_selective_checkpointing(model: Any) -> Any:
    """Let the blocks of a Qwen2.5-VL model keep fewer activations; values and gradients stay the same.

    A forward without gradient is unchanged. Adapters and autocast keep working.

    Args:
        model: a `Qwen2_5_VLForConditionalGeneration`; its blocks are changed in place.

    Returns:
        The same model.
    """
    for layer in model.model.language_model.layers:
        layer.forward = _decoder_layer(layer)
    for block in model.model.visual.blocks:
        block.forward = _vision_block(block)
    return model


def _decoder_layer(layer: Any) -> Callable[..., torch.Tensor]:
    normed, mixed = _recomputed(layer, "input_layernorm"), _recomputed(layer, "post_attention_layernorm", "mlp")

    def forward(hidden_states: torch.Tensor, **options: Any) -> torch.Tensor:
        attended, _ = layer.self_attn(hidden_states=normed(hidden_states), **options)
        hidden_states = hidden_states + attended
        return hidden_states + mixed(hidden_states)

    return forward


def _vision_block(block: Any) -> Callable[..., torch.Tensor]:
    normed, mixed = _recomputed(block, "norm1"), _recomputed(block, "norm2", "mlp")

    def forward(hidden_states: torch.Tensor, **options: Any) -> torch.Tensor:
        hidden_states = hidden_states + block.attn(normed(hidden_states), **options)
        return hidden_states + mixed(hidden_states)

    return forward


def _recomputed(block: Any, *names: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Parts of a block one after the other, as a function that keeps its input alone."""

    def run(value: torch.Tensor) -> torch.Tensor:
        for name in names:
            value = getattr(block, name)(value)
        return value

    drops = any(isinstance(part, torch.nn.Dropout) and part.p for n in names for part in getattr(block, n).modules())

    def forward(value: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return run(value)
        # Random numbers are put back only where some are drawn: an adapter's dropout.
        return checkpoint(run, value, use_reentrant=False, preserve_rng_state=drops)

    return forward
