"""Checks of a training run.

A loss, a gradient or weights that are not finite always end the run, before the step changes anything (weights: before
they are saved); the message has the number of the step, and the last checkpoint is kept.

Other signs may be harmless. They are printed by name, and end the run only where `stop` names them:

    gradient   norm far above the median of the last steps
    loss       far above the lowest mean of ten steps (SFT)
    kl         nats per token from the reference model above a limit (GRPO with beta > 0)
    entropy    below a share of what the run began with (GRPO; in SFT it falls as the model learns)
    reward     steps in a row in which no answer earned anything, or no prompt's answers differed in reward (GRPO)
"""

from __future__ import annotations

import math
import statistics
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback

from tasks.core.io.errors import StageError
from tasks.core.train.checkpoints import checkpoints

SETTLED = 10
"""Steps before medians and means are used."""
REMEMBERED = 50


class DivergedError(StageError):
    """The run diverged; the text gives the step, the reason and what is kept."""


class Limits(NamedTuple):
    """Limits of the signs; None switches a sign off."""

    gradient_times: float | None
    """Gradient norm over the median of the last 50 steps."""
    loss_times: float | None
    """Mean loss of ten steps over the lowest such mean so far."""
    kl_nats: float | None
    entropy_share: float | None
    """Entropy over its mean in the first ten steps."""
    empty_steps: int | None
    stop: tuple[str, ...]
    """Names of the signs that end the run."""


class Signs:
    """Finds signs in a run's log, entry by entry; pure arithmetic."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._gradients: deque[float] = deque(maxlen=REMEMBERED)
        self._losses: deque[float] = deque(maxlen=SETTLED)
        self._lowest_loss = math.inf
        self._first_entropies: list[float] = []
        self._empty = 0

    def read(self, entry: Mapping[str, Any]) -> dict[str, str]:
        """Sign -> description, for one logged step; a metric that the step lacks gives no sign."""
        signs = {
            "gradient": self._gradient(entry.get("grad_norm")),
            "loss": None if "reward" in entry else self._loss(entry.get("loss")),
            "kl": self._kl(entry.get("kl")),
            "entropy": self._entropy(entry.get("entropy")) if "reward" in entry else None,
            "reward": self._reward(entry.get("reward"), entry.get("no_signal")),
        }
        return {name: seen for name, seen in signs.items() if seen}

    def _gradient(self, norm: float | None) -> str | None:
        times = self._limits.gradient_times
        if norm is None or not norm > 0:
            return None
        usual = statistics.median(self._gradients) if len(self._gradients) >= SETTLED else None
        self._gradients.append(norm)
        if times is None or usual is None or norm <= times * usual:
            return None
        return f"norm {norm:.3g}, {norm / usual:.0f} times the median of the steps before"

    def _loss(self, loss: float | None) -> str | None:
        times = self._limits.loss_times
        if loss is None:
            return None
        self._losses.append(loss)
        if len(self._losses) < SETTLED:
            return None
        mean = statistics.fmean(self._losses)
        self._lowest_loss = min(self._lowest_loss, mean)
        if times is None or mean <= times * self._lowest_loss or mean <= 0:
            return None
        return f"mean {mean:.3g} of {SETTLED} steps, {self._lowest_loss:.3g} before"

    def _kl(self, kl: float | None) -> str | None:
        limit = self._limits.kl_nats
        return f"{kl:.3g} nats per token" if kl is not None and limit is not None and kl > limit else None

    def _entropy(self, entropy: float | None) -> str | None:
        share = self._limits.entropy_share
        if entropy is None:
            return None
        if len(self._first_entropies) < SETTLED:
            self._first_entropies.append(entropy)
            return None
        began = statistics.fmean(self._first_entropies)
        if share is None or entropy >= share * began:
            return None
        return f"{entropy:.3g} nats per token, {began:.3g} at first"

    def _reward(self, reward: float | None, no_signal: float | None) -> str | None:
        limit = self._limits.empty_steps
        if reward is None:
            return None
        self._empty = self._empty + 1 if reward == 0 or no_signal == 1 else 0
        if limit is None or self._empty < limit:
            return None
        why = "no answer earned anything" if reward == 0 else "no prompt's answers differed in reward"
        return f"{self._empty} steps in a row in which {why}"


class Guards(TrainerCallback):
    """Prints the signs of a run that goes wrong, and ends it where `stop` says so.

    A sign is printed when it appears, not again while it stays. Processes agree before one of them stops.
    """

    def __init__(self, stage: str, limits: Limits) -> None:
        self._stage, self._limits = stage, limits
        self._signs = Signs(limits)
        self._standing: set[str] = set()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Read the log of a resumed run."""
        for entry in state.log_history:
            self._standing = set(self._signs.read(entry))

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Refuse weights that are not finite, before they are saved.

        Raises:
            DivergedError: their norm is not finite; on every process.
        """
        norm = weights_norm(model.parameters())
        if highest(int(not math.isfinite(norm)), args.device):
            raise DivergedError(_text(self._stage, state.global_step, f"the weights' norm is {norm}", args))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Print new signs.

        Raises:
            DivergedError: a sign that `stop` names; on every process.
        """
        if not logs or "loss" not in logs:
            return
        signs = self._signs.read(logs)
        if state.is_world_process_zero:
            for name, seen in signs.items():
                if name not in self._standing:
                    print(f"{self._stage}: warning: step {state.global_step}: {name}: {seen}", file=sys.stderr)
        self._standing = set(signs)
        fatal = [name for name in signs if name in self._limits.stop]
        if self._limits.stop and highest(len(fatal), args.device):
            seen = "; ".join(f"{name}: {signs[name]}" for name in fatal) or "another process saw why"
            hint = f" ({self._stage}.guards.stop names it)"
            raise DivergedError(_text(self._stage, state.global_step, seen + hint, args))


