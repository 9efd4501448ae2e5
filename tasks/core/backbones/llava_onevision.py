"""LLaVA-OneVision: frames of 384 x 384, 196 tokens each, and one newline token behind the last.

Images are shown as one square; its own tiling of larger pictures is left out, since frames come in that square.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.core.backbones.base import IMAGE, VIDEO, Block, EncodedPrompt, Names
from tasks.core.backbones.frames import FrameBackbone, joined

if TYPE_CHECKING:
    import torch

    from tasks.core.video.clip import Clip


class LlavaOneVision(FrameBackbone):
    """The first release, on Qwen2 (0.5B, 7B, 72B); 1.5 and 2 need remote code and are not read."""

    model_types = ("llava_onevision",)
    processors = ("LlavaOnevisionProcessor",)
    one_pass = False
    engine_worker = "tasks.core.backbones.llava_onevision_vllm.Worker"
    placeholders: ClassVar[Mapping[str, str]] = {"image": "<image>", "video": "<video>"}
    written: ClassVar[Mapping[str, str]] = {"image": "<image>\n", "video": "<video>\n"}
    visual_tokens = ("<image>", "<video>")
    feature_tail: ClassVar[Mapping[int, int]] = {VIDEO: 1}
    names = Names(
        encoder=("vision_tower", "multi_modal_projector", "image_newline"),
        vision_blocks="vision_tower.encoder.layers",
        vision_block=Block("self_attn", ("layer_norm1", "layer_norm2")),
        lora_text=r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
        lora_vision=r".*vision_tower\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)",
    )

    def frame_tokens(self, processor: Any, config: Any) -> tuple[int, int]:
        """See `FrameBackbone.frame_tokens`."""
        return processor.num_image_tokens, (config.vision_config.image_size // config.vision_config.patch_size) ** 2

    def expansion(self, processor: Any, clip: Clip, data_type: str) -> str:
        """An image with its rows' newlines; a video with one newline."""
        if data_type == "video":
            return processor.replace_video_token({"pixel_values_videos": [clip.frames]}, 0)
        _, height, width, _ = clip.frames.shape
        tile = clip.frames.transpose(0, 3, 1, 2)
        sizes = {"batch_num_images": [1], "image_sizes": [[height, width]], "pixel_values": [tile]}
        return processor.replace_image_token(sizes, 0)

    def frames_of(self, inputs: Mapping[str, Any], data_type: str) -> torch.Tensor:
        """See `FrameBackbone.frames_of`; an image is there twice, as a whole and as its only tile."""
        return inputs["pixel_values" if data_type == "image" else "pixel_values_videos"][0]

    def pixels(self, prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
        """Tiles of images end to end with the images' sizes; videos of one length stacked."""
        import torch

        given: dict[str, torch.Tensor] = {}
        images = [prompt.pixels for prompt in prompts if prompt.kind == IMAGE and prompt.pixels is not None]
        if images:
            sizes = torch.tensor([image.shape[-2:] for image in images])
            given |= {"pixel_values": torch.cat(images), "image_sizes": sizes}
        if videos := [prompt.pixels for prompt in prompts if prompt.kind == VIDEO and prompt.pixels is not None]:
            given["pixel_values_videos"] = torch.stack(videos)
        return given

    def joining(self, prompts: Sequence[EncodedPrompt]) -> list[list[int]]:
        """Videos of unequal length do not stack; other rows go with the first length."""
        lengths = [len(prompt.patches) if prompt.kind == VIDEO else None for prompt in prompts]
        several = [length for length in dict.fromkeys(lengths) if length is not None]
        groups: dict[int | None, list[int]] = {}
        for row, length in enumerate(lengths):
            groups.setdefault(several[0] if length is None and several else length, []).append(row)
        return list(groups.values())

    def features(self, model: Any, prompts: Sequence[EncodedPrompt]) -> list[torch.Tensor]:
        """One pass over images; one over all videos of a length."""
        if prompts[0].kind == IMAGE:
            given = {name: value.to(model.device) for name, value in self.pixels(prompts).items()}
            return list(model.get_image_features(**given).pooler_output)
        encoded: dict[int, torch.Tensor] = {}
        for length in dict.fromkeys(len(prompt.patches) for prompt in prompts):
            rows = [row for row, prompt in enumerate(prompts) if len(prompt.patches) == length]
            values = self.pixels([prompts[row] for row in rows])["pixel_values_videos"].to(model.device)
            encoded |= zip(rows, model.get_video_features(values).pooler_output, strict=True)
        return [encoded[row] for row in range(len(prompts))]

    def encoder_outputs(
        self, prompts: Sequence[EncodedPrompt], features: Sequence[torch.Tensor | None]
    ) -> dict[str, Any]:
        """See `Backbone.encoder_outputs`."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        pairs = list(zip(prompts, features, strict=True))
        images, videos = ([row for prompt, row in pairs if prompt.kind == kind] for kind in (IMAGE, VIDEO))
        outputs = {"image": BaseModelOutputWithPooling(pooler_output=images)} if images else {}
        if videos:
            outputs["video"] = BaseModelOutputWithPooling(pooler_output=joined(videos).unsqueeze(0))
        return outputs

    def tiny_processor(self, corpus: Iterable[str], vocabulary: int) -> Any:
        """See `Backbone.tiny_processor`; frames of 56 x 56."""
        from transformers import LlavaOnevisionImageProcessor, LlavaOnevisionProcessor, LlavaOnevisionVideoProcessor

        from tasks.core.backbones import tiny

        size = {"height": 56, "width": 56}
        return LlavaOnevisionProcessor(
            image_processor=LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[56, 56]]),
            tokenizer=tiny.tokenizer(corpus, vocabulary, self.visual_tokens),
            video_processor=LlavaOnevisionVideoProcessor(size=size),
            num_image_tokens=16,
            vision_feature_select_strategy="full",
            chat_template=tiny.chat_template(**self.written),
        )

    def tiny_model(
        self, processor: Any, *, hidden_size: int, layers: int, heads: int, vision_layers: int, seed: int
    ) -> Any:
        """See `Backbone.tiny_model`."""
        from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

        from tasks.core.backbones import tiny

        tokenizer = processor.tokenizer
        text = tiny.text_settings(tokenizer, hidden_size=hidden_size, layers=layers, heads=heads)
        config = LlavaOnevisionConfig(
            text_config={**text, "model_type": "qwen2"},
            vision_config=tiny.siglip_settings(hidden_size, heads, vision_layers),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
            image_grid_pinpoints=[[56, 56]],
            tie_word_embeddings=True,
        )
        return tiny.random_model(LlavaOnevisionForConditionalGeneration, config, tokenizer, seed)


BACKBONE = LlavaOneVision()
