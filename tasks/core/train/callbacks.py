"""Output of a training run: the curve and the progress bar."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import ProgressCallback, TrainerCallback

from tasks.core.io.atomic import write_text
from tasks.core.io.progress import Progress, note_progress
from tasks.core.train.curve import curve_csv


class CurveWriter(TrainerCallback):
    """Keeps the curve's CSV up to date after every logged step."""

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        self._path, self._columns = path, columns

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the whole log, which a checkpoint restores, so that a resumed curve has no gap and no repeat."""
        if state.is_world_process_zero:
            write_text(self._path, curve_csv(state.log_history, self._columns))


class ProgressBar(ProgressCallback):
    """One progress bar with a few metrics, in place of a dictionary per step; also written to a file."""

    def __init__(self, shown: tuple[str, ...]) -> None:
        super().__init__()
        self._shown = shown
        self._figures = ""
        self._begun = (0, 0.0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Remember where this sitting begins: time left is told from its own steps."""
        super().on_train_begin(args, state, control, **named)
        self._begun = (state.global_step, time.monotonic())

    def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Leave steps, time left and the latest figures."""
        super().on_step_end(args, state, control, **named)
        if state.is_world_process_zero:
            step, begun = self._begun
            each = (time.monotonic() - begun) / max(1, state.global_step - step)
            left = (state.max_steps - state.global_step) * each
            note_progress(Progress(state.global_step, state.max_steps, "steps", left, self._figures))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Put the latest values beside the bar."""
        if state.is_world_process_zero and self.training_bar is not None and logs and "loss" in logs:
            figures = {name: f"{logs[name]:.3g}" for name in self._shown if logs.get(name) is not None}
            self.training_bar.set_postfix(figures)
            self._figures = ", ".join(f"{name}={value}" for name, value in figures.items())


def show_progress(trainer: Any, shown: tuple[str, ...]) -> None:
    """Replace the trainer's progress bar by `ProgressBar`."""
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(ProgressBar(shown))
