"""A tiny random model of every backbone, and what the tests over all of them share."""

import importlib.util
from typing import NamedTuple

import numpy as np
import torch

from tasks.core.backbones import KINDS, Backbone, backbones
from tasks.core.models.inputs import prompt_text
from tasks.core.models.load import load_model, load_processor, save_model
from tasks.core.train.rows import encode_prompt
from tasks.core.video import Clip

FAMILIES = [model_type for backbone in backbones() for model_type in backbone.model_types]
CORPUS = [
    "Which way does the red ball move? A. left B. right C. up D. down <think>It moves left.</think>",
    "<answer>B</answer> Look well. You are a helpful assistant. <0.2 seconds> Frame1: Frame 00:01",
    "You are provided the following series of six frames from a 0:00:03 [H:MM:SS] video. Here is the answer:",
] * 4
ORDERS = {"ordered": [0, 1, 2, 3, 4, 5], "frames": [3, 0, 5, 1, 4, 2], "patches": [4, 5, 0, 1, 2, 3]}


class Family(NamedTuple):
    backbone: Backbone
    processor: object
    model: object
    side: int
    """Of the frames that the model takes."""

    def clip(self, frames=6, seed=0, fps=2.0):
        pixels = np.random.default_rng(seed).integers(0, 256, (frames, self.side, self.side, 3), dtype=np.uint8)
        return Clip(pixels, list(range(frames)), fps, fps, frames / fps if fps else 0.0)

    def image(self, seed=0):
        return self.clip(1, seed, 0.0)

    def text(self, medium, question="Which way does the red ball move?"):
        content = [{"type": medium}] if medium else []
        messages = [
            {"role": "system", "content": [{"type": "text", "text": "You are a helpful assistant."}]},
            {"role": "user", "content": [*content, {"type": "text", "text": question}]},
        ]
        return prompt_text(self.processor, messages)

    def prompt(self, medium, clip, question="Which way does the red ball move?", source=None):
        return encode_prompt(self.processor, self.text(medium, question), clip, medium or "video", source)


def missing(model_type):
    """Why a family cannot be tried here, or None."""
    if model_type == "smolvlm" and importlib.util.find_spec("num2words") is None:
        return "num2words is not installed"
    return None


def write(backbone, folder, scale=8.0, **sizes):
    """Save a tiny model whose matrices are enlarged: at its first scale it says the same token for any picture."""
    processor = backbone.tiny_processor(CORPUS, 420)
    sizes = {"hidden_size": 64, "layers": 2, "heads": 2, "vision_layers": 2, "seed": 7, **sizes}
    model = backbone.tiny_model(processor, **sizes)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight *= scale
    save_model(model, processor, folder)
    return folder


def load(backbone, folder):
    processor = load_processor(folder)
    shape = backbone.frame_shape(processor.image_processor.to_dict())
    return Family(backbone, processor, load_model(folder, "float32", "cpu"), shape.fixed_side or 2 * shape.side_factor)


def batch_inputs(family, prompts, answers):
    """Rows [prompt][answer], padded on the left, as a plain forward takes them."""
    from tasks.core.models.inputs import padded

    rows = [
        prompt._replace(ids=torch.cat([prompt.ids, answer]), kinds=torch.cat([prompt.kinds, 0 * answer]))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    text = padded(rows, family.processor.tokenizer.pad_token_id, "left", kinds=family.backbone.places_by_kind)
    return {**text, **family.backbone.placing(rows), **family.backbone.pixels(rows)}


assert set(KINDS) == {"image", "video"}
