"""Frames made in a second process, while the first imports Great Expectations and checks those before.

The frames are the same, piece for piece. The second process is forked, so that it need not import anything; it ends
with the first, and what it raises is raised there.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

import pandas as pd

from tasks.core.io.cores import usable_cores
from tasks.core.io.orphan import end_with
from tasks.core.schemas.frames import Shards

PIECES_AHEAD = 1
"""Pieces that wait for the checks, beside the one that is sent and the one that is made."""
END = None
"""Stands behind the last piece of a frame."""


@contextmanager
def made_ahead(frames: Mapping[str, Shards], order: Sequence[str]) -> Iterator[dict[str, Shards]]:
    """The frames, of which those named in `order` are to be looked through once and in this order.

    Raises:
        StageError: what a table raised when it was read.
        RuntimeError: the second process was killed.
    """
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    wanted = [frames[name] for name in order]
    process = context.Process(target=_send, args=(os.getpid(), receiving, sending, wanted), daemon=True)
    process.start()
    sending.close()
    try:
        yield {name: Shards(lambda: _received(receiving)) if name in order else frames[name] for name in frames}
    finally:
        process.kill()
        process.join()
        receiving.close()


def can_make_ahead() -> bool:
    """Whether there are a second core and a way to fork."""
    return "fork" in multiprocessing.get_all_start_methods() and usable_cores() > 1


def _received(receiving: Connection) -> Iterator[pd.DataFrame]:
    while True:
        try:
            piece = pickle.loads(receiving.recv_bytes())
        except EOFError as error:
            raise RuntimeError("the process that reads the tables was killed") from error
        if piece is END:
            return
        if isinstance(piece, BaseException):
            raise piece
        yield piece


def _send(parent: int, receiving: Connection, sending: Connection, frames: Sequence[Shards]) -> None:
    """Make the frames one after the other; a thread sends them, so that the next piece is made meanwhile."""
    end_with(parent)
    receiving.close()
    waiting: queue.Queue[bytes] = queue.Queue(PIECES_AHEAD)
    thread = threading.Thread(target=_pass_on, args=(waiting, sending), daemon=True)
    thread.start()
    try:
        for frame in frames:
            for piece in frame:
                waiting.put(pickle.dumps(piece, pickle.HIGHEST_PROTOCOL))
            waiting.put(pickle.dumps(END))
    except Exception as error:  # whatever a table raises belongs to the first process
        waiting.put(_pickled(error))
    waiting.put(b"")
    thread.join()


def _pickled(error: Exception) -> bytes:
    try:
        pickle.loads(pickled := pickle.dumps(error))
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return pickled


def _pass_on(waiting: queue.Queue[bytes], sending: Connection) -> None:
    while piece := waiting.get():
        sending.send_bytes(piece)
    sending.close()
