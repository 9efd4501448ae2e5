"""Shared fixtures: a tiny random Qwen2.5-VL checkpoint and clips to show it. Nothing here needs a network."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import numpy as np
import pytest

from tests.support.texts import TEXT

pytest_plugins = ["tests.support.contract_table"]


def pytest_collection_modifyitems(items):
    """Files with slow tests come first: of several processes none is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a random Qwen2.5-VL of some 200 thousand weights, saved as a checkpoint.

    Its matrices are enlarged: at the usual initial scale a random model says the same token for any picture, and a test
    that compares answers would compare nothing. It also loves to say <|video_pad|>, unless that is forbidden.
    """
    import torch

    from tasks.core.models.load import save_model
    from tasks.core.world.model import build_model, build_processor

    processor = build_processor("qwen2_5_vl", TEXT * 4, vocabulary=360)
    model = build_model(processor, hidden_size=64, layers=2, heads=2, vision_layers=1, seed=7)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight *= 8
        model.get_input_embeddings().weight[processor.video_token_id] *= 4
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(model, processor, folder)
    return folder


@pytest.fixture(scope="session")
def make_clip():
    """`make_clip(frames, fps, seed, side)`: a clip of noise, or an image when `fps` is 0."""
    from tasks.core.video.clip import Clip

    def make(frames=8, fps=2.0, seed=0, side=56):
        pixels = np.random.default_rng(seed).integers(0, 256, (frames, side, side, 3), dtype=np.uint8)
        seconds = frames / fps if fps else 0.0
        return Clip(pixels, list(range(frames)), fps, fps, seconds)

    return make


@pytest.fixture(scope="session")
def chat():
    """`chat(medium, text)`: messages of one question; medium is "image", "video" or None."""

    def make(medium, text="Which way does the red ball move?"):
        content = [{"type": medium}] if medium else []
        return [
            {"role": "system", "content": [{"type": "text", "text": "You are a helpful assistant."}]},
            {"role": "user", "content": [*content, {"type": "text", "text": text}]},
        ]

    return make
