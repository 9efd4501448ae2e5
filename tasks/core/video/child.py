"""A process that reads media files for another one, which may kill it: `python -c "...; main(PARENT)"` by `guard.py`.

Requests and replies are pickles on the standard streams, with the frames behind them as they lie in memory. Both ends
are this code; nothing from outside is unpickled.

    request   length, (function, arguments, keywords)
    reply     number of parts, length of each, then the parts: Reply, and the buffers of its arrays
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import struct
import sys
import time
from typing import IO, Any, NamedTuple

from tasks.core.io.orphan import end_with
from tasks.core.video.archive import as_file
from tasks.core.video.clip import VideoError

LENGTH = struct.Struct("<Q")
MEMORY_BYTES = 8 * 2**30
"""Address space of a child: a damaged header asks for any amount, and the machine belongs to the others too."""


class Reply(NamedTuple):
    """What became of a request."""

    value: Any
    """What the function returned; None when it raised."""
    reason: str
    """Why it raised; "" when it did not."""
    processor_seconds: float


def main(parent: int) -> None:
    """Answer requests until the standard input ends or the process `parent` does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means.
    end_with(parent)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_BYTES if most == resource.RLIM_INFINITY else min(most, MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    send(replies, Reply(None, "", 0.0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # Decoders mutter on them.
        os.dup2(nowhere, stream)
    while length := requests.read(LENGTH.size):
        send(replies, answer(requests.read(LENGTH.unpack(length)[0])))


def answer(request: bytes) -> Reply:
    """Call what a request names; whatever it raises is a reason."""
    start, value, reason = time.process_time(), None, ""
    try:
        function, (path, *arguments), keywords = pickle.loads(request)
        with as_file(path) as file:
            value = function(str(file), *arguments, **keywords)
    except VideoError as error:
        reason = error.reason
    except MemoryError:
        reason = f"needs more than {MEMORY_BYTES >> 30} GiB to decode"
    # Decoders and their bindings raise what they like; one file's trouble is that file's reason.
    except Exception as error:
        reason = f"does not decode: {type(error).__name__}: {error}"
    return Reply(value, reason, time.process_time() - start)


def send(stream: IO[bytes], reply: Reply) -> None:
    """Write a reply."""
    buffers: list[pickle.PickleBuffer] = []
    parts = [memoryview(pickle.dumps(reply, protocol=5, buffer_callback=buffers.append))]
    parts += [buffer.raw() for buffer in buffers]
    stream.write(b"".join(LENGTH.pack(number) for number in (len(parts), *(part.nbytes for part in parts))))
    for part in parts:
        stream.write(part)
    stream.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
