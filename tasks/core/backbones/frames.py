"""What families with one patch a frame, frames of one fixed square and one-dimensional positions have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.core.backbones.base import KINDS, Backbone, EncodedPrompt, FrameShape, media_arguments, video_metadata

if TYPE_CHECKING:
    import torch

    from tasks.core.video.clip import Clip


class FrameBackbone(Backbone):
    """Frames are encoded one by one, each a square of the checkpoint's own side; an image is one such frame."""

    image_options: ClassVar[Mapping[str, Any]] = {"do_resize": False}
    video_options: ClassVar[Mapping[str, Any]] = {"do_resize": False, "do_sample_frames": False}

    def frame_shape(self, settings: Mapping[str, Any]) -> FrameShape:
        """The square that the processor would resize to."""
        return FrameShape(1, int(settings["size"]["height"]))

    def misfit(self, processor: Any, config: Any) -> str | None:
        """See `Backbone.misfit`: the square's side, and tokens of a frame."""
        sides = config.vision_config.image_size
        side = sides if isinstance(sides, int) else sides[0]
        shown = self.frame_shape(processor.image_processor.to_dict()).fixed_side
        if shown != side:
            return f"frames of {shown} x {shown}, the encoder takes {side} x {side}"
        written, read = self.frame_tokens(processor, config)
        return None if written == read else f"{written} tokens for a frame, the encoder gives {read}"

    def frame_tokens(self, processor: Any, config: Any) -> tuple[int, int]:
        """Tokens of a frame before any pooling: what the processor counts, what the encoder gives."""
        raise NotImplementedError

    def encode(
        self, processor: Any, prompt: str, clip: Clip | None, data_type: str, source: str | None = None
    ) -> EncodedPrompt:
        """See `Backbone.encode`; pixels are (frames, channels, side, side)."""
        video = data_type == "video" and clip is not None
        inputs = processor(
            text=[prompt],
            **self.media_arguments(clip, data_type),
            images_kwargs={**self.image_options, "input_data_format": "channels_last"},
            videos_kwargs={
                **self.video_options,
                "input_data_format": "channels_last",
                "video_metadata": [video_metadata(clip)] if clip is not None and video else None,
            },
            return_tensors="pt",
        )
        ids, kind = inputs["input_ids"][0], KINDS[data_type]
        token = processor.tokenizer.convert_tokens_to_ids(self.media_token(data_type))
        return EncodedPrompt(
            ids=ids,
            kinds=(ids == token).long() * kind,
            kind=0 if clip is None else kind,
            pixels=None if clip is None else self.frames_of(inputs, data_type),
            grid=None,
            seconds_per_grid=None,
            source=None if clip is None else source,
            patches=() if clip is None else self.patches(clip),
            family=self.model_types[0],
        )

    def media_arguments(self, clip: Clip | None, data_type: str) -> dict[str, Any]:
        """A clip as the processor takes it."""
        return media_arguments(clip, data_type)

    def media_token(self, data_type: str) -> str:
        """The token that features are put in the place of."""
        return self.placeholders[data_type]

    def frames_of(self, inputs: Mapping[str, Any], data_type: str) -> torch.Tensor:
        """(frames, channels, side, side) of what the processor made of one clip."""
        raise NotImplementedError


def joined(rows: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """Frames of several prompts end to end."""
    import torch

    return torch.cat([row for row in rows if row is not None])


def image_output(features: Any) -> dict[str, Any]:
    """Features as images' `mm_encoder_outputs`."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    return {"image": BaseModelOutputWithPooling(pooler_output=features)}
