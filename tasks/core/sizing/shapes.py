"""Widths and depths of vision-language models, and how many parameters they have."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

PATCHES_PER_TOKEN = 4
"""Vision patches merged into one token."""
PATCH_VALUES = 3 * 2 * 14 * 14
"""Numbers in a patch: channels, frames, height, width."""


class Shape(NamedTuple):
    """Widths and depths, in the words of the checkpoint's configuration."""

    hidden: int
    layers: int
    heads: int
    key_heads: int
    intermediate: int
    vocabulary: int
    tied: bool
    vision_layers: int
    vision_hidden: int
    vision_heads: int
    vision_intermediate: int
    head_size: int | None = None
    """None: hidden / heads."""

    @property
    def query_width(self) -> int:
        """Numbers of a token's queries."""
        return self.heads * (self.head_size or self.hidden // self.heads)

    @property
    def key_width(self) -> int:
        """Numbers of a token's keys; of its values as many."""
        return self.key_heads * (self.head_size or self.hidden // self.heads)


class Model(NamedTuple):
    """A model as far as memory and time depend on it; the numbers are of parameters."""

    shape: Shape
    text: int
    """The language model's layers and what belongs to no other part."""
    embedding: int
    head: int
    """The output layer; 0 where it is the embedding."""
    vision: int
    side: int = 28
    """Pixels on a side of what becomes one token."""
    model_type: str = "qwen2_5_vl"

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.text + self.embedding + self.head + self.vision

    @property
    def layer(self) -> int:
        """Parameters of one text layer."""
        return self.text // self.shape.layers

    @property
    def output(self) -> int:
        """Parameters of the output layer, shared or not."""
        return self.head or self.embedding


SHAPES = {
    "mini": Shape(128, 4, 4, 4, 384, 600, True, 2, 128, 4, 384),
    "small": Shape(512, 8, 8, 2, 1536, 2048, True, 4, 256, 4, 768),
    "3b": Shape(2048, 36, 16, 2, 11008, 151936, True, 32, 1280, 16, 3420),
    "7b": Shape(3584, 28, 28, 4, 18944, 152064, False, 32, 1280, 16, 3420),
}
"""Shapes of Qwen2.5-VL that speed is measured on."""
_32B = Shape(5120, 64, 40, 8, 27648, 152064, False, 32, 1280, 16, 3456)
_72B = Shape(8192, 80, 64, 8, 29568, 152064, False, 32, 1280, 16, 3456)
_QWEN3_8B = Shape(4096, 36, 32, 8, 12288, 151936, False, 27, 1152, 16, 4304, 128)
_QWEN3_32B = Shape(5120, 64, 64, 8, 25600, 151936, False, 27, 1152, 16, 4304, 128)
PUBLISHED = {
    "qwen2.5-vl-3b-instruct": Model(SHAPES["3b"], 2_774_773_760, 311_164_928, 0, 668_684_288),
    "qwen2.5-vl-7b-instruct": Model(SHAPES["7b"], 6_525_621_760, 544_997_376, 544_997_376, 676_550_144),
    "qwen2.5-vl-32b-instruct": Model(_32B, 31_206_740_992, 778_567_680, 778_567_680, 688_841_984),
    "qwen2.5-vl-72b-instruct": Model(_72B, 70_214_787_072, 1_245_708_288, 1_245_708_288, 704_573_696),
    "qwen3-vl-8b-instruct": Model(_QWEN3_8B, 6_946_075_648, 622_329_856, 622_329_856, 576_388_336, 32, "qwen3_vl"),
    "qwen3-vl-32b-instruct": Model(_QWEN3_32B, 31_206_298_624, 777_912_320, 777_912_320, 595_266_800, 32, "qwen3_vl"),
}
"""Released checkpoints by folder name, for a plan made before they are fetched."""
PUBLISHED |= {
    "qwen2.5-vl-7b-cot-sft": PUBLISHED["qwen2.5-vl-7b-instruct"],
    "video-r1-7b": PUBLISHED["qwen2.5-vl-7b-instruct"],
}


def model_in(folder: Path) -> Model | None:
    """The model of a checkpoint folder: widths from config.json, parameters from the weights' headers.

    Without a readable configuration or without weights, the released model of the folder's name; None: unknown.

    Args:
        folder: may be absent or incomplete.
    """
    published = PUBLISHED.get(folder.name.lower())
    try:
        config = json.loads((folder / "config.json").read_text())
        shape, side, model_type = shape_of(config), side_of(config), str(config["model_type"])
        counts = counted(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return published
    if not counts["text"]:
        return published
    return Model(shape, counts["text"], counts["embedding"], counts["head"], counts["vision"], side, model_type)


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Widths and depths in a config.json; released Qwen2.5-VL has the language model's at the top level.

    Raises:
        KeyError: a width is missing.
    """
    text = config.get("text_config") or config
    vision = config.get("vision_config") or {}
    heads = text["num_attention_heads"]
    return Shape(
        hidden=text["hidden_size"],
        layers=text["num_hidden_layers"],
        heads=heads,
        key_heads=text.get("num_key_value_heads") or heads,
        intermediate=text["intermediate_size"],
        vocabulary=text["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        vision_layers=_first(vision, "depth", "num_hidden_layers"),
        vision_hidden=_first(vision, "hidden_size", "embed_dim"),
        vision_heads=_first(vision, "num_heads", "num_attention_heads"),
        vision_intermediate=_first(vision, "intermediate_size"),
        head_size=text.get("head_dim"),
    )


def side_of(config: Mapping[str, Any]) -> int:
    """Pixels on a side of what becomes one token of a clip."""
    vision = config.get("vision_config") or {}
    return int(_first(vision, "patch_size", default=14)) * int(_first(vision, "spatial_merge_size", default=2))


def counted(folder: Path) -> dict[str, int]:
    """Parameters by part, from the headers of a folder's safetensors files.

    Raises:
        ValueError: a file is no safetensors file.
        OSError, struct.error: it cannot be read, or breaks off.
    """
    parts = {"text": 0, "embedding": 0, "head": 0, "vision": 0}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 100 << 20:
                raise ValueError(f"{path}: no safetensors file")
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                parts[_part(name)] += _product(tensor["shape"])
    return parts


def _part(name: str) -> str:
    if "visual" in name or "vision" in name:
        return "vision"
    if "embed_tokens" in name:
        return "embedding"
    return "head" if "lm_head" in name else "text"


def _product(sizes: list[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def _first(values: Mapping[str, Any], *names: str, default: int = 0) -> int:
    """The first of these that a configuration has, as a number; of a pair the first."""
    for name in names:
        if (value := values.get(name)) is not None:
            return int(value[0] if isinstance(value, list) else value)
    return default


def full_attention_layers(depth: int) -> list[int]:
    """Vision layers that see a whole temporal patch: every eighth as released, of few layers the last."""
    return list(range(7, depth, 8)) or [depth - 1]
