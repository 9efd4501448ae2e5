"""Rows to tensors, without a detour over files: scenes are rendered straight into the vision encoder's patches.

For families whose processors lay patches of two frames flat (`core/backbones/mrope.py`); a test holds the layout to
theirs. Ids, grids and time scale of a medium come from the family's own encoding of an empty clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import pad

from tasks.core.backbones import EncodedPrompt, of_processor
from tasks.core.models.inputs import encode_one, padded, prompt_text
from tasks.core.video import Clip
from tasks.core.world.render import SOURCE_FPS, render_frames
from tasks.core.world.scene import DURATION_SECONDS, Scene
from tasks.core.world.split import draw_row
from tasks.world.rows import KINDS, Row, Scenes, draw

PATCHES = 4
"""Patches along a side of a frame: two by two merged ones."""
FRAMES = 16
NOISE_LEVELS = 3.0
SAMPLE_FPS = FRAMES / DURATION_SECONDS
_TIMES = np.linspace(0, DURATION_SECONDS * SOURCE_FPS - 1, FRAMES).round() / SOURCE_FPS


class RowBatches(torch.utils.data.IterableDataset):
    """Endless batches of one curriculum step; batch `i` depends on (seed, i) alone."""

    def __init__(
        self,
        processor: Any,
        mix: dict[str, float],
        rows: int,
        seed: int,
        prompt: dict[str, str],
        scenes: Scenes = draw_row,
    ) -> None:
        self.processor, self.mix, self.rows, self.seed, self.prompt = processor, mix, rows, seed, prompt
        self.scenes = scenes

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = torch.utils.data.get_worker_info()
        index, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        while True:
            yield self.batch(index)
            index += stride

    def batch(self, index: int) -> dict[str, torch.Tensor]:
        """The batch with this number."""
        rng = np.random.default_rng((self.seed, index))
        kinds = rng.choice(list(self.mix), size=self.rows, p=np.array(list(self.mix.values())) / sum(self.mix.values()))
        return collate([draw(str(kind), rng, self.scenes, **self.prompt) for kind in kinds], self.processor, rng)


def collate(rows: list[Row], processor: Any, rng: np.random.Generator, *, end: bool = True) -> dict[str, torch.Tensor]:
    """Right-padded model inputs with labels, plus `kind` (row -> index into rows.KINDS).

    `end` closes the assistant's turn; without it the batch is ready to generate from.
    """
    backbone = of_processor(processor)
    side, drawn = frame_side(processor), {}
    for medium in ("image", "video"):
        for place, row in enumerate(rows):
            if row.medium == medium:
                drawn[place] = patchify(scene_frames(row.scene, medium, rng, side), processor)
    encoded = [_encode(row, processor, drawn[place]) for place, row in enumerate(rows)]
    tails = [processor.tokenizer(row.target).input_ids + [processor.tokenizer.eos_token_id] * end for row in rows]
    whole = [
        prompt._replace(ids=torch.cat([prompt.ids, torch.tensor(tail, dtype=torch.long)]))
        for prompt, tail in zip(encoded, tails, strict=True)
    ]
    whole = [prompt._replace(kinds=pad(prompt.kinds, (0, len(prompt.ids) - len(prompt.kinds)))) for prompt in whole]
    batch = padded(whole, processor.tokenizer.pad_token_id, "right", kinds=backbone.places_by_kind)
    batch |= {**backbone.placing(whole), **backbone.pixels(whole)}
    labels = torch.full_like(batch["input_ids"], -100)
    for place, (prompt, tail) in enumerate(zip(encoded, tails, strict=True)):
        start = len(prompt.ids)
        labels[place, start : start + len(tail)] = torch.tensor(tail)
    batch["labels"] = labels
    batch["kind"] = torch.tensor([KINDS.index(row.kind) for row in rows])
    return batch


def scene_frames(scene: Scene, medium: str, rng: np.random.Generator, side: int) -> np.ndarray:
    """Noisy frames as a decoder would give them, float32 (T, side, side, 3) in 0..255; an image is one frame twice."""
    times = [float(t) for t in _TIMES] if medium == "video" else [0.0]
    # A frame depends on the second alone unless something moves: draw each distinct frame once.
    keys = times if scene.kind == "move" else [float(int(t)) for t in times]
    drawn = {key: _shrink(render_frames(scene, [key])[0], side) for key in dict.fromkeys(keys)}
    frames = np.stack([drawn[key] for key in keys])
    noise = rng.standard_normal((1, side, side, 3), dtype=np.float32)
    shifts = rng.integers(side, size=len(frames))
    frames = frames + NOISE_LEVELS * np.concatenate([np.roll(noise, shift, axis=1) for shift in shifts])
    frames = np.clip(frames, 0, 255)
    return frames if medium == "video" else np.repeat(frames, 2, axis=0)


def patchify(frames: np.ndarray, processor: Any) -> np.ndarray:
    """(T, H, W, 3) in 0..255 to (T/2 * H/p * W/p, 3*2*p*p) with patches of p x p, in the order of the 2x2 merge."""
    sizes = processor.video_processor
    patch = sizes.patch_size
    mean, std = (np.array(values, dtype=np.float32) for values in (sizes.image_mean, sizes.image_std))
    pixels = (frames / 255.0 - mean) / std
    t, h, w = len(frames) // 2, frames.shape[1] // (2 * patch), frames.shape[2] // (2 * patch)
    blocks = pixels.reshape(t, 2, h, 2, patch, w, 2, patch, 3)
    ordered = blocks.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return np.ascontiguousarray(ordered.reshape(t * h * w * 4, -1), dtype=np.float32)


def frame_side(processor: Any) -> int:
    """Pixels along a side of a frame."""
    return PATCHES * int(processor.video_processor.patch_size)


def _shrink(frame: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)


def _encode(row: Row, processor: Any, pixels: np.ndarray) -> EncodedPrompt:
    """A row's prompt with its scene in the place of an empty clip's pixels."""
    side = frame_side(processor)
    count, fps = (FRAMES, SAMPLE_FPS) if row.medium == "video" else (1, 0.0)
    empty = Clip(np.zeros((count, side, side, 3), np.uint8), list(range(count)), fps, fps, DURATION_SECONDS)
    encoded = encode_one(processor, prompt_text(processor, row.messages), empty, row.medium)
    return encoded._replace(pixels=torch.from_numpy(pixels))