class FiniteSteps:
    """Mixin before a transformers `Trainer`: a step with a loss or gradient that is not finite changes nothing.

    It ends the run; transformers leaves such a loss out of its log and steps on.
    """

    stage = "training"
    """Name of the stage, for messages."""

    def training_step(self, *args: Any, **options: Any) -> Any:
        """The trainer's; remembers a loss that is not finite."""
        loss = super().training_step(*args, **options)  # type: ignore[misc]
        broken = ~torch.isfinite(loss.detach()).all()
        self._broken_loss = broken | getattr(self, "_broken_loss", torch.zeros_like(broken))
        return loss

    def _get_grad_norm(self, *args: Any, **options: Any) -> Any:
        """The trainer's; called when all gradients of a step are there, before the optimizer runs.

        Raises:
            DivergedError: the loss on any process, or the gradient, is not finite; on every process.
        """
        trainer: Any = self
        norm = super()._get_grad_norm(*args, **options)  # type: ignore[misc]
        value = 0.0 if norm is None else float(norm)
        severity = highest(2 if self._broken_loss else int(not math.isfinite(value)), trainer.args.device)
        if severity:
            raise self.diverged("the loss is not finite" if severity == 2 else f"the gradient's norm is {value}")
        return norm

    def diverged(self, wrong: str) -> DivergedError:
        """The error that ends the run in the step under way; every process must raise it."""
        trainer: Any = self
        return DivergedError(_text(self.stage, trainer.state.global_step + 1, wrong, trainer.args))


def weights_norm(parameters: Iterable[Any]) -> float:
    """Euclidean norm of this process's part of the weights; overflows to infinity where training has long diverged."""
    parts = [_local(weight.detach()) for weight in parameters]
    whole = [part for part in parts if part.numel()]
    return float(torch.nn.utils.get_total_norm(whole)) if whole else 0.0


def highest(number: int, device: torch.device) -> int:
    """The largest of all processes' numbers; all of them must call it."""
    if not torch.distributed.is_initialized():
        return number
    numbers = torch.tensor(float(number), device=device)
    torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX)
    return int(numbers)


def _local(weight: Any) -> Any:
    return weight.to_local() if hasattr(weight, "to_local") else weight


def _text(stage: str, step: int, wrong: str, args: Any) -> str:
    kept = next(_names(Path(args.output_dir)), None)
    what = f"{args.output_dir}/{kept} is kept" if kept else "no checkpoint was made yet"
    return f"{stage}: step {step}: {wrong}; nothing is published, {what}"


def _names(work: Path) -> Iterator[str]:
    return (checkpoint.name for checkpoint in checkpoints(work))
