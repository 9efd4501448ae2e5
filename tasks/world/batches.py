"""Rows to tensors, without a detour over files: scenes are rendered straight into the vision encoder's patches.

The patch layout equals that of transformers' Qwen2VLVideoProcessor (a test holds the two together).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image

from tasks.core.world.render import SOURCE_FPS, render_frames
from tasks.core.world.scene import DURATION_SECONDS, Scene
from tasks.core.world.split import draw_row
from tasks.world.rows import KINDS, Row, Scenes, draw

SIDE = 56
PATCH_PIXELS = 14
FRAMES = 16
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)
NOISE_LEVELS = 3.0
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
    encoded = [_encode(row, processor, end) for row in rows]
    width = max(len(ids) for ids, _ in encoded)
    pad = processor.tokenizer.pad_token_id
    ids = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), -100)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, (row_ids, row_labels) in enumerate(encoded):
        ids[i, : len(row_ids)] = torch.tensor(row_ids)
        labels[i, : len(row_ids)] = torch.tensor(row_labels)
        mask[i, : len(row_ids)] = 1
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    batch["mm_token_type_ids"] = (ids == processor.image_token_id).int() + 2 * (ids == processor.video_token_id).int()
    for medium, pixels, grid in (
        ("image", "pixel_values", "image_grid_thw"),
        ("video", "pixel_values_videos", "video_grid_thw"),
    ):
        scenes = [row.scene for row in rows if row.medium == medium]
        if scenes:
            patches = [patchify(scene_frames(scene, medium, rng)) for scene in scenes]
            side = SIDE // PATCH_PIXELS
            batch[pixels] = torch.from_numpy(np.concatenate(patches))
            batch[grid] = torch.tensor([[len(patch) // side**2, side, side] for patch in patches])
            if medium == "video":
                batch["second_per_grid_ts"] = torch.ones(len(scenes))
    batch["kind"] = torch.tensor([KINDS.index(row.kind) for row in rows])
    return batch


def scene_frames(scene: Scene, medium: str, rng: np.random.Generator) -> np.ndarray:
    """Noisy frames as a decoder would give them, float32 (T, SIDE, SIDE, 3) in 0..255; an image is one frame twice."""
    times = [float(t) for t in _TIMES] if medium == "video" else [0.0]
    # A frame depends on the second alone unless something moves: draw each distinct frame once.
    keys = times if scene.kind == "move" else [float(int(t)) for t in times]
    drawn = {key: _shrink(render_frames(scene, [key])[0]) for key in dict.fromkeys(keys)}
    frames = np.stack([drawn[key] for key in keys])
    noise = rng.standard_normal((1, SIDE, SIDE, 3), dtype=np.float32)
    shifts = rng.integers(SIDE, size=len(frames))
    frames = frames + NOISE_LEVELS * np.concatenate([np.roll(noise, shift, axis=1) for shift in shifts])
    frames = np.clip(frames, 0, 255)
    return frames if medium == "video" else np.repeat(frames, 2, axis=0)


def patchify(frames: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) in 0..255 to (T/2 * H/14 * W/14, 3*2*14*14), in the order of the 2x2 spatial merge."""
    pixels = (frames / 255.0 - MEAN) / STD
    t, h, w = len(frames) // 2, SIDE // (2 * PATCH_PIXELS), SIDE // (2 * PATCH_PIXELS)
    blocks = pixels.reshape(t, 2, h, 2, PATCH_PIXELS, w, 2, PATCH_PIXELS, 3)
    ordered = blocks.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return np.ascontiguousarray(ordered.reshape(t * h * w * 4, -1), dtype=np.float32)


def _shrink(frame: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32)


def _encode(row: Row, processor: Any, end: bool) -> tuple[list[int], list[int]]:
    prompt = processor.apply_chat_template(row.messages, tokenize=False, add_generation_prompt=True)
    for medium, temporal_patches in (("image", 1), ("video", FRAMES // 2)):
        pad = f"<|{medium}_pad|>"
        prompt = prompt.replace(pad, pad * (temporal_patches * (SIDE // (2 * PATCH_PIXELS)) ** 2))
    head = processor.tokenizer(prompt).input_ids
    tail = list(processor.tokenizer(row.target).input_ids)
    if end:
        tail.append(processor.tokenizer.eos_token_id)
    return head + tail, [-100] * len(head) + tail
