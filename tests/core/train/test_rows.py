"""Encoded prompts: frames in another order without the processor."""

import pytest
import torch

from tasks.core.models.load import load_processor
from tasks.core.train.rows import encode_prompt, reordered
from tasks.core.video import shuffle_clip


@pytest.mark.parametrize(
    ("frames", "order"),
    [
        pytest.param(4, [2, 0, 3, 1], id="pairs torn apart"),
        pytest.param(4, [2, 3, 0, 1], id="whole pairs"),
        pytest.param(5, [4, 1, 0, 2, 3], id="of an odd number the last frame shown fills the pair"),
        pytest.param(5, [0, 1, 2, 3, 4], id="the true order"),
        pytest.param(2, [1, 0], id="one pair"),
    ],
)
def test_reordered_is_what_the_processor_makes(tiny_model, make_clip, chat, frames, order):
    """To the bit, in every field; a frame larger than a merged patch."""
    processor = load_processor(tiny_model)
    text = processor.apply_chat_template(chat("video"), tokenize=False, add_generation_prompt=True)
    clip = make_clip(frames=frames, side=84)
    mixed = shuffle_clip(clip, order)
    expected = encode_prompt(processor, text, mixed, "video", "a.mp4")
    found = reordered(encode_prompt(processor, text, clip, "video", "a.mp4"), order, mixed)
    for name, value in expected._asdict().items():
        other = getattr(found, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name
