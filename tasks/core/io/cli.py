"""How a stage command ends: its own exit code, or one clear line and exit code 2."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from tasks.core.io.errors import StageError, full_disk, unusable_path
from tasks.core.io.lifeline import hold
from tasks.core.io.seconds import note_seconds

USAGE_EXIT = 2


class OneLineParser(argparse.ArgumentParser):
    """A parser whose wrong arguments are a `StageError`: one line for the user, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        """Raise what `run_stage` prints."""
        raise StageError(f"{self.prog}: {message}; see --help")


def run_stage(main: Callable[[], int | None], *known: type[Exception], about: str | None = None) -> None:
    """Run a stage's `main` and leave the process with its exit code (None counts as 0).

    A `StageError`, or one of the `known` classes, becomes one line on stderr and exit code 2: these tell the user what
    to mend; so do a full disk, and a file or folder that the system refuses. Every other exception is a bug and keeps
    its traceback.

    What the stage starts ends with it, and it ends with the program that started it (`lifeline`).

    `about`, "`command`: description", is for a command without arguments: `--help` shows it, any argument is refused.

        if __name__ == "__main__":
            run_stage(main, ParamsError, about=__doc__)
    """

    def held() -> int | None:
        hold()
        return main()

    code = _ended(held, (StageError, *known), about)
    note_seconds(code)
    sys.exit(code)


def run_tool(main: Callable[[], int | None], *known: type[Exception]) -> None:
    """Run the `main` of a tool that is no stage: as `run_stage`, but what it starts is its own affair."""
    sys.exit(_ended(main, (StageError, *known), None))


def _ended(main: Callable[[], int | None], expected: tuple[type[Exception], ...], about: str | None) -> int:
    try:
        if about is not None:
            _, command, description = about.split("`", 2)
            OneLineParser(prog=command, description=description.removeprefix(":").strip()).parse_args()
        return main() or 0
    except expected as error:
        tell(f"error: {error}")
    except BrokenPipeError:  # whoever read the output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if (reason := full_disk(error)) is not None:
            tell(f"error: {program()}: {reason}; make room, then the same command goes on")
        elif (reason := unusable_path(error)) is not None:
            tell(f"error: {program()}: {reason}")
        else:
            raise
    return USAGE_EXIT


def tell(text: str) -> None:
    """Print on stderr, on a line of its own also where a progress bar stands."""
    tqdm.write(text, file=sys.stderr)


def program() -> str:
    """Name of the stage or command that this process runs."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name.removesuffix(".__main__").removeprefix("tasks.") if spec else Path(sys.argv[0]).stem
    return os.environ.get("DVC_STAGE") or module
