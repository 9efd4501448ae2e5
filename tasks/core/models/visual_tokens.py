"""Tokens that stand for pixels. A model may read them; sampling one would ask for an image that is not there."""

from __future__ import annotations

from typing import Any

from tasks.core.models.protocols import Processor
from tasks.core.backbones import of_processor


def visual_token_ids(processor: Processor) -> list[int]:
    """Ids of a processor's visual tokens, ascending: never sampled, never trained on.

    Raises:
        ValueError: the tokenizer lacks one.
    """
    tokens, vocabulary = of_processor(processor).visual_tokens, processor.tokenizer.get_vocab()
    if missing := [token for token in tokens if token not in vocabulary]:
        raise ValueError(f"the tokenizer has no {', '.join(missing)}")
    return sorted(vocabulary[token] for token in tokens)
