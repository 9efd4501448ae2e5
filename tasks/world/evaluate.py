"""What a mini model can do: answers generated for fresh rows, scored by the rewards every stage uses."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch

from tasks.core.rewards import accuracy
from tasks.core.text import is_well_formed
from tasks.core.world.split import draw_row
from tasks.world.batches import collate
from tasks.world.rows import Row, draw

BATCH_ROWS = 64
MAX_NEW_TOKENS = 80


def evaluate(model: Any, processor: Any, *, rows: int, seed: int, temperature: float, prompt: dict[str, str]) -> dict:
    """Answer `rows` questions drawn from `seed`.

    Returns accuracy (0-1) overall, on temporal and on static questions, per skill, and the share of well-formed
    reasoning.
    """
    rng = np.random.default_rng((seed, 0))
    drawn = [draw("reason", rng, draw_row, **prompt) for _ in range(rows)]
    torch.manual_seed(seed)
    scores: dict[str, list[float]] = defaultdict(list)
    for start in range(0, rows, BATCH_ROWS):
        batch = drawn[start : start + BATCH_ROWS]
        for row, text in zip(batch, _answers(model, processor, batch, temperature, rng), strict=True):
            record = row.record
            assert record is not None
            score = accuracy(record.problem_type, text, record.solution).value
            for key in ("overall", "temporal" if record.temporal else "static", f"skill/{record.skill}"):
                scores[key].append(score)
            scores["well_formed"].append(float(is_well_formed(text)))
    return {key: round(float(np.mean(values)), 4) for key, values in sorted(scores.items())}


@torch.inference_mode()
def _answers(model: Any, processor: Any, rows: list[Row], temperature: float, rng: np.random.Generator) -> list[str]:
    model.eval()
    processor.tokenizer.padding_side = "left"
    batch = _left_pad(collate([row._replace(target="") for row in rows], processor, rng, end=False), processor)
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    out = model.generate(**batch, max_new_tokens=MAX_NEW_TOKENS, **sampling)
    return processor.tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def _left_pad(batch: dict[str, torch.Tensor], processor: Any) -> dict[str, torch.Tensor]:
    """Move the padding of a right-padded batch to the left."""
    del batch["labels"], batch["kind"]
    lengths = batch["attention_mask"].sum(1)
    width = batch["attention_mask"].shape[1]
    source = (torch.arange(width)[None] - (width - lengths)[:, None]) % width
    for key in ("input_ids", "attention_mask", "mm_token_type_ids"):
        batch[key] = batch[key].gather(1, source)
    return batch
