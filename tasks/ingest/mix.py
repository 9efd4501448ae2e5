"""Share of video and image rows."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tasks.ingest.parse import Candidate


def mix_media(candidates: Sequence[Candidate], video_share: float | None, seed: int) -> list[Candidate]:
    """Largest subset, drawn by `seed` and in the given order, of which `video_share` are videos; None keeps all.

    A share the rows cannot give (no image rows for a share below 1, no videos above 0) leaves nothing.
    """
    if video_share is None:
        return list(candidates)
    video = [i for i, c in enumerate(candidates) if c.record.data_type == "video"]
    image = [i for i, c in enumerate(candidates) if c.record.data_type == "image"]
    n_video, n_image = _counts(len(video), len(image), video_share)
    random_ = random.Random(seed)
    kept = sorted(random_.sample(video, n_video) + random_.sample(image, n_image))
    return [candidates[i] for i in kept]


def _counts(video: int, image: int, share: float) -> tuple[int, int]:
    """How many of each to keep so that the whole is as large as it can be."""
    limits = [n / part for n, part in ((video, share), (image, 1 - share)) if part > 0]
    # The slack undoes float division: 3 / 0.3 is 10.000000000000002 at times, 9.999999999999998 at others.
    total = int(min(limits) + 1e-9)
    wanted = min(video, round(total * share))
    return wanted, min(image, total - wanted)
