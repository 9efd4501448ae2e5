"""Tokens that stand for pixels. A model may read them; sampling one would ask for an image that is not there."""

from __future__ import annotations

from typing import Any

from tasks.core.backbones import Backbone


def visual_token_ids(backbone: Backbone, tokenizer: Any) -> list[int]:
    """Ids of a family's visual tokens, ascending: never sampled, never trained on.

    Raises:
        ValueError: the tokenizer lacks one.
    """
    vocabulary = tokenizer.get_vocab()
    if missing := [token for token in backbone.visual_tokens if token not in vocabulary]:
        raise ValueError(f"the tokenizer has no {', '.join(missing)}")
    return sorted(vocabulary[token] for token in backbone.visual_tokens)
