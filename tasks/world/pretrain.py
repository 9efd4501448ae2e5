"""Curriculum pretraining: one skill at a time to completion, a share of it kept in what follows.

Mixing all kinds from the start teaches none of them in the same number of steps; so does AdamW alone. Two-dimensional
hidden weights are trained by Muon, everything else by AdamW.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy

from tasks.core.io.errors import StageError
from tasks.core.world.split import draw_row
from tasks.world.batches import RowBatches
from tasks.world.muon import Muon
from tasks.world.rows import KINDS, Scenes

WARMUP_STEPS = 30


class Step(NamedTuple):
    """One logged step; `loss` and `accuracy` hold a value per kind of row (token averages over learned tokens)."""

    skill: str
    step: int
    loss: dict[str, float]
    accuracy: dict[str, float]
    seconds: float


def make_optimizers(model: torch.nn.Module, muon_lr: float, adamw_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for hidden matrices; AdamW for embeddings, patch embedding, norms and biases."""
    hidden: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        matrix = weight.ndim == 2 and "embed" not in name and "lm_head" not in name
        (hidden if matrix else rest).append(weight)
    muon = Muon(hidden, lr=muon_lr, weight_decay=0.01)
    adamw = torch.optim.AdamW(rest, lr=adamw_lr, weight_decay=0.0, betas=(0.9, 0.98))
    return [muon, adamw]


def learning_rate_share(step: int, steps: int, decay: bool) -> float:
    """Warm-up, then constant; with `decay` a cosine to 5 % of the peak over the whole skill."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return warm * (0.05 + 0.95 * (0.5 + 0.5 * math.cos(math.pi * step / steps)) if decay else 1.0)


def train_skill(
    model: Any,
    processor: Any,
    *,
    name: str,
    mix: dict[str, float],
    steps: int,
    rows: int,
    decay: bool,
    muon_lr: float,
    adamw_lr: float,
    seed: int,
    prompt: dict[str, str],
    log: Callable[[Step], None],
    log_every: int = 20,
    scenes: Scenes = draw_row,
) -> None:
    """Train one step of the curriculum in place.

    Raises:
        StageError: it diverged; names the step.
    """
    dataset = RowBatches(processor, mix, rows, seed, prompt, scenes)
    loader = iter(torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=1, prefetch_factor=4))
    optimizers = make_optimizers(model, muon_lr, adamw_lr)
    peaks = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    model.train()
    sums = torch.zeros(len(KINDS), 3)
    started = time.perf_counter()
    for step in range(steps):
        share = learning_rate_share(step, steps, decay)
        for peak, group in zip(peaks, (g for o in optimizers for g in o.param_groups), strict=True):
            group["lr"] = peak * share
        sums += train_step(model, optimizers, next(loader), f"skill {name}: step {step + 1}")
        if (step + 1) % log_every == 0 or step + 1 == steps:
            seen = [(kind, *sums[i].tolist()) for i, kind in enumerate(KINDS) if sums[i, 2] > 0]
            log(
                Step(
                    name,
                    step + 1,
                    {kind: loss / n for kind, loss, _, n in seen},
                    {kind: hits / n for kind, _, hits, n in seen},
                    time.perf_counter() - started,
                )
            )
            sums.zero_()
    norm = float(torch.nn.utils.get_total_norm(list(model.parameters())))
    if not math.isfinite(norm):
        raise StageError(f"skill {name}: step {steps}: the weights' norm is {norm}; nothing is saved")


def train_step(
    model: Any, optimizers: list[torch.optim.Optimizer], batch: dict[str, torch.Tensor], where: str
) -> torch.Tensor:
    """One update. Returns (kinds, 3): summed loss, hits and number of learned tokens per kind of row.

    Raises:
        StageError: the gradient is not finite, and nothing was changed; the text begins with `where`.
    """
    labels, kinds = batch.pop("labels"), batch.pop("kind")
    hidden = model.model(**batch).last_hidden_state
    row, place = (labels != -100).nonzero(as_tuple=True)
    logits = model.lm_head(hidden[row, place - 1])
    losses = cross_entropy(logits, labels[row, place], reduction="none")
    losses.mean().backward()
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
    if not math.isfinite(norm):
        raise StageError(f"{where}: the gradient's norm is {norm}; nothing is saved")
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    result = torch.zeros(len(KINDS), 3)
    hits = (logits.argmax(-1) == labels[row, place]).float()
    values = torch.stack([losses.detach(), hits, torch.ones_like(hits)], dim=1)
    return result.index_add_(0, kinds[row], values)
