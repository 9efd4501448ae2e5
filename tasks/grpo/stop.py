"""Stopping on request: after a SIGTERM the step is finished, a checkpoint is saved and the process ends.

    SIGTERM during  rollouts | forward | backward | optimizer | save   ->  end of that step, checkpoint, exit code 143
    a SIGTERM more than two seconds after it                           ->  the process ends at once, as by default

A process may get the signal twice, from the program that ends all processes and from the kernel when its parent ends:
signals within two seconds are one request.

A request before the first step or after the last one changes nothing. Processes of one run agree at the end of each
step, so that all of them stop after the same one.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any, Self

import torch
from transformers import TrainerCallback

EXIT_CODE = 128 + signal.SIGTERM
ONE_REQUEST_SECONDS = 2.0


class StoppedError(Exception):
    """The run was asked to stop; the text says what was kept."""


class StopRequest:
    """Context manager that takes one SIGTERM as a request."""

    def __init__(self) -> None:
        self.asked = False
        self._at = 0.0
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and time.monotonic() > self._at + ONE_REQUEST_SECONDS:
            signal.signal(signal.SIGTERM, self._before)
            os.kill(os.getpid(), number)
        elif not self.asked:
            self.asked, self._at = True, time.monotonic()

    def anywhere(self, device: torch.device) -> bool:
        """Whether any process of the run was asked; all of them must call it."""
        if not torch.distributed.is_initialized():
            return self.asked
        asked = torch.tensor(float(self.asked), device=device)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        return bool(asked)


class StopWhenAsked(TrainerCallback):
    """Ends training with a checkpoint after the step in which the request came."""

    def __init__(self, request: StopRequest) -> None:
        self._request = request
        self.stopped = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Agree, then save and stop; the last step ends the run anyway."""
        if self._request.anywhere(args.device) and state.global_step < state.max_steps:
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True
