"""Files that once ended a whole run, each with the reason that it is to be refused with; and odd ones that are read."""

from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from tests.support import media_kinds

REFUSED = {
    "codec_without_decoder.mp4": "no decoder for its codec",
    "codec_without_decoder.mkv": "no decoder for its codec",
    "damaged.avif": "not a readable image",
    "cut_in_half.jpg": "not a readable image: image file is truncated",
    "cut_before_index.mp4": "truncated: mdat box ends at byte",
    "cut_with_index.mp4": "frames are in the file",
    "hole.mp4": "does not decode",
    "text.mp4": "not an MP4 file",
    "text.webm": "not a readable video",
    "sound_only.mp4": "no video stream",
    "one_frame.mp4": "1 frames, at least 2 needed",
    "empty.mp4": "empty file",
}
READ = ("latin1_title.mp4", "latin1_title.mkv", "trim.mp4", "cover_picture.mp4")


def make_bad_media(folder: Path) -> None:
    """All of them under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    plain, faststart = folder / "plain.mp4", folder / "faststart.mp4"
    media_kinds.KINDS["mp4-h264-one-key"](plain)
    _write_noise(faststart, faststart=True)
    _write_noise(folder / "index_last.mp4", faststart=False)
    data = plain.read_bytes()
    _put(folder / "codec_without_decoder.mp4", data.replace(b"avc1", b"xyz1"))
    media_kinds.KINDS["mkv-h264"](folder / "plain.mkv")
    matroska = (folder / "plain.mkv").read_bytes()
    _put(folder / "codec_without_decoder.mkv", matroska.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ"))
    last = (folder / "index_last.mp4").read_bytes()
    first = faststart.read_bytes()
    _put(folder / "cut_before_index.mp4", last[: int(len(last) * 0.7)])
    _put(folder / "cut_with_index.mp4", first[: int(len(first) * 0.7)])
    _put(folder / "hole.mp4", first[:-3000] + bytes(3000))
    _put(folder / "text.mp4", b"hello " * 100)
    _put(folder / "text.webm", b"hello " * 100)
    _put(folder / "empty.mp4", b"")
    media_kinds.write(folder / "one_frame.mp4", "libx264", frames=1)
    media_kinds.trim(plain, folder / "trim.mp4", 43 / 25, 1.2)
    _write_sound(folder / "sound_only.mp4")
    for suffix in ("mp4", "mkv"):
        titled = folder / f"titled.{suffix}"
        _write_noise(titled, faststart=False, title="TITLE-OF-IT")
        _put(folder / f"latin1_title.{suffix}", titled.read_bytes().replace(b"TITLE-OF-IT", b"Caf\xe9-TITLES"))
    _write_cover(folder / "cover_picture.mp4", plain)
    Image.fromarray(_noise(1)[0]).save(folder / "whole.avif")
    Image.fromarray(_noise(1)[0]).save(folder / "whole.jpg")
    avif, jpeg = (folder / "whole.avif").read_bytes(), (folder / "whole.jpg").read_bytes()
    _put(folder / "damaged.avif", avif[: len(avif) // 2])
    _put(folder / "cut_in_half.jpg", jpeg[: len(jpeg) // 2])


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _noise(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 255, (count, 56, 56, 3), dtype=np.uint8)


def _write_noise(path: Path, *, faststart: bool, title: str = "") -> None:
    with av.open(str(path), "w", options={"movflags": "faststart"} if faststart else {}) as container:
        if title:
            container.metadata["title"] = title
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 56, 56, "yuv420p"
        for picture in _noise(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _write_cover(path: Path, source: Path) -> None:
    """The source's video behind a cover picture, as music shops add them."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 48, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        video = container.add_stream_from_template(whole.streams.video[0])
        picture = av.VideoFrame(48, 48, "yuvj420p")
        picture.pts = 0
        container.mux(cover.encode(picture))
        container.mux(cover.encode())
        for packet in whole.demux(whole.streams.video[0]):
            if packet.dts is not None:
                packet.stream = video
                container.mux(packet)
