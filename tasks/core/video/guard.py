"""Reading media files in processes that can be killed: no file can stop a run.

    thread -> guarded(read, path)  -> an idle child, or a new one -> the clip
                                      too long: killed            -> VideoError "not read within 61 s"
                                      dead                        -> VideoError "the decoder crashed (SIGSEGV)"
                                      raised anything             -> VideoError with what it raised

A child is started once and serves until its parent ends; there are as many as threads that read at the same time. A
clip comes back through a pipe at some 2 GB/s, which adds one or two hundredths to the time of decoding it.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tasks.core.video.archive import folder_of, state_of
from tasks.core.video.child import LENGTH, Reply
from tasks.core.video.clip import VideoError

T = TypeVar("T")

LIMIT_SECONDS = 60.0
"""For a small file."""
SECONDS_PER_MEBIBYTE = 1.0
"""More for a larger one: an hour of film that has to be decoded from end to end is no hang."""
START_SECONDS = 120.0
PIPE_BYTES = 2**20
ROOT = Path(__file__).parents[3]
START = "from tasks.core.video.child import main; main({parent})"


class ReaderError(VideoError):
    """A file that took too long or killed its reader: another try, elsewhere, may end better."""


class _Reader:
    """One child."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-c", START.format(parent=os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            pipesize=PIPE_BYTES,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout.fileno()
        self._ready = select.poll()
        self._ready.register(self._replies, select.POLLIN)
        try:
            self._receive(START_SECONDS)
        except (EOFError, TimeoutError) as error:
            self.kill()
            raise RuntimeError(f"the process that reads media files does not start: {error}") from error

    def ask(self, request: bytes, limit_seconds: float) -> Reply:
        """One request, one reply.

        Raises:
            BrokenPipeError: it had died before.
            EOFError: it died of this.
            TimeoutError: no whole reply within the limit.
        """
        if self._process.poll() is not None:
            raise BrokenPipeError
        self._requests.write(LENGTH.pack(len(request)) + request)
        self._requests.flush()
        return self._receive(limit_seconds)

    def kill(self) -> int:
        """End it; its exit status."""
        self._process.kill()
        status = self._process.wait()
        shutil.rmtree(folder_of(self._process.pid), ignore_errors=True)
        return status

    def close(self) -> None:
        """Let it end by itself."""
        self._requests.close()

    def _receive(self, limit_seconds: float) -> Reply:
        end = time.monotonic() + limit_seconds
        count = LENGTH.unpack(self._read(LENGTH.size, end))[0]
        sizes = [LENGTH.unpack(self._read(LENGTH.size, end))[0] for _ in range(count)]
        body, *buffers = [self._read(size, end) for size in sizes]
        reply: Reply = pickle.loads(body, buffers=buffers)
        return reply

    def _read(self, size: int, end: float) -> memoryview:
        whole = memoryview(np.empty(size, np.uint8).data)
        left = whole
        while left:
            if not self._ready.poll(max(0.0, end - time.monotonic()) * 1000):
                raise TimeoutError("no answer")
            count = os.readv(self._replies, [left])
            if not count:
                raise EOFError("it died")
            left = left[count:]
        return whole


class Readers:
    """Children of this process, by threads as they need them."""

    def __init__(self) -> None:
        self._idle: list[_Reader] = []
        self._lock = threading.Lock()
        self._hung: dict[tuple[str, str], str] = {}
        """Reasons by function and path: ten questions about a clip that hangs wait for it once."""
        self.processor_seconds = 0.0
        """That the children have used."""

    def call(self, function: Callable[..., Any], path: str, arguments: Any, keywords: Any, limit: float) -> Any:
        """`guarded`, with these children."""
        # A child stays in the folder in which it began.
        whole_path = os.path.abspath(path)
        if hung := self._hung.get((function.__name__, whole_path)):
            raise ReaderError(path, hung)
        request = pickle.dumps((function, (whole_path, *arguments), keywords))
        is_fresh = False
        while True:
            with self._lock:
                reader = self._idle.pop() if self._idle and not is_fresh else None
            is_fresh, reader = reader is None, reader or _Reader()
            try:
                reply = reader.ask(request, limit)
            except TimeoutError as error:
                reader.kill()
                reason = self._hung[function.__name__, whole_path] = f"not read within {limit:.0f} s"
                raise ReaderError(path, reason) from error
            except (EOFError, BrokenPipeError) as error:
                ending = _ending(reader.kill())
                if is_fresh:
                    raise ReaderError(path, f"the decoder crashed ({ending})") from error
                is_fresh = True  # It may have died before, or of what it read before: the next one is new.
            except BaseException:  # Ctrl-C half way through a reply: this child's pipe holds the rest of it.
                reader.kill()
                raise
            else:
                with self._lock:
                    self._idle.append(reader)
                    self.processor_seconds += reply.processor_seconds
                if reply.reason:
                    raise VideoError(path, reply.reason)
                return reply.value

    def close(self) -> None:
        """Let the idle ones end."""
        with self._lock:
            for reader in self._idle:
                reader.close()
            self._idle.clear()


READERS = Readers()
atexit.register(READERS.close)


def guarded(
    function: Callable[..., T], path: Path | str, *arguments: Any, limit_seconds: float = LIMIT_SECONDS, **keywords: Any
) -> T:
    """`function(path, *arguments, **keywords)` in a child.

    Args:
        function: of a module; what it returns and takes must pickle.
        path: media file or folder of pictures.
        arguments: more of them.
        limit_seconds: for a small file; a larger one gets SECONDS_PER_MEBIBYTE more.
        keywords: more of them.

    Raises:
        ReaderError: it takes too long, or the child dies.
        VideoError: whatever the function raises.
    """
    limit = limit_seconds + _mebibytes(Path(path)) * SECONDS_PER_MEBIBYTE
    value: T = READERS.call(function, str(path), arguments, keywords, limit)
    return value


def processor_seconds() -> float:
    """Processor time that the children of this process have used."""
    return READERS.processor_seconds


def _mebibytes(path: Path) -> float:
    try:
        files = path.iterdir() if path.is_dir() else [path]
        return sum(state_of(file).size_bytes for file in files) / 2**20
    except (OSError, VideoError):
        return 0.0


def _ending(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _forget() -> None:
    """In a process forked from this one, whose children these are not."""
    global READERS
    _FORGOTTEN.append(READERS)
    READERS = Readers()


_FORGOTTEN: list[Readers] = []
os.register_at_fork(after_in_child=_forget)
