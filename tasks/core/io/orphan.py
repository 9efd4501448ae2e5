"""Helper processes that end when the process that started them does, whatever they are busy with."""

from __future__ import annotations

import os
import threading
import time

WATCH_SECONDS = 0.5
"""How long a helper outlives its parent at most."""


def end_with(parent: int) -> None:
    """Watch over the parent from a thread, and leave without a word when it is gone.

    For a helper to call: a pipe that closes would not reach one that is stuck in a file, and the kernel's own signal
    follows the thread that started the helper, not the process.

    Args:
        parent: id of the process that started this one, as it knows it itself.
    """
    threading.Thread(target=_watch, args=(parent,), name="end-with-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)
