"""What families with patches of two frames and multi-axis rotary positions (M-RoPE) have in common."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.core.backbones.base import (
    IMAGE,
    KINDS,
    NAMES,
    VIDEO,
    Backbone,
    EncodedPrompt,
    FrameShape,
    media_arguments,
    video_metadata,
)
from tasks.core.backbones.positions import rope_index

if TYPE_CHECKING:
    import torch

    from tasks.core.video.clip import Clip

CHANNELS = 3
GRIDS = {IMAGE: "image_grid_thw", VIDEO: "video_grid_thw"}
PIXELS = {IMAGE: "pixel_values", VIDEO: "pixel_values_videos"}


class MRopeBackbone(Backbone):
    """Patches of two frames laid flat; positions in time, height and width."""

    placeholders: ClassVar[Mapping[str, str]] = {"image": "<|image_pad|>", "video": "<|video_pad|>"}
    written: ClassVar[Mapping[str, str]] = {
        "image": "<|vision_start|><|image_pad|><|vision_end|>",
        "video": "<|vision_start|><|video_pad|><|vision_end|>",
    }
    visual_tokens: ClassVar[tuple[str, ...]] = (
        "<|vision_start|>",
        "<|vision_end|>",
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
    )
    frames_per_patch: ClassVar[int] = 2
    patch_side: ClassVar[int] = 14
    places_by_kind: ClassVar[bool] = True
    windowed_encoder: ClassVar[bool] = True
    untouched: ClassVar[Mapping[str, Any]] = {"do_resize": False, "cap_pixels_per_frame": False}
    tiny_scaling: ClassVar[Mapping[str, Any]] = {}
    """How released checkpoints scale pixels, images and videos alike, where that is not the processors' default."""

    def frame_shape(self, settings: Mapping[str, Any]) -> FrameShape:
        """Multiples of a merged patch."""
        return FrameShape(settings.get("patch_size", 14) * settings.get("merge_size", 2))

    def misfit(self, processor: Any, config: Any) -> str | None:
        """See `Backbone.misfit`: sides of patches."""
        vision = config.vision_config
        pairs = (("patch_size", "patch_size"), ("merge_size", "spatial_merge_size"), ("temporal_patch_size",) * 2)
        for part in (processor.image_processor, processor.video_processor):
            for ours, theirs in pairs:
                if getattr(part, ours) != getattr(vision, theirs):
                    return f"{ours} {getattr(part, ours)}, {theirs} {getattr(vision, theirs)}"
        return None

    def expansion(self, processor: Any, clip: Clip, data_type: str) -> str:
        """One placeholder for each merged patch."""
        time, height, width = self._grid(processor, clip)
        return self.placeholders[data_type] * (time * height * width)

    def _grid(self, processor: Any, clip: Clip) -> tuple[int, int, int]:
        """Temporal patches, and merged patches in height and width."""
        sizes = processor.video_processor
        side = sizes.patch_size * sizes.merge_size
        count, height, width = clip.frames.shape[:3]
        return -(-count // sizes.temporal_patch_size), height // side, width // side

    def encode(
        self, processor: Any, prompt: str, clip: Clip | None, data_type: str, source: str | None = None
    ) -> EncodedPrompt:
        """See `Backbone.encode`; pixels are (patches, channels * 2 * side * side)."""
        import torch

        video = data_type == "video" and clip is not None
        inputs = processor(
            text=[prompt],
            **media_arguments(clip, data_type),
            images_kwargs={"do_resize": False, "input_data_format": "channels_last"},
            videos_kwargs={
                **self.untouched,
                "do_sample_frames": False,
                "input_data_format": "channels_last",
                "video_metadata": [video_metadata(clip)] if clip is not None and video else None,
            },
            return_tensors="pt",
        )
        kind, seconds = KINDS[data_type], inputs.get("second_per_grid_ts")
        return EncodedPrompt(
            ids=inputs["input_ids"][0],
            kinds=inputs["mm_token_type_ids"][0],
            kind=0 if clip is None else kind,
            pixels=inputs.get(PIXELS[kind]),
            grid=inputs.get(GRIDS[kind]),
            seconds_per_grid=None if seconds is None else torch.as_tensor(seconds, dtype=torch.float32),
            source=None if clip is None else source,
            patches=() if clip is None else self.patches(clip),
            family=self.model_types[0],
        )

    def select_patches(self, prompt: EncodedPrompt, places: Sequence[int]) -> EncodedPrompt:
        """See `Backbone.select_patches`; the grid follows."""
        assert prompt.grid is not None
        grid = prompt.grid.clone()
        grid[0, 0] = len(places)
        return super().select_patches(prompt, places)._replace(grid=grid)

    def reordered(self, prompt: EncodedPrompt, order: Sequence[int], shown: Clip) -> EncodedPrompt:
        """See `Backbone.reordered`: frames may change the patch that they lie in."""
        import torch

        assert prompt.pixels is not None and prompt.grid is not None
        times = int(prompt.grid[0, 0])
        # A patch holds, channel by channel, its two frames.
        paired = prompt.pixels.view(times, -1, CHANNELS, 2, prompt.pixels.shape[1] // (2 * CHANNELS))
        places = torch.tensor(list(zip_longest(order[::2], order[1::2], fillvalue=order[-1])))
        frames = paired.permute(0, 3, 1, 2, 4).flatten(0, 1)[places]
        pixels = frames.permute(0, 2, 3, 1, 4).reshape(prompt.pixels.shape)
        return prompt._replace(pixels=pixels, patches=self.patches(shown))

    def placing(self, prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
        """See `Backbone.placing`."""
        import torch

        given: dict[str, torch.Tensor] = {}
        for kind, name in GRIDS.items():
            if parts := [prompt.grid for prompt in prompts if prompt.kind == kind and prompt.grid is not None]:
                given[name] = torch.cat(parts)
        if seconds := [prompt.seconds_per_grid for prompt in prompts if prompt.seconds_per_grid is not None]:
            given["second_per_grid_ts"] = torch.cat(seconds)
        return given

    def pixels(self, prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
        """See `Backbone.pixels`."""
        import torch

        given: dict[str, torch.Tensor] = {}
        for kind, name in PIXELS.items():
            if parts := [prompt.pixels for prompt in prompts if prompt.kind == kind and prompt.pixels is not None]:
                given[name] = torch.cat(parts)
        return given

    def engine_options(self) -> dict[str, Any]:
        """Frames are neither resized nor capped."""
        return dict(self.untouched)

    def use_positions(self, model: Any) -> None:
        """Replace `get_rope_index` of the inner model, on the instance."""
        model.model.get_rope_index = types.MethodType(rope_index, model.model)

    def positions(self, model: Any, prompt: EncodedPrompt) -> tuple[torch.Tensor, int]:
        """See `Backbone.positions`; R = 3: time, height and width."""
        kinds = prompt.kinds.unsqueeze(0)
        positions, delta = model.model.get_rope_index(prompt.ids.unsqueeze(0), kinds, **self.placing([prompt]))
        return positions[:, 0], len(prompt.ids) + int(delta)

    def generate_positions(
        self, model: Any, prompts: Sequence[EncodedPrompt], inputs: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """(4, B, L): text order, then time, height and width."""
        import torch

        spatial, _ = model.model.get_rope_index(**inputs, **self.placing(prompts))
        return torch.cat([super().generate_positions(model, prompts, inputs).unsqueeze(0), spatial])

    def features(self, model: Any, prompts: Sequence[EncodedPrompt]) -> list[torch.Tensor]:
        """One pass over all prompts."""
        (values,), (grid, *_) = self.pixels(prompts).values(), self.placing(prompts).values()
        encode = model.get_image_features if prompts[0].kind == IMAGE else model.get_video_features
        return self.feature_rows(encode(values.to(model.device), grid.to(model.device)))

    def joint_features(self, model: Any, prompts: Sequence[EncodedPrompt]) -> list[torch.Tensor]:
        """See `Backbone.joint_features`: the encoder reads a grid for each medium, and asks not what it is."""
        import torch

        by_kind = sorted(range(len(prompts)), key=lambda row: prompts[row].kind)
        ordered = [prompts[row] for row in by_kind]
        if ordered[0].kind == ordered[-1].kind:
            return self.features(model, prompts)
        values = torch.cat(list(self.pixels(ordered).values())).to(model.device)
        grids = [grid for name, grid in self.placing(ordered).items() if name in GRIDS.values()]
        rows = self.feature_rows(model.get_video_features(values, torch.cat(grids).to(model.device)))
        return [rows[by_kind.index(row)] for row in range(len(prompts))]

    def feature_rows(self, output: Any) -> list[torch.Tensor]:
        """The encoder's output as rows of features, medium after medium."""
        return list(output.pooler_output)

    def encoder_outputs(
        self, prompts: Sequence[EncodedPrompt], features: Sequence[torch.Tensor | None]
    ) -> dict[str, Any]:
        """See `Backbone.encoder_outputs`."""
        outputs: dict[str, Any] = {}
        for kind, name in NAMES.items():
            rows = [value for prompt, value in zip(prompts, features, strict=True) if prompt.kind == kind]
            if rows:
                outputs[name] = self.output_of_rows(rows)
        return outputs

    def output_of_rows(self, rows: list[Any]) -> Any:
        """Undo `feature_rows`."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        return BaseModelOutputWithPooling(pooler_output=rows)

    # Tiny models.

    def tiny_classes(self) -> tuple[Any, Any, Any]:
        """Classes of processor, image processor and video processor."""
        raise NotImplementedError

    def tiny_processor(self, corpus: Iterable[str], vocabulary: int) -> Any:
        """See `Backbone.tiny_processor`; frames of two by two merged patches."""
        from tasks.core.backbones import tiny

        processor, image, video = self.tiny_classes()
        pixels: dict[str, Any] = {"patch_size": self.patch_side, "temporal_patch_size": 2, "merge_size": 2}
        frame = (4 * self.patch_side) ** 2
        size = {"shortest_edge": frame, "longest_edge": frame}
        return processor(
            image_processor=image(size=size, **self.tiny_scaling, **pixels),
            tokenizer=tiny.tokenizer(corpus, vocabulary, self.visual_tokens),
            video_processor=video(size=size, cap_pixels_per_frame=False, **self.tiny_scaling, **pixels),
            chat_template=tiny.chat_template(**self.written),
        )


def mrope_section(hidden_size: int, heads: int, interleaved: bool = False) -> list[int]:
    """Shares of a small head's rotary half for time, height and width.

    Side by side 2 to 3 to 3; interleaved as released, 6 to 5 to 5: of three neighbours each axis has at most one.
    """
    half = hidden_size // heads // 2
    rows = half * 5 // 16 if interleaved else half * 3 // 8
    return [half - 2 * rows, rows, rows]


def token_ids(tokenizer: Any) -> dict[str, int]:
    """Ids of the visual tokens, in the words of the configuration."""
    names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in names.items()}
