"""Videos of every kind, made by PyAV and Pillow: frame i has luma `level(i)`, so that a wrong frame shows."""

import os
from fractions import Fraction

import av
import numpy as np
from PIL import Image

os.environ.setdefault("SVT_LOG", "1")  # errors only
FRAMES, RATE = 100, 25
WIDTH, HEIGHT = 96, 64
FIRST_LEVEL, STEP = 20, 2
VARIABLE = [0, 40, 80, 120, 1500, 1540, 1580, 3000, 3040, 3080, 6000, 6040, 9000, 9040, 9080, 9900]
"""Milliseconds at which the frames of a variable rate appear."""


def level(index):
    return FIRST_LEVEL + STEP * index


def shown_index(picture):
    """Which frame a decoded picture (H, W, 3) is, by its level: -1 for none."""
    luma = float(picture.mean()) * 219 / 255 + 16
    index = round((luma - FIRST_LEVEL) / STEP)
    return index if abs(luma - level(index)) < STEP / 2 else -1


def flat(index, width=WIDTH, height=HEIGHT, depth=8):
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = level(index)
    if depth == 8:
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")
    return av.VideoFrame.from_ndarray(planes.astype(np.uint16) << 2, format="yuv420p10le")


def write(
    path,
    codec,
    *,
    fmt=None,
    options=None,
    pix_fmt="yuv420p",
    size=(WIDTH, HEIGHT),
    milliseconds=None,
    rate=RATE,
    frames=FRAMES,
    aspect=None,
    tag=None,
):
    """Encode `frames` frames; `milliseconds` gives each its own time, else they come at `rate`."""
    with av.open(str(path), "w", format=fmt, options={}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        (stream.width, stream.height), stream.pix_fmt = size, pix_fmt
        if tag:
            stream.codec_context.codec_tag = tag
        if milliseconds:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect:
            stream.sample_aspect_ratio = aspect
        for index, when in enumerate(milliseconds or range(frames)):
            frame = flat(index, size[0], size[1], depth=10 if "10" in pix_fmt else 8)
            if pix_fmt not in ("yuv420p", "yuv420p10le"):
                frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = when, Fraction(1, 1000 if milliseconds else rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def trim(source, path, start_seconds, length_seconds, fmt=None):
    """Cut by stream copy, as `ffmpeg -ss START -t LENGTH -c copy`: from the key frame before, which is hidden."""
    with av.open(str(source)) as whole, av.open(str(path), "w", format=fmt) as part:
        old = whole.streams.video[0]
        new = part.add_stream_from_template(old)
        offset = round(start_seconds / old.time_base)
        whole.seek(offset, stream=old)
        for packet in whole.demux(old):
            if packet.dts is None or packet.pts >= offset + length_seconds / old.time_base:
                continue
            packet.pts, packet.dts, packet.stream = packet.pts - offset, packet.dts - offset, new
            part.mux(packet)


def animate(path, milliseconds=(100,) * 20, **settings):
    pictures = [Image.new("RGB", (WIDTH, HEIGHT), (grey_of(index),) * 3) for index in range(len(milliseconds))]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=list(milliseconds), **settings)


def grey_of(index):
    """RGB grey of a luma level."""
    return round((level(index) - 16) * 255 / 219)


X264 = {"bf": "3", "g": "30", "preset": "veryfast", "crf": "10"}
KINDS = {
    "mp4-h264": lambda path: write(path, "libx264", options=X264),
    "mp4-h264-one-key": lambda path: write(path, "libx264", options=X264 | {"g": "250"}),
    "mp4-h264-open-gop": lambda path: write(path, "libx264", options=X264 | {"x264-params": "open-gop=1"}),
    "mp4-h264-intra-refresh": lambda path: write(path, "libx264", options=X264 | {"intra-refresh": "1"}),
    "mov-h264": lambda path: write(path, "libx264", options=X264),
    "mkv-h264": lambda path: write(path, "libx264", options=X264),
    "mkv-h264-open-gop": lambda path: write(path, "libx264", options=X264 | {"x264-params": "open-gop=1"}),
    "ts-h264": lambda path: write(path, "libx264", options=X264),
    "flv-h264": lambda path: write(path, "libx264", options=X264),
    "mp4-hevc": lambda path: write(path, "libx265", options={"x265-params": "log-level=0:keyint=30:crf=10"}),
    "mkv-hevc": lambda path: write(path, "libx265", options={"x265-params": "log-level=0:keyint=30:open-gop=1"}),
    "webm-vp9": lambda path: write(path, "libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8", "g": "30"}),
    "webm-vp9-hidden": lambda path: write(
        path,
        "libvpx-vp9",
        options={"lag-in-frames": "16", "auto-alt-ref": "1", "cpu-used": "5", "g": "40", "crf": "10"},
    ),
    "mp4-av1": lambda path: write(path, "libsvtav1", options={"preset": "12", "crf": "10", "g": "30"}),
    "avi-mpeg4-b": lambda path: write(path, "mpeg4", options={"bf": "2", "qscale": "2", "flags": "+qscale"}),
    "mp4-mpeg4-b": lambda path: write(path, "mpeg4", options={"bf": "2", "flags": "+qscale", "global_quality": "236"}),
    "ts-mpeg2": lambda path: write(path, "mpeg2video", options={"bf": "2", "b": "2M"}),
    "mpg-mpeg1": lambda path: write(path, "mpeg1video", options={"bf": "2", "b": "2M"}),
    "vob-mpeg2": lambda path: write(path, "mpeg2video", options={"bf": "2", "b": "2M"}),
    "3gp-h263": lambda path: write(path, "h263", size=(176, 144), options={"b": "2M"}),
    "flv-flv1": lambda path: write(path, "flv", options={"b": "2M"}),
    "asf-wmv2": lambda path: write(path, "wmv2", options={"b": "2M"}),
    "avi-mjpeg": lambda path: write(path, "mjpeg", pix_fmt="yuvj420p"),
    "mov-prores": lambda path: write(path, "prores_ks", pix_fmt="yuv422p10le"),
    "mkv-ffv1": lambda path: write(path, "ffv1"),
}
