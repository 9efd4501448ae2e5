"""The root of every error whose message is meant for the person at the terminal, and what other errors say."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile

FULL_DISK = ("No space left on device", "Disk quota exceeded", "unexpected pos", "file write failed")
UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP}
"""What the system says of a file or folder that is not as it should be: no permission, or another kind of thing."""
LONGEST = 600
"""Characters of a reason; a longer one keeps its beginning and its end."""


class StageError(Exception):
    """Something outside the code is wrong (a file, a record, a parameter); the message alone says what and where."""


def reason_of(error: BaseException) -> str:
    """What an exception says, in one line: every line of its message, and of the errors that it was raised from.

    pydantic's message begins with "1 validation error for ModelConfig" and ends with an address and the whole input; of
    it only the fields and what is wrong with them are kept.
    """
    reasons: list[str] = []
    link: BaseException | None = error
    while link is not None:
        text = _message(link)
        if not any(text in reason for reason in reasons):
            reasons.append(text)
        link = link.__cause__
    line = ": ".join(reasons)
    if len(line) <= LONGEST:
        return line
    return f"{line[: LONGEST // 2]} .. {line[-LONGEST // 2 :]}"


def full_disk(error: BaseException) -> str | None:
    """The reason in one line where an error, or one it was raised from, means that a disk is full; else None.

    torch says "unexpected pos" or "file write failed" of it, safetensors and parquet quote the system.
    """
    link: BaseException | None = error
    while link is not None:
        full = isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or any(phrase in str(link) for phrase in FULL_DISK):
            name = link.filename if isinstance(link, OSError) and link.filename else None
            return f"no space left on the disk: {name or _fullest()}"
        link = link.__cause__ or link.__context__
    return None


def unusable_path(error: BaseException) -> str | None:
    """The reason in one line where the system refused a file or folder that the error names; else None."""
    if isinstance(error, OSError) and error.errno in UNUSABLE and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return None


def _fullest() -> str:
    """The place where a stage writes that has least room, with what is left there."""
    places = [place for place in (".", tempfile.gettempdir(), "/dev/shm") if os.path.isdir(place)]
    free = {place: shutil.disk_usage(place).free for place in places}
    place = min(free, key=lambda place: free[place])
    return f"{free[place] / 1e6:.1f} MB are free in {os.path.abspath(place)}"


def _message(error: BaseException) -> str:
    details = getattr(error, "errors", None)
    if type(error).__module__.startswith("pydantic") and callable(details):
        parts = []
        for detail in details(include_url=False, include_input=False):
            field = ".".join(map(str, detail["loc"]))
            parts.append(f"{field}: {detail['msg']}" if field else detail["msg"])
        text = "; ".join(part.removeprefix("Value error, ") for part in parts)
    else:
        text = str(error)
    return " ".join(text.split()) or type(error).__name__
