"""What a decoded clip is."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.core.io.errors import StageError


class VideoError(StageError):
    """A media file that does not decode: `path` and `reason`."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[Path | str, str]]:
        """Let the error travel back from a worker process."""
        return type(self), (self.path, self.reason)


def lack_of_file(path: Path | str) -> str:
    """Why there is no file to read at this path; "" when there is: a pipe or a device would be waited for."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "no such file"
    except (OSError, ValueError) as error:
        return f"no such file: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISREG(mode):
        return ""
    return "a folder, not a file" if stat.S_ISDIR(mode) else "a pipe, socket or device, not a file"


@dataclasses.dataclass(frozen=True, slots=True, repr=False, eq=False)
class Clip:
    """Sampled frames of one video, or the one frame of an image."""

    frames: NDArray[np.uint8]
    """(T, H, W, 3) uint8 RGB."""
    indices: list[int]
    """Position of each frame in the source, in the order shown."""
    source_fps: float
    """Frames per second of the source; 0 for an image."""
    sample_fps: float
    """Frames per second of the sampled clip: what M-RoPE's time scale is made of; 0 for an image."""
    duration_seconds: float
    """Length of the source; 0 for an image."""
    seconds: list[float] = dataclasses.field(default_factory=list)
    """When each frame appears in the source, in the order shown; left out, at `source_fps` from the first."""

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[3] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames must be (T, H, W, 3) uint8, got {self.frames.shape} {self.frames.dtype}")
        if len(self.indices) != len(self.frames):
            raise ValueError(f"{len(self.indices)} indices for {len(self.frames)} frames")
        if not self.seconds:
            rate = self.source_fps
            object.__setattr__(self, "seconds", [index / rate if rate else 0.0 for index in self.indices])
        if len(self.seconds) != len(self.frames):
            raise ValueError(f"{len(self.seconds)} times for {len(self.frames)} frames")

    def __repr__(self) -> str:
        shape = "x".join(str(n) for n in self.frames.shape)
        return f"Clip({shape}, {self.sample_fps:.3g} of {self.source_fps:.3g} fps, {self.duration_seconds:.3g} s)"
