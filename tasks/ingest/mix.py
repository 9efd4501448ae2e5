"""Share of video and image rows."""

from __future__ import annotations

import random
from collections.abc import Sequence


def mix_media(data_types: Sequence[str], video_share: float | None, seed: int) -> list[int] | None:
    """Places of the largest subset, drawn by `seed`, of which `video_share` are videos; in order; None keeps all.

    A share the rows cannot give (no image rows for a share below 1, no videos above 0) leaves nothing.
    """
    if video_share is None:
        return None
    video = [i for i, data_type in enumerate(data_types) if data_type == "video"]
    image = [i for i, data_type in enumerate(data_types) if data_type == "image"]
    n_video, n_image = _counts(len(video), len(image), video_share)
    random_ = random.Random(seed)
    return sorted(random_.sample(video, n_video) + random_.sample(image, n_image))


def _counts(video: int, image: int, share: float) -> tuple[int, int]:
    """How many of each to keep so that the whole is as large as it can be."""
    limits = [n / part for n, part in ((video, share), (image, 1 - share)) if part > 0]
    # The slack undoes float division: 3 / 0.3 is 10.000000000000002 at times, 9.999999999999998 at others.
    total = int(min(limits) + 1e-9)
    wanted = min(video, round(total * share))
    return wanted, min(image, total - wanted)
