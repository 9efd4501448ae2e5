"""How often Python looks for objects that only refer to each other.

As it comes, it looks after every 700 objects that are new and still there. Rows that are read and kept are hundreds of
thousands of them, none refers back, and the looking takes a fifth of the stage.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

NEW_OBJECTS = 50_000


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Look after 50,000 new objects, in this process and in those that are forked meanwhile; as before afterwards."""
    before = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
