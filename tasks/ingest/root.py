"""Paths of records under their media root: checked one folder at a time, so that a quarter million costs seconds."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from tasks.core.schemas.parsing import RecordError
from tasks.core.video import VideoError, archive
from tasks.ingest.sources import SourceError


class MediaRoot:
    """A folder that nothing outside of may be read for the records of a source."""

    def __init__(self, root: Path, source: str = "") -> None:
        """Look at the folder.

        Raises:
            SourceError: no such folder; names `source`.
        """
        if not root.is_dir():
            raise SourceError(f"{root}: no such media root (source '{source}')")
        self._root, self._resolved = root, root.resolve()
        self._before = str(root / "_")[:-1]
        self._files: dict[str, frozenset[str]] = {}

    def locate(self, path: str, where: str) -> str:
        """Path of a record's medium from the working directory.

        Raises:
            RecordError: the path is absolute, leads out of the root (by ".." or by a symbolic link), or names no file.
        """
        plain = path.removeprefix("./")
        if _is_plain(plain):
            folder, _, name = plain.rpartition("/")
            if name in self._plain_files(folder):
                return self._before + plain
        return self._checked(path, where)

    def _plain_files(self, folder: str) -> frozenset[str]:
        """Names of the files of a folder that are no symbolic links; none of a folder outside the root."""
        names = self._files.get(folder)
        if names is None:
            names = self._files[folder] = self._list(folder)
        return names

    def _list(self, folder: str) -> frozenset[str]:
        try:
            if not (self._root / folder).resolve().is_relative_to(self._resolved):
                return frozenset()
            with os.scandir(self._root / folder) as entries:
                return frozenset(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        except (OSError, RuntimeError, ValueError):
            return frozenset()

    def _checked(self, path: str, where: str) -> str:
        """Any other path, step by step."""
        relative = PurePosixPath(path)
        if relative.is_absolute():
            raise RecordError(where, "path", f"{path!r} is absolute, not relative to the media root")
        joined = self._root / relative
        try:
            resolved = joined.resolve()
            inside = resolved.is_relative_to(self._resolved)
            is_file = inside and resolved.is_file()
        except (OSError, RuntimeError, ValueError) as error:
            raise RecordError(where, "path", f"{path!r} is not a path: {error}") from error
        if not inside:
            raise RecordError(where, "path", f"{path!r} leads out of the media root")
        if (member := archive.split(joined)) is not None:
            try:
                archive.member(*member)
            except VideoError as error:
                raise RecordError(where, "path", error.reason) from error
            return str(joined)
        if not is_file:
            raise RecordError(where, "path", f"{path!r} is not a file under the media root")
        return str(joined)


def _is_plain(path: str) -> bool:
    """Whether text alone tells folder and name: no root, no empty part, no "." or ".."."""
    return not path.startswith("/") and "//" not in path and "/." not in path and not path.startswith(".")
