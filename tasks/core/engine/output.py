"""Captures what a library's child processes print at their start, so that a failure can be shown in one line."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tasks.core.io.errors import LONGEST

ERROR = re.compile(r"^.*?((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception)): (.+)$")
"""Last line of a traceback, behind whatever prefix a logger gives it."""
PLAIN_CHILD = re.compile(r"^(?:\(.*?pid=\d+\) )?")


class Output:
    """What was printed; nothing while it is not captured."""

    def __init__(self, file: IO[bytes] | None) -> None:
        """`file` takes the output of this process and its children."""
        self._file = file

    def text(self) -> str:
        """All of it."""
        if self._file is None:
            return ""
        self._file.flush()
        self._file.seek(0)
        return self._file.read().decode(errors="replace")

    def last_error(self) -> str:
        """The innermost error that a child process printed, in one line; empty when there is none.

        The processes of an engine fail one after the other: the first traceback is the cause, the later ones say that
        a child has died. A message of several lines keeps those that follow its first.
        """
        lines = [PLAIN_CHILD.sub("", line) for line in self.text().splitlines()]
        for number, line in enumerate(lines):
            match = ERROR.match(line)
            if match is None or "Traceback" in line:
                continue
            follow = []
            for other in lines[number + 1 : number + 4]:
                rest = re.sub(r"^ERROR \S+ \S+ \[[^\]]*\]\s?", "", other)
                if not rest.strip() or rest == other or rest.startswith("Traceback"):
                    break
                follow.append(rest.strip())
            return " ".join([f"{match.group(1).rpartition('.')[2]}: {match.group(2)}", *follow])[:LONGEST]
        return ""


@contextmanager
def captured_output(wanted: bool) -> Iterator[Output]:
    """Capture what this process and its children print; it goes to stderr if all went well.

    Args:
        wanted: whether to capture; an engine within this process raises what went wrong, and needs none of it.
    """
    if not wanted:
        yield Output(None)
        return
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        output = Output(file)
        good = False
        try:
            yield output
            good = True
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            if good:
                sys.stderr.write(output.text())
