"""The mini architecture: a real Qwen2.5-VL of about two million weights, with its own byte-level BPE tokenizer.

Differences from the released checkpoints: sizes, a small `rope_theta` (with heads of 32 the usual million leaves the
row and column sections of M-RoPE nearly constant), a square `mrope_section`, and reasoning tags as single tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
PATCH_PIXELS = 14
FRAME_PIXELS = 56 * 56
ROPE_THETA = 30.0


def build_processor(corpus: Iterable[str], vocabulary: int = 600) -> Qwen2_5_VLProcessor:
    """Processor with a tokenizer trained on `corpus`: at most `vocabulary` tokens, any text encodable (byte level)."""
    from transformers import Qwen2_5_VLProcessor, Qwen2Tokenizer, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    vocab, merges = _train_bpe(corpus, vocabulary - len(SPECIAL_TOKENS) - len(TAGS))
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
        padding_side="left",
        model_max_length=32768,
    )
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    pixels: dict[str, Any] = {"patch_size": PATCH_PIXELS, "temporal_patch_size": 2, "merge_size": 2}
    video: dict[str, Any] = {**pixels, "cap_pixels_per_frame": False}
    size = {"shortest_edge": FRAME_PIXELS, "longest_edge": FRAME_PIXELS}
    template = (Path(__file__).parent / "chat_template.jinja").read_text()
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, **pixels),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size, **video),
        chat_template=template,
    )


def build_model(
    processor: Qwen2_5_VLProcessor,
    *,
    hidden_size: int = 128,
    layers: int = 4,
    heads: int = 4,
    vision_layers: int = 2,
    seed: int = 0,
) -> Qwen2_5_VLForConditionalGeneration:
    """Randomly initialised model for `processor` (float32). `hidden_size / heads` must be divisible by 16."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from tasks.core.models.positions import use_published_positions

    tokenizer = processor.tokenizer
    half = hidden_size // heads // 2
    rows = half * 3 // 8
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("im_end", "endoftext", "vision_start")}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden_size,
            "intermediate_size": 3 * hidden_size,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "max_position_embeddings": 4096,
            "max_window_layers": layers,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True,
            "bos_token_id": ids["endoftext"],
            "eos_token_id": ids["im_end"],
            "pad_token_id": ids["endoftext"],
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": ROPE_THETA,
                "mrope_section": [half - 2 * rows, rows, rows],
            },
        },
        vision_config={
            "depth": vision_layers,
            "hidden_size": hidden_size,
            "intermediate_size": 3 * hidden_size,
            "num_heads": heads,
            "patch_size": PATCH_PIXELS,
            "tokens_per_second": 2,
            "window_size": 112,
            "out_hidden_size": hidden_size,
            "fullatt_block_indexes": list(range(vision_layers)),
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = ids["im_end"]
    model.generation_config.pad_token_id = ids["endoftext"]
    return use_published_positions(model)


def _train_bpe(corpus: Iterable[str], size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    import json

    from tokenizers import Regex
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    return trained["vocab"], [(left, right) for left, right in trained["merges"]]
