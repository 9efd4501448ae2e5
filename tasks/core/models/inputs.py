"""From chat messages and decoded clips to model inputs: the one place where pixels, placeholders and time scale meet.

Clips arrive sampled and resized (`core/video`); nothing here samples or resizes again, so that every stage and both
engines feed the model the same frames and the same seconds per temporal patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.core.io.errors import StageError

if TYPE_CHECKING:
    from tasks.core.video.clip import Clip

PLACEHOLDERS = {"image": "<|image_pad|>", "video": "<|video_pad|>"}
UNTOUCHED = {"do_resize": False}
UNTOUCHED_VIDEO = {"do_resize": False, "do_sample_frames": False, "cap_pixels_per_frame": False}


class InputError(StageError, ValueError):
    """A prompt and its medium do not fit together; the text says how."""


def prompt_text(processor: Any, messages: list[dict[str, Any]]) -> str:
    """Chat messages rendered by the checkpoint's own template, ending where the answer begins."""
    return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def video_metadata(clip: Clip) -> dict[str, Any]:
    """Metadata that makes processors read `clip` as it is: all frames, `clip.sample_fps` frames per second."""
    count = len(clip.frames)
    return {
        "fps": clip.sample_fps,
        "duration": count / clip.sample_fps,
        "total_num_frames": count,
        "frames_indices": list(range(count)),
    }


def encode(
    processor: Any,
    prompts: Sequence[str],
    clips: Sequence[Clip | None],
    data_types: Sequence[str],
    padding_side: str = "left",
) -> Any:
    """Model inputs of a batch of rendered prompts (with or without an answer behind them).

    Args:
        processor: a `Qwen2_5_VLProcessor`.
        prompts: B rendered texts with one unexpanded placeholder for each clip.
        clips: B clips, frames (T, H, W, 3) uint8 with H and W multiples of the merged patch; None for text alone.
        data_types: B of "image" | "video"; an image's clip has one frame.
        padding_side: "left" for generation, "right" for training.

    Returns:
        `BatchFeature` of tensors: input_ids, attention_mask, mm_token_type_ids (0 text, 1 image, 2 video), all (B,
        L), and, where present, pixel_values + image_grid_thw, pixel_values_videos + video_grid_thw +
        second_per_grid_ts.

    Raises:
        InputError: a prompt and its clip disagree; the text gives the row.
    """
    for row, (prompt, clip, data_type) in enumerate(zip(prompts, clips, data_types, strict=True)):
        if (problem := mismatch(prompt, clip, data_type)) is not None:
            raise InputError(f"row {row}: {problem}")
    media = [(clip, kind) for clip, kind in zip(clips, data_types, strict=True) if clip is not None]
    images = [clip.frames[0].copy() for clip, kind in media if kind == "image"]  # decoders give read-only pixels
    videos = [clip for clip, kind in media if kind == "video"]
    return processor(
        text=list(prompts),
        images=images or None,
        videos=[clip.frames for clip in videos] or None,
        images_kwargs={**UNTOUCHED, "input_data_format": "channels_last"},
        videos_kwargs={
            **UNTOUCHED_VIDEO,
            "input_data_format": "channels_last",
            "video_metadata": [video_metadata(clip) for clip in videos] or None,
        },
        text_kwargs={"padding": True, "padding_side": padding_side},
        return_tensors="pt",
    )


def mismatch(prompt: str, clip: Clip | None, data_type: str) -> str | None:
    """Why a rendered prompt cannot be fed with this clip, or None when it can."""
    if data_type not in PLACEHOLDERS:
        return f"data_type {data_type!r} is neither 'image' nor 'video'"
    found = {kind: prompt.count(token) for kind, token in PLACEHOLDERS.items()}
    wanted = {kind: int(clip is not None and kind == data_type) for kind in PLACEHOLDERS}
    if found != wanted:
        medium = "no medium" if clip is None else f"one {data_type}"
        return f"the prompt has {found['image']} image and {found['video']} video placeholders for {medium}"
    if clip is not None and data_type == "image" and len(clip.frames) != 1:
        return f"an image clip has {len(clip.frames)} frames"
    if clip is not None and data_type == "video" and not clip.sample_fps > 0:
        return f"the clip's sampling rate is {clip.sample_fps} frames per second"
    return None


def visual_tokens(processor: Any, clip: Clip | None) -> int:
    """Tokens that a clip takes after merging: ceil(T/2) * H * W over the merged patch; 0 for None."""
    if clip is None:
        return 0
    sizes = processor.video_processor
    side = sizes.patch_size * sizes.merge_size
    count, height, width = clip.frames.shape[:3]
    return -(-count // sizes.temporal_patch_size) * (height // side) * (width // side)


def prompt_tokens(processor: Any, prompt: str, clip: Clip | None) -> int:
    """Length of a rendered prompt in tokens once its placeholder is expanded."""
    return len(processor.tokenizer(prompt)["input_ids"]) + max(visual_tokens(processor, clip) - 1, 0)
