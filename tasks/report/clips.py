"""Opens the clips that the page shows, sampled and shuffled as the benchmark does."""

from __future__ import annotations

from tasks.core.io.seeds import derive_seed
from tasks.core.video import Clip, VideoError, open_media, shuffle_clip, shuffle_order
from tasks.report.examples import Row
from tasks.report.page import Pictures
from tasks.report.strips import Frame, strip


def open_strips(
    record: Row, count: int, *, frames: int, fps: float, min_frames: int, shuffle_seed: int | None = None
) -> Pictures:
    """Strips of one record's clip; a file that does not decode gives its reason instead.

    Args:
        record: Test record.
        count: Most pictures per strip.
        frames: Upper bound of frames per clip.
        fps: Sampling rate aimed at, frames per second.
        min_frames: Lower bound of frames per clip.
        shuffle_seed: Run seed; given, the clip is also shown in the benchmark's shuffled order.
    """
    try:
        clip = open_media(record["path"], record["data_type"], frames=frames, fps=fps, min_frames=min_frames)
    except VideoError as error:
        return Pictures([], [], 0, f"no picture: {error}")
    if shuffle_seed is None:
        return Pictures(_strip(clip, count), [], len(clip.frames))
    return Pictures(
        _strip(clip, count), _strip(shuffled_view(clip, record["problem_id"], shuffle_seed), count), len(clip.frames)
    )


def shuffled_view(clip: Clip, problem_id: int, seed: int) -> Clip:
    """The clip in the order that the benchmark's shuffled view shows it (a test holds the two together)."""
    return shuffle_clip(clip, shuffle_order(len(clip.frames), derive_seed(seed, problem_id, "shuffle")))


def _strip(clip: Clip, count: int) -> list[Frame]:
    return strip(clip.frames, clip.seconds if clip.source_fps else [], count)
