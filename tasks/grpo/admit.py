"""Which prompts fit into the rollout engine, checked before training: the engine would fail in the middle of it."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.core.models.inputs import clip_tokens, prompt_tokens
from tasks.core.models.protocols import Processor
from tasks.core.train.clips import ClipStore
from tasks.core.video import VideoError
from tasks.grpo.data import Prompt

SHAPES = 1.5
"""Clips of other shapes may take more tokens than a square one: above this factor a clip is opened and counted."""


def too_long(
    prompts: Sequence[Prompt],
    processor: Processor,
    clips: ClipStore,
    *,
    max_len: int,
    max_tokens: int,
    frames: int,
    max_pixels: int,
) -> dict[int, str]:
    """Index -> reason, for each prompt that leaves fewer than `max_tokens` of `max_len` tokens for a completion.

    A clip is opened only where a clip of the largest size would not fit. A clip that cannot be read is skipped later,
    in the step that draws it.

    Args:
        prompts: rendered.
        processor: the policy's.
        clips: decoded frames.
        max_len: prompt plus completion, tokens.
        max_tokens: of a completion.
        frames: most frames of a clip.
        max_pixels: most pixels of a frame.
    """
    texts = processor.tokenizer([prompt.text for prompt in prompts])["input_ids"] if prompts else []
    square = {
        kind: clip_tokens(processor, count, max_pixels, kind) for kind, count in (("image", 1), ("video", frames))
    }
    reasons: dict[int, str] = {}
    for index, (prompt, ids) in enumerate(zip(prompts, texts, strict=True)):
        record, room = prompt.record, max_len - max_tokens
        if len(ids) + SHAPES * square[record.data_type] <= room:
            continue
        try:
            length = prompt_tokens(processor, prompt.text, clips.get(record.path, record.data_type))
        except VideoError:
            continue
        if length > room:
            reasons[index] = (
                f"a prompt of {length} tokens and a completion of sampling.max_tokens {max_tokens} are more than "
                f"grpo.rollout_max_len {max_len}"
            )
    return reasons
