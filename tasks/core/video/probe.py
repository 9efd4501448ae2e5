"""Whether a media file is whole, and what it is."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tasks.core.video.animation import is_pillow_animation
from tasks.core.video.clip import Clip, VideoError, lack_of_file
from tasks.core.video.container import open_video
from tasks.core.video.decode import decode_frames
from tasks.core.video.picture import open_picture, read_image
from tasks.core.video.resize import unfit
from tasks.core.video.timeline import Choice, Timeline

CHECKS = 1
"""Changes with what a file is refused for: facts of other checks are never read."""
HEAD_BYTES = 4096
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_BOX_HEADER_BYTES = 8
_ISO_SUFFIXES = (".mp4", ".m4v", ".mov")
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")


class MediaInfo(NamedTuple):
    """Facts of one media file."""

    frames: int
    fps: float
    """0 for an image."""
    width: int
    """Pixels as shown: turned upright, square."""
    height: int
    """Pixels as shown."""
    codec: str
    duration_seconds: float
    """0 for an image."""


def probe(path: Path | str, data_type: str) -> MediaInfo:
    """Check that a file decodes and say what it holds.

    A video must hold every byte its index promises, no packet may be damaged, and its first, middle and last frame must
    decode: a file cut off in transfer often opens well and fails only near its end. Neither side may be absurdly long.

    Raises:
        VideoError: with the reason.
    """
    if data_type == "image":
        return _probe_image(path)
    _check_size(Path(path))
    decoded = decode_frames(path, _ends)
    shown = decoded.timeline
    return _info(path, decoded.clip, len(shown.starts_seconds), shown.rate, decoded.codec)


def _ends(shown: Timeline) -> Choice:
    total = len(shown.starts_seconds)
    if total < 2:
        raise ValueError(f"{total} frames, at least 2 needed")
    if not shown.rate > 0:
        raise ValueError(f"frame rate {shown.rate}")
    return Choice([0, total // 2, total - 1] if total > 2 else [0, 1], shown.duration_seconds)


def _probe_image(path: Path | str) -> MediaInfo:
    with open_picture(path) as image:
        codec = (image.format or "").lower()
    return _info(path, read_image(path), 1, 0.0, codec)


def _info(path: Path | str, clip: Clip, frames: int, fps: float, codec: str) -> MediaInfo:
    _, height, width, _ = clip.frames.shape
    if reason := unfit(height, width):
        raise VideoError(path, reason)
    return MediaInfo(frames, fps, width, height, codec, clip.duration_seconds)


def _check_size(path: Path) -> None:
    """Hold a file against the size that it says it has, and MP4 against its index, which says where every frame lies.

    Raises:
        VideoError: missing, empty, cut off, or not what its name says.
    """
    if lack := lack_of_file(path):
        raise VideoError(path, lack)
    size = path.stat().st_size
    if size == 0:
        raise VideoError(path, "empty file")
    if is_pillow_animation(path):
        return
    with path.open("rb") as file:
        promised = promised_bytes(file.read(HEAD_BYTES))
    if promised > size:
        raise VideoError(path, f"truncated: ends at byte {size} of {promised}")
    if is_cut_gif(path):
        raise VideoError(path, "truncated: ends within a picture")
    try:
        with open_video(path) as (container, stream):
            if "mp4" not in container.format.name:
                return
            ends = [entry.pos + entry.size for entry in stream.index_entries]
    except VideoError as error:
        raise VideoError(path, _container_fault(path) or error.reason) from error
    whole = sum(end <= size for end in ends)
    if whole < len(ends):
        raise VideoError(path, f"truncated: {whole} of {len(ends)} frames are in the file")


def promised_bytes(head: bytes) -> int:
    """Bytes that a Matroska, AVI or ASF file says it has; 0 where it does not, as in a recording that was broken off.

    Args:
        head: the file's first HEAD_BYTES bytes.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return 8 + int.from_bytes(head[4:8], "little")
    if head.startswith(_ASF):
        return _asf_bytes(head)
    start = head.find(_SEGMENT)
    if not head.startswith(_EBML) or not 0 <= start < len(head) - 12:
        return 0
    place = start + len(_SEGMENT)
    width = 9 - head[place].bit_length()  # leading zero bits of a number of 1 to 8 bytes
    number = int.from_bytes(head[place : place + width], "big") & ~(1 << 7 * width)
    is_unknown = width > 8 or number == (1 << 7 * width) - 1
    return 0 if is_unknown else place + width + number


def _asf_bytes(head: bytes) -> int:
    """File size among the file properties (ASF specification, section 3.2); 0 for a broadcast, which has none."""
    start = head.find(_ASF_PROPERTIES)
    if not 0 <= start <= len(head) - 92:
        return 0
    size, flags = head[start + 40 : start + 48], head[start + 88 : start + 92]
    return 0 if flags[0] & 1 else int.from_bytes(size, "little")


def is_cut_gif(path: Path) -> bool:
    """Whether a GIF file ends within a picture (GIF89a specification); one that lacks its last byte alone is whole."""
    with path.open("rb") as file:
        if not file.read(4).startswith(b"GIF8"):
            return False
        file.seek(0)
        data = file.read()
    place = 13 + _colour_bytes(data[10:11])
    while place < len(data):
        if data[place] == 0x21:  # an extension: label, then blocks
            place += 2
        elif data[place] == 0x2C:  # a picture: place and size, colours, bits of a code, then blocks
            place += 11 + _colour_bytes(data[place + 9 : place + 10])
        else:  # the trailer, or what no decoder knows either
            return False
        while data[place : place + 1] not in (b"", b"\0"):
            place += data[place] + 1
        place += 1
    return place > len(data)


def _colour_bytes(flags: bytes) -> int:
    """Length of the table of colours that a byte of flags announces."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _container_fault(path: Path) -> str:
    """What is wrong with the outermost boxes of an MP4 file; "" when they are in order or it is another format."""
    if path.suffix.lower() not in _ISO_SUFFIXES:
        return ""
    size, start = path.stat().st_size, 0
    names: list[bytes] = []
    with path.open("rb") as file:
        while start + _BOX_HEADER_BYTES <= size:
            file.seek(start)
            header = file.read(2 * _BOX_HEADER_BYTES)
            length, name = int.from_bytes(header[:4], "big"), header[4:8]
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            if length == 0:
                length = size - start
            if not names and name not in _FIRST_BOXES:
                return "not an MP4 file"
            if length < _BOX_HEADER_BYTES:
                return f"damaged: a box of {length} bytes at byte {start}"
            names.append(name)
            if start + length > size:
                end = start + length
                lost = "" if b"moov" in names else ", no index (moov)"
                return f"truncated: {name.decode('latin-1')} box ends at byte {end}, the file at {size}{lost}"
            start += length
    return "" if b"moov" in names else "no index (moov)"
