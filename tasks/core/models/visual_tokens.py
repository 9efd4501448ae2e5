"""Tokens that stand for pixels. A model may read them; sampling one would ask for an image that is not there."""

from __future__ import annotations

from typing import Any

from tasks.core.text.visual import VISUAL_TOKENS


def visual_token_ids(tokenizer: Any) -> list[int]:
    """Ids of the tokenizer's visual special tokens, ascending: never sampled, never trained on."""
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary[token] for token in VISUAL_TOKENS if token in vocabulary)
