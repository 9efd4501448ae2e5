"""Decoded frames in memory: a clip that is used again is not decoded again, one that is used soon is decoded ahead."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Self

from tasks.core.video import Ahead, Clip, ReadClip, VideoError, open_clip

BYTES_PER_GB = 2**30
SHARE_AHEAD = 1 / 4
"""Share of the limit for clips that were decoded ahead and not yet used."""

Medium = tuple[str, str]
"""(path, data type)."""


def open_store(opening: Mapping[str, Any], limit_gb: float, workers: int) -> ClipStore:
    """A store of clips that `open_clip` reads with these keyword arguments."""
    return ClipStore(partial(open_clip, **opening), limit_gb, workers)


class ClipStore:
    """Clips by path, uint8, the least recently used dropped above `limit_gb` GiB.

    A file that cannot be decoded is remembered too: it is not read again, and its error is raised where it is used.
    `workers` threads decode expected clips ahead of their use; a context manager that ends the threads.
    """

    def __init__(self, read: ReadClip, limit_gb: float, workers: int = 0) -> None:
        limit = int(limit_gb * BYTES_PER_GB)
        ahead = int(limit * SHARE_AHEAD) if workers else 0
        self._ahead: Ahead[Medium, Clip] = Ahead(
            lambda medium: read(*medium), workers, size=lambda clip: clip.frames.nbytes, limit=ahead
        )
        self._limit_bytes = limit - ahead
        self._clips: OrderedDict[str, Clip] = OrderedDict()
        self._bytes = 0
        self._broken: dict[str, VideoError] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._ahead.close()

    def expect(self, media: Iterable[Medium]) -> None:
        """Announce the clips needed next, in order; replaces earlier announcements."""
        wanted = list(dict.fromkeys(media))
        for path, _ in reversed(wanted):
            if path in self._clips:
                self._clips.move_to_end(path)
        known = self._clips.keys() | self._broken.keys()
        self._ahead.expect(medium for medium in wanted if medium[0] not in known)

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
            clip = self._ahead.take((path, data_type))
        except VideoError as error:
            self._broken[path] = error
            raise
        self._clips[path] = clip
        self._bytes += clip.frames.nbytes
        while self._bytes > self._limit_bytes and len(self._clips) > 1:
            self._bytes -= self._clips.popitem(last=False)[1].frames.nbytes
        return clip
