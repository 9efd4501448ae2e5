"""Clips: which frames, decoding, resizing, shuffling, keeping decoded ones."""

from tasks.core.video.clip import Clip, VideoError
from tasks.core.video.decode import read_clip, read_image, read_media
from tasks.core.video.open import open_clip
from tasks.core.video.probe import MediaInfo, probe
from tasks.core.video.resize import resize_clip, smart_resize
from tasks.core.video.sample import frame_count, frame_indices
from tasks.core.video.shuffle import shuffle_clip, shuffle_order

__all__ = [
    "Clip",
    "MediaInfo",
    "VideoError",
    "frame_count",
    "frame_indices",
    "open_clip",
    "probe",
    "read_clip",
    "read_image",
    "read_media",
    "resize_clip",
    "shuffle_clip",
    "shuffle_order",
    "smart_resize",
]
