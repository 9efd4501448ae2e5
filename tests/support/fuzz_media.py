"""Damages media files of many kinds and reads each as the stages do: `python -m tests.support.fuzz_media 4000`.

Whatever a file is like, reading it must end within its limit, in a clip or in a VideoError; the counts are printed.
"""

import argparse
import random
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.core.video import ReaderError, VideoError, guarded, open_clip
from tasks.core.video.archive import SUFFIXES
from tasks.core.video.probe import probe
from tests.support import media_kinds

VIDEO_KINDS = (
    *("mp4-h264", "mov-h264", "mkv-h264", "ts-h264", "flv-h264", "mp4-hevc", "webm-vp9", "mp4-av1", "avi-mpeg4-b"),
    *("mp4-mpeg4-b", "mpg-mpeg1", "vob-mpeg2", "3gp-h263", "asf-wmv2", "avi-mjpeg", "mov-prores", "mkv-ffv1"),
)
ANIMATIONS = ("gif", "webp", "avif", "png")
ARCHIVES = ("stored.zip", "deflated.zip", "plain.tar")
IMAGES = ("jpg", "png", "webp", "avif", "tif", "bmp", "jp2", "ppm")
SETTINGS: dict[str, Any] = {"frames": 8, "fps": 2.0, "min_frames": 4, "min_pixels": 3136, "max_pixels": 12544}
LIMIT_SECONDS = 20.0


def make_originals(folder: Path) -> list[tuple[Path, str]]:
    """One small file of each kind under `folder`, with its data type."""
    made = []
    for kind in VIDEO_KINDS:
        path = folder / f"{kind}.{kind.split('-')[0]}"
        media_kinds.KINDS[kind](path)
        made.append((path, "video"))
    for suffix in ANIMATIONS:
        media_kinds.animate(folder / f"moving.{suffix}", (100,) * 6)
        made.append((folder / f"moving.{suffix}", "video"))
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8).repeat(2, 0).repeat(2, 1)
    for suffix in IMAGES:
        Image.fromarray(noise).save(folder / f"still.{suffix}")
        made.append((folder / f"still.{suffix}", "image"))
    for name in ARCHIVES:
        make_archive(folder / name, folder / "mp4-h264.mp4")
        made.append((folder / name, "video"))
    return made


def make_archive(path: Path, clip: Path) -> None:
    """An archive that holds a clip as a.mp4."""
    if path.suffix == ".tar":
        with tarfile.open(path, "w") as file:
            file.add(clip, "a.mp4")
    else:
        method = zipfile.ZIP_DEFLATED if path.stem == "deflated" else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.write(clip, "a.mp4")


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The file cut off, with bytes turned, blanked, taken out, put in, or swapped; often near its head."""
    edited = bytearray(data)
    end = min(len(data), 400) if draw.random() < 0.5 else len(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        place, length = draw.randrange(end), draw.choice((1, 2, 4, 64, 500))
        match draw.randrange(6):
            case 0:
                del edited[max(1, draw.randrange(len(edited) or 1)) :]
            case 1:
                edited[place : place + length] = draw.randbytes(len(edited[place : place + length]))
            case 2:
                edited[place : place + length] = bytes(len(edited[place : place + length]))
            case 3:
                del edited[place : place + length]
            case 4:
                edited[place:place] = draw.randbytes(length)
            case 5:
                edited[place : place + length] = b"\xff" * len(edited[place : place + length])
    return bytes(edited)


def outcome(path: Path, data_type: str) -> str:
    """What became of a file that was checked and read: "read", "refused", "killed"; anything else is raised."""
    try:
        guarded(probe, path, data_type, limit_seconds=LIMIT_SECONDS)
        open_clip(str(path), data_type, **SETTINGS, read_limit_seconds=LIMIT_SECONDS)
    except ReaderError as error:
        print(f"killed: {error}", file=sys.stderr)
        return "killed"
    except VideoError as error:
        assert error.reason and str(path) == str(error.path), error
        return "refused"
    return "read"


def fuzz(folder: Path, files: int, seed: int = 0, workers: int = 1) -> Counter[str]:
    """Damage and read `files` files, the kinds in turn; one left on disk at a time for each worker."""
    originals = [(path.name, path.read_bytes(), data_type) for path, data_type in make_originals(folder)]

    def read(number: int) -> str:
        name, data, data_type = originals[number % len(originals)]
        path = folder / f"{number}-{name}"
        path.write_bytes(damaged(data, random.Random(f"{seed} {number}")))
        end = outcome(path / "a.mp4" if path.suffix in SUFFIXES else path, data_type)
        if end != "killed":
            path.unlink()
        return end

    with ThreadPoolExecutor(workers) as pool:
        return Counter(pool.map(read, range(files)))


def main() -> int:
    """Fuzz, print counts."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.fuzz_media", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("files", type=int, nargs="?", default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for files that had to be killed")
    options = parser.parse_args()
    start = time.monotonic()
    folder = options.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    counts = fuzz(folder, options.files, options.seed, options.workers)
    kinds = len(VIDEO_KINDS) + len(ANIMATIONS) + len(IMAGES) + len(ARCHIVES)
    words = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(f"fuzz: {options.files} damaged files of {kinds} kinds: {words}; {time.monotonic() - start:.0f} s")
    return 0 if sum(counts.values()) == options.files else 1


if __name__ == "__main__":
    sys.exit(main())
