"""Facts of media files that earlier runs learned, in a log that only grows and is written anew when it is half stale.

A line of `.cache/media/facts.jsonl` is a row of the manifest with the file's time of change and the version of the
reader. It lies outside the graph: without it everything is read again and the result is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import av
import PIL

from tasks.core.io.atomic import write_text
from tasks.core.io.jsonl import JsonlError, append_jsonl, read_jsonl
from tasks.core.video import VERSION
from tasks.core.video.probe import CHECKS

FOLDER = Path(".cache/media")
READER = f"{VERSION}, checks {CHECKS}, av {av.__version__}, pillow {PIL.__version__}"
"""Facts of another reader do not count: it may refuse, or read, other files."""
PENDING = 200
"""Facts kept back before they are written: what a killed run loses."""


class Stat(NamedTuple):
    """A file as the file system tells it."""

    path: str
    data_type: str
    size_bytes: int
    mtime_ns: int


class KnownMedia:
    """Rows of the manifest by stat and by content; safe for threads of one process."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Read what is there; a damaged log counts as none."""
        self._log = folder / "facts.jsonl"
        self._by_stat: dict[Stat, Mapping[str, Any]] = {}
        self._by_content: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        self._pending: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._load()

    def by_stat(self, stat: Stat) -> Mapping[str, Any] | None:
        """The row of a file that has not changed since."""
        return self._by_stat.get(stat)

    def by_content(self, sha256: str, stat: Stat) -> Mapping[str, Any] | None:
        """A row of a file with these bytes, wherever it lay; its suffix counts, for FFmpeg looks at it."""
        return self._by_content.get(_content_key(sha256, stat))

    def add(self, stat: Stat, row: dict[str, Any]) -> None:
        """Keep a row."""
        with self._lock:
            self._remember(stat, row)
            self._pending.append(self._line(stat, row))
            if len(self._pending) >= PENDING:
                self._write()

    def close(self) -> None:
        """Write what is kept back."""
        with self._lock:
            self._write()

    def _remember(self, stat: Stat, row: Mapping[str, Any]) -> None:
        self._by_stat[stat] = row
        self._by_content[_content_key(row["sha256"], stat)] = row

    def _line(self, stat: Stat, row: Mapping[str, Any]) -> dict[str, Any]:
        return {"reader": READER, "mtime_ns": stat.mtime_ns, **row}

    def _write(self) -> None:
        if self._pending:
            append_jsonl(self._log, self._pending)
            self._pending.clear()

    def _load(self) -> None:
        latest: dict[tuple[str, str], dict[str, Any]] = {}
        try:
            lines = read_jsonl(self._log)
            for line in lines:
                if line["reader"] == READER:
                    latest[line["path"], line["data_type"]] = line
        except (JsonlError, KeyError, OSError, UnicodeDecodeError):
            lines, latest = [{}], {}
        if len(lines) > 2 * len(latest) + PENDING or (lines and not latest):
            write_text(self._log, "")
            append_jsonl(self._log, latest.values())
        for line in latest.values():
            row = {name: value for name, value in line.items() if name not in ("reader", "mtime_ns")}
            self._remember(Stat(row["path"], row["data_type"], row["size_bytes"], line["mtime_ns"]), row)


def _content_key(sha256: str, stat: Stat) -> tuple[str, str, str]:
    return sha256, stat.data_type, Path(stat.path).suffix.lower()
