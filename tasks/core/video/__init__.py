"""Clips: which frames, decoding, resizing, shuffling, keeping decoded ones, decoding ahead.

Nothing here imports a decoder: a policy update on frames in memory needs none. `decode` and `probe` do.
"""

from tasks.core.video import archive
from tasks.core.video.ahead import Ahead, in_batches, in_turn
from tasks.core.video.cache import VERSION, file_sha256
from tasks.core.video.clip import Clip, VideoError
from tasks.core.video.guard import LIMIT_SECONDS, ReaderError, guarded
from tasks.core.video.open import ReadClip, data_type_of, open_clip, open_media, tell_cache
from tasks.core.video.picture import read_image
from tasks.core.video.resize import resize_clip, smart_resize
from tasks.core.video.sample import frame_count, frame_indices
from tasks.core.video.shuffle import shuffle_clip, shuffle_order

__all__ = [
    "LIMIT_SECONDS",
    "VERSION",
    "Ahead",
    "Clip",
    "ReadClip",
    "ReaderError",
    "VideoError",
    "archive",
    "data_type_of",
    "file_sha256",
    "frame_count",
    "frame_indices",
    "in_batches",
    "guarded",
    "in_turn",
    "open_clip",
    "open_media",
    "read_image",
    "resize_clip",
    "shuffle_clip",
    "shuffle_order",
    "smart_resize",
    "tell_cache",
]
