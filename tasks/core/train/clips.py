"""Decoded frames kept in memory, so that a clip used again is not decoded again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from tasks.core.video import Clip, VideoError, open_clip

BYTES_PER_GB = 2**30
Reader = Callable[[str, str], Clip]
"""(path, data type) -> clip as the model is to see it; raises VideoError."""


def media_reader(**settings: Any) -> Reader:
    """Reader by the `video` section of the parameters (`open_clip`)."""
    return partial(open_clip, **settings)


class ClipStore:
    """Clips by path, uint8, the least recently used dropped above `limit_gb` GiB.

    What cannot be decoded is remembered too: a broken file is opened once.
    """

    def __init__(self, read: Reader, limit_gb: float) -> None:
        self._read = read
        self._limit_bytes = int(limit_gb * BYTES_PER_GB)
        self._clips: OrderedDict[str, Clip] = OrderedDict()
        self._bytes = 0
        self._broken: dict[str, VideoError] = {}

    def get(self, path: str, data_type: str) -> Clip:
        """The clip at `path`.

        Raises:
            VideoError: it does not decode, now or when it was first asked for.
        """
        if path in self._broken:
            raise self._broken[path]
        if path in self._clips:
            self._clips.move_to_end(path)
            return self._clips[path]
        try:
            clip = self._read(path, data_type)
        except VideoError as error:
            self._broken[path] = error
            raise
        self._clips[path] = clip
        self._bytes += clip.frames.nbytes
        while self._bytes > self._limit_bytes and len(self._clips) > 1:
            self._bytes -= self._clips.popitem(last=False)[1].frames.nbytes
        return clip
