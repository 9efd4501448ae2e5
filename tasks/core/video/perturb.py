"""Perturbations of a clip by name: what a model that reads time should notice, and what it should not.

    frames of a clip      0 1 2 3 4 5 6 7
    shuffle               5 2 7 0 3 6 1 4     any order but the true one, drawn by the seed
    reverse               7 6 5 4 3 2 1 0
    freeze                4 4 4 4 4 4 4 4     as long, nothing moves
    one_frame             4 4                 a single temporal patch
    mirror                0 1 2 3 4 5 6 7     left and right exchanged in every frame

The time scale stays, so that prompts differ in frames alone (`one_frame`: in their number too).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tasks.core.video.clip import Clip, VideoError
from tasks.core.video.sample import FRAME_FACTOR
from tasks.core.video.shuffle import shuffle_clip, shuffle_order


def perturb(clip: Clip, name: str, seed: int = 0) -> Clip:
    """The clip under a named perturbation.

    Args:
        clip: of at least two frames.
        name: one of `PERTURBATIONS`.
        seed: of `shuffle`; the others draw nothing.

    Raises:
        ValueError: unknown name, or a clip of one frame.
    """
    if name not in PERTURBATIONS:
        raise ValueError(f"no perturbation {name!r}; one of {', '.join(PERTURBATIONS)}")
    if len(clip.frames) < 2:
        raise ValueError(f"a clip of {len(clip.frames)} frame has nothing to {name}")
    return PERTURBATIONS[name](clip, seed)


def backwards_of(clip: Clip, path: Path | str) -> Clip:
    """The clip of a row that is about it played backwards.

    Raises:
        VideoError: it has one frame; names the file.
    """
    if len(clip.frames) < 2:
        raise VideoError(path, "a clip of one frame has no reverse")
    return perturb(clip, "reverse")


def _shuffle(clip: Clip, seed: int) -> Clip:
    return shuffle_clip(clip, shuffle_order(len(clip.frames), seed))


def _reverse(clip: Clip, _: int) -> Clip:
    return shuffle_clip(clip, range(len(clip.frames))[::-1])


def _freeze(clip: Clip, _: int) -> Clip:
    return _repeat(clip, len(clip.frames) // 2, len(clip.frames))


def _one_frame(clip: Clip, _: int) -> Clip:
    return _repeat(clip, len(clip.frames) // 2, FRAME_FACTOR)


def _mirror(clip: Clip, _: int) -> Clip:
    return dataclasses.replace(clip, frames=np.ascontiguousarray(clip.frames[:, :, ::-1]))


def _repeat(clip: Clip, frame: int, times: int) -> Clip:
    return dataclasses.replace(
        clip,
        frames=np.repeat(clip.frames[frame : frame + 1], times, axis=0),
        indices=[clip.indices[frame]] * times,
        seconds=[clip.seconds[frame]] * times,
    )


PERTURBATIONS: dict[str, Callable[[Clip, int], Clip]] = {
    "shuffle": _shuffle,
    "reverse": _reverse,
    "freeze": _freeze,
    "one_frame": _one_frame,
    "mirror": _mirror,
}
