"""Which prompts the rollout engine can answer, looked at before training: the engine would fail in the midst of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.core.models.inputs import visual_tokens
from tasks.core.train.clips import ClipStore
from tasks.core.video import VideoError
from tasks.grpo.data import Prompt


def too_long(
    prompts: Sequence[Prompt],
    processor: Any,
    clips: ClipStore,
    *,
    max_len: int,
    max_tokens: int,
    frames: int,
    max_pixels: int,
) -> dict[int, str]:
    """Index -> reason, for each prompt that leaves an answer fewer than `max_tokens` tokens of `max_len`.

    A clip is opened only where a clip of the largest size would not fit. One that does not open is left to the step
    that draws it.

    Args:
        prompts: rendered.
        processor: the policy's.
        clips: decoded frames.
        max_len: prompt plus answer, tokens.
        max_tokens: of an answer.
        frames: most frames of a clip.
        max_pixels: most pixels of a frame.
    """
    texts = processor.tokenizer([prompt.text for prompt in prompts])["input_ids"] if prompts else []
    sizes = processor.video_processor
    picture = max_pixels // (sizes.patch_size * sizes.merge_size) ** 2
    largest = {"image": picture, "video": -(-frames // sizes.temporal_patch_size) * picture}
    reasons: dict[int, str] = {}
    for index, (prompt, ids) in enumerate(zip(prompts, texts, strict=True)):
        room = max_len - max_tokens - len(ids) + 1  # the placeholder's token becomes those of the clip
        if largest[prompt.record.data_type] <= room:
            continue
        try:
            visual = visual_tokens(processor, clips.get(prompt.record.path, prompt.record.data_type))
        except VideoError:
            continue
        if visual > room:
            reasons[index] = (
                f"a prompt of {len(ids) - 1 + visual} tokens and an answer of sampling.max_tokens {max_tokens} "
                f"are more than grpo.rollout_max_len {max_len}"
            )
    return reasons
