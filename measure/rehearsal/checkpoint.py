"""A checkpoint as the released ones are: published key names, several shards, generation settings; random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from measure.rehearsal.vocabulary import released_tokenizer
from tasks.core.io.errors import StageError
from tasks.core.sizing.shapes import SHAPES, Shape

CORPUS = (
    "What moves to the right? Read the text, count the discs. <think> It is B. </think> <answer>B</answer> 0123456789"
)
GENERATION = {
    "do_sample": True,
    "repetition_penalty": 1.05,
    "temperature": 1e-06,
    "top_k": 1,
    "top_p": 0.001,
}
"""What the released Qwen2.5-VL ships; no stage may sample by it."""


class Size(NamedTuple):
    """Widths to rehearse at."""

    shape: Shape
    shard: str
    """The largest shard."""
    released_vocabulary: bool
    """Else a small one, trained on the spot."""


SIZES = {
    "tiny": Size(SHAPES["mini"]._replace(layers=2, vision_layers=2, vocabulary=1000), "1MB", False),
    "3b": Size(SHAPES["3b"]._replace(layers=2, vision_layers=2), "400MB", True),
    "7b": Size(SHAPES["7b"]._replace(layers=2, vision_layers=4), "1GB", True),
}


def size_of(name: str, layers: int | None) -> Size:
    """A size of SIZES; with so many layers of the language model it has all of the encoder's, and shards as released.

    Raises:
        StageError: the model has fewer.
    """
    size, shape = SIZES[name], SHAPES["mini" if name == "tiny" else name]
    if layers is None:
        return size
    if layers > shape.layers:
        raise StageError(f"--layers {layers}: the {name} model has {shape.layers}")
    deeper = size.shape._replace(layers=layers, vision_layers=shape.vision_layers)
    return size._replace(shape=deeper, shard="1GB" if size.released_vocabulary else size.shard)


def make_checkpoint(folder: Path, size: Size, device: str = "cpu") -> int:
    """Write it in bfloat16, as released; returns its parameters. On a GPU, `device` cuda, weights are drawn faster."""
    from measure.speed.grpo.shapes import build
    from tasks.core.world.model import build_processor

    processor = build_processor("qwen2_5_vl", [CORPUS] * 8)
    if size.released_vocabulary:
        processor.tokenizer = released_tokenizer()
    model = build(size.shape, processor, "bfloat16", device)
    model.save_pretrained(folder, max_shard_size=size.shard)
    processor.save_pretrained(folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | GENERATION, indent=2))
    return sum(value.numel() for value in model.parameters())


def keys_of(folder: Path) -> dict[str, Any]:
    """Weight -> shard, of the index that several shards have."""
    weights: dict[str, Any] = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    return weights
