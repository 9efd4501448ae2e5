"""Scenes to pixels, and pixels to files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tasks.core.io.atomic import replacing
from tasks.core.world.scene import COLOURS, DURATION_SECONDS, Figure, Scene

CANVAS_PIXELS = 112
SOURCE_FPS = 4
X264_PARAMS = "cpu-independent=1:lookahead-threads=1"
"""Without the first, x264 estimates by instructions whose rounding differs from one CPU to the next."""


def render_frames(scene: Scene, seconds: list[float]) -> np.ndarray:
    """Frames of the scene at the given times. Returns uint8 (T, CANVAS_PIXELS, CANVAS_PIXELS, 3)."""
    return np.stack([_frame(scene, second) for second in seconds])


def render_image(scene: Scene) -> np.ndarray:
    """The scene in its first second. Returns uint8 (CANVAS_PIXELS, CANVAS_PIXELS, 3)."""
    return _frame(scene, 0.0)


def write_clip(path: Path, frames: np.ndarray, fps: int | Fraction = SOURCE_FPS) -> None:
    """Encode (T, H, W, 3) uint8 as H.264 MP4: equal frames give equal bytes, in every run and on every processor."""
    import av  # here alone: scenes are rendered, and policies trained on them, without an encoder too

    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        options = {"crf": "18", "preset": "veryfast", "threads": "1", "x264-params": X264_PARAMS}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.time_base = 1 / Fraction(fps)
        for index, planes in enumerate(to_yuv420p(frames)):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = index, 1 / Fraction(fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def to_yuv420p(frames: np.ndarray) -> np.ndarray:
    """RGB to planar YUV by ITU-R BT.601 in limited range, in integers; a chroma sample is the mean of 2 x 2 pixels.

    FFmpeg's own conversion uses whatever instructions the CPU has, and their rounding differs.

    Args:
        frames: (T, H, W, 3) uint8, H and W even.

    Returns:
        (T, H * 3 / 2, W) uint8: rows of Y, then U, then V, as PyAV takes them.
    """
    count, height, width, _ = frames.shape
    red, green, blue = (frames[..., channel].astype(np.int32) for channel in range(3))
    luma = (66 * red + 129 * green + 25 * blue + 128 >> 8) + 16
    quads = (count, height // 2, 2, width // 2, 2)
    red, green, blue = (channel.reshape(quads).sum((2, 4)) for channel in (red, green, blue))
    u = (-38 * red - 74 * green + 112 * blue + 512 >> 10) + 128
    v = (112 * red - 94 * green - 18 * blue + 512 >> 10) + 128
    planes = [plane.reshape(count, -1) for plane in (luma, u, v)]
    return np.concatenate(planes, axis=1).astype(np.uint8).reshape(count, height * 3 // 2, width)


def clip_seconds(fps: int = SOURCE_FPS) -> list[float]:
    """Times of a whole clip's source frames."""
    return [i / fps for i in range(DURATION_SECONDS * fps)]


def _frame(scene: Scene, second: float) -> np.ndarray:
    image = Image.new("RGB", (CANVAS_PIXELS, CANVAS_PIXELS), (scene.background,) * 3)
    draw = ImageDraw.Draw(image)
    if scene.word:
        font = ImageFont.load_default(size=36)
        draw.text((CANVAS_PIXELS / 2, CANVAS_PIXELS / 2), scene.word, font=font, fill=(255, 255, 255), anchor="mm")
    for figure in scene.figures:
        if int(second) in figure.seconds:
            _draw(draw, figure, second)
    return np.asarray(image)


def _draw(draw: ImageDraw.ImageDraw, figure: Figure, second: float) -> None:
    done = second / (DURATION_SECONDS - 1 / SOURCE_FPS)
    x0, y0, x1, y1 = (value * CANVAS_PIXELS for value in figure.path)
    x, y, r = x0 + (x1 - x0) * done, y0 + (y1 - y0) * done, figure.size * CANVAS_PIXELS
    fill = COLOURS[figure.colour_at(second)]
    if figure.shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif figure.shape == "square":
        draw.rectangle((x - r * 0.88, y - r * 0.88, x + r * 0.88, y + r * 0.88), fill=fill)
    elif figure.shape == "triangle":
        draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=fill)
    else:
        draw.rectangle((x - r, y - r * 0.3, x + r, y + r * 0.3), fill=fill)
        draw.rectangle((x - r * 0.3, y - r, x + r * 0.3, y + r), fill=fill)
