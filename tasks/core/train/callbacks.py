"""Output of a training run: the curve and the progress bar."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import ProgressCallback, TrainerCallback

from tasks.core.io.atomic import write_text
from tasks.core.train.curve import curve_csv


class CurveWriter(TrainerCallback):
    """Keeps the curve's CSV up to date after every logged step."""

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        self._path, self._columns = path, columns

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the whole log, which a checkpoint restores, so that a resumed curve has no gap and no repeat."""
        if state.is_world_process_zero:
            write_text(self._path, curve_csv(state.log_history, self._columns))


class Progress(ProgressCallback):
    """One progress bar with a few metrics, in place of a dictionary per step."""

    def __init__(self, shown: tuple[str, ...]) -> None:
        super().__init__()
        self._shown = shown

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Put the latest values beside the bar."""
        if state.is_world_process_zero and self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix(
                {name: f"{logs[name]:.3g}" for name in self._shown if logs.get(name) is not None}
            )


def show_progress(trainer: Any, shown: tuple[str, ...]) -> None:
    """Replace the trainer's progress bar by `Progress`."""
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(Progress(shown))
