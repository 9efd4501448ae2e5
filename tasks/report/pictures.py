"""Pictures of a clip: its frames as a model gets them, as a row of small JPEGs inside the page (data URIs)."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tasks.core.io.seeds import derive_seed
from tasks.core.video import Clip, VideoError, open_media, shuffle_clip, shuffle_order

LONGEST_SIDE = 224
"""Pictures are scaled down to this many pixels on their longer side; never up (the page does that, sharply)."""
JPEG_QUALITY = 82


class Frame(NamedTuple):
    """One picture of a strip."""

    uri: str
    label: str
    """Time of the frame in its clip ("1.5 s"); empty for an image."""


class Pictures(NamedTuple):
    """Frames of one record's clip, or why there are none."""

    frames: list[Frame]
    shuffled: list[Frame]
    """The same clip as a model gets it in the shuffled view; empty unless asked for."""
    total: int
    """Frames a model gets; the strip may show fewer."""
    missing: str = ""


def open_pictures(
    record: Mapping[str, Any], count: int, *, frames: int, fps: float, min_frames: int, shuffle_seed: int | None = None
) -> Pictures:
    """Strips of one record's clip; a file that does not decode gives its reason instead.

    Args:
        record: test record.
        count: most pictures per strip.
        frames: most frames of a clip.
        fps: sampling rate aimed at, frames per second.
        min_frames: fewest frames of a clip.
        shuffle_seed: run seed; given, the clip is also shown in the benchmark's shuffled order.
    """
    try:
        clip = open_media(record["path"], record["data_type"], frames=frames, fps=fps, min_frames=min_frames)
    except VideoError as error:
        return Pictures([], [], 0, f"no picture: {error}")
    shuffled = [] if shuffle_seed is None else strip(shuffled_view(clip, record["problem_id"], shuffle_seed), count)
    return Pictures(strip(clip, count), shuffled, len(clip.frames))


def shuffled_view(clip: Clip, problem_id: int, seed: int) -> Clip:
    """The clip in the order that the benchmark's shuffled view shows it (a test holds the two together)."""
    return shuffle_clip(clip, shuffle_order(len(clip.frames), derive_seed(seed, problem_id, "shuffle")))


def strip(clip: Clip, count: int) -> list[Frame]:
    """Pictures of up to `count` frames, in the order given."""
    seconds = clip.seconds if clip.source_fps else []
    return [
        Frame(jpeg_uri(clip.frames[place]), f"{seconds[place]:.1f} s" if seconds else "")
        for place in pick(len(clip.frames), count)
    ]


def pick(frames: int, count: int) -> list[int]:
    """At most `count` of `frames` positions, evenly spread, first and last among them.

    pick(16, 4) == [0, 5, 10, 15]
    """
    if frames <= count:
        return list(range(frames))
    if count == 1:
        return [frames // 2]
    return [round(i * (frames - 1) / (count - 1)) for i in range(count)]


def jpeg_uri(frame: np.ndarray, longest_side: int = LONGEST_SIDE) -> str:
    """One uint8 (H, W, 3) RGB frame as a `data:image/jpeg` URI."""
    image = Image.fromarray(np.ascontiguousarray(frame))
    image.thumbnail((longest_side, longest_side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
