"""Pictures as a viewer shows them: upright, in eight bits, one of several."""

import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.core.video import VideoError, data_type_of, read_image
from tasks.core.video import picture as picture_module
from tasks.core.video.probe import probe

MEDIA = Path(__file__).parents[2] / "fixtures/media"
ORIENTATION = 0x0112
TURNS = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.swapaxes(0, 1),
    6: lambda shown: shown.swapaxes(0, 1)[::-1],
    7: lambda shown: shown.swapaxes(0, 1)[::-1, ::-1],
    8: lambda shown: shown.swapaxes(0, 1)[:, ::-1],
}
"""By Exif orientation: how a camera stores what is to be shown."""


def four_corners(height=32, width=48):
    """Grey levels 30, 90, 150, 220 by quarter, in reading order."""
    shown = np.empty((height, width, 3), np.uint8)
    middle_y, middle_x = height // 2, width // 2
    shown[:middle_y, :middle_x], shown[:middle_y, middle_x:] = 30, 90
    shown[middle_y:, :middle_x], shown[middle_y:, middle_x:] = 150, 220
    return shown


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(
    ("suffix", "settings"),
    [
        ("jpg", {"quality": 95}),
        ("webp", {"lossless": True}),
        ("png", {}),
        ("tif", {}),
        ("avif", {"quality": 95}),
    ],
)
def test_pictures_are_upright(tmp_path, suffix, settings, orientation):
    shown = four_corners()
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](shown)))
    exif = stored.getexif()
    exif[ORIENTATION] = orientation
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **settings)
    [read] = read_image(tmp_path / f"a.{suffix}").frames
    assert read.shape == shown.shape
    assert np.abs(read.astype(int) - shown).mean() < 4
    info = probe(tmp_path / f"a.{suffix}", "image")
    assert (info.height, info.width) == shown.shape[:2]


def test_sixteen_bit_grey_is_upright_too(tmp_path):
    shown = four_corners()[..., 0]
    stored = Image.fromarray(np.ascontiguousarray(TURNS[6](shown)).astype(np.uint16) * 257)
    exif = stored.getexif()
    exif[ORIENTATION] = 6
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png").frames[0, ..., 0], shown)


RAMP = np.arange(256)[None].repeat(8, 0)
FULL = (RAMP * 257).astype(np.uint16)


def write_pgm(path, levels):
    header = f"P5\n{levels.shape[1]} {levels.shape[0]}\n65535\n".encode()
    path.write_bytes(header + levels.astype(">u2").tobytes())


@pytest.mark.parametrize(
    ("name", "write"),
    [
        pytest.param("a.png", lambda path: Image.fromarray(FULL).save(path), id="png-16"),
        pytest.param("a.tif", lambda path: Image.fromarray(FULL).save(path), id="tiff-16"),
        pytest.param("a.tif", lambda path: Image.fromarray(FULL.astype(np.int32)).save(path), id="tiff-32"),
        pytest.param("a.tif", lambda path: Image.fromarray((RAMP / 255).astype("f")).save(path), id="tiff-0-to-1"),
        pytest.param("a.tif", lambda path: Image.fromarray(RAMP.astype("f")).save(path), id="tiff-0-to-255"),
        pytest.param("a.tif", lambda path: Image.fromarray((RAMP * 9.0 - 70).astype("f")).save(path), id="tiff-any"),
        pytest.param("a.pgm", lambda path: write_pgm(path, FULL), id="pgm-16"),
        pytest.param("a.jp2", lambda path: Image.fromarray(FULL).save(path, irreversible=False), id="jpeg-2000-16"),
        pytest.param("a.png", lambda path: Image.fromarray(RAMP.astype(np.uint8)).save(path), id="png-8"),
    ],
)
def test_grey_keeps_its_256_levels(tmp_path, name, write):
    """Was: 99.6 % of a 16-bit ramp white, a float one black."""
    write(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / name).frames[0, :, :, 1], RAMP)


def test_what_is_no_number_is_black(tmp_path):
    levels = np.array([[0.0, np.nan, np.inf, -np.inf, 1.0]], "f")
    Image.fromarray(levels).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").frames[0, 0, :, 0].tolist() == [0, 0, 0, 0, 255]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param("a.tif", {}, id="pages-of-a-tiff"),
        pytest.param("a.mpo", {"format": "MPO"}, id="two-views-of-a-phone"),
    ],
)
def test_of_several_pictures_the_first_is_the_image(tmp_path, name, settings):
    first, second = Image.new("RGB", (24, 16), (200, 0, 0)), Image.new("RGB", (12, 8), (0, 200, 0))
    first.save(tmp_path / name, save_all=True, append_images=[second], **settings)
    assert data_type_of(tmp_path / name) == "image"
    [read] = read_image(tmp_path / name).frames
    assert read.shape == (16, 24, 3) and abs(int(read[8, 12, 0]) - 200) < 5 and read[8, 12, 1] < 5


def write_png(path, levels, *chunks):
    """16-bit grey with further chunks (name, data)."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 16, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    whole = (struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(whole))


TAGS = {"photometric": 262, "sample_format": 339}


def write_tiff(path, levels, **tags):
    """Pillow leaves these two tags to itself, so they are set in the file: entries of (tag, type, count, value)."""
    Image.fromarray(levels).save(path)
    data = path.read_bytes()
    for name, value in tags.items():
        head = struct.pack("<HHI", TAGS[name], 3, 1)
        place = data.index(head) + len(head)
        data = data[:place] + struct.pack("<H", value) + data[place + 2 :]
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "write", "shown"),
    [
        pytest.param(
            "a.png", lambda path: write_png(path, FULL, (b"tRNS", b"\0\0")), np.where(RAMP, RAMP, 255), id="clear-level"
        ),
        pytest.param("a.png", lambda path: write_png(path, FULL, (b"eXIf", b"garbage")), RAMP, id="damaged-exif"),
        pytest.param("a.tif", lambda path: write_tiff(path, FULL, photometric=0), RAMP[:, ::-1], id="white-is-zero"),
        pytest.param(
            "a.tif",
            lambda path: write_tiff(path, (RAMP * 16843009).astype(np.uint32).view(np.int32), sample_format=1),
            RAMP,
            id="unsigned-32",
        ),
    ],
)
def test_what_pillow_heeds_only_up_to_eight_bits(tmp_path, name, write, shown):
    write(tmp_path / name)
    assert np.array_equal(read_image(tmp_path / name).frames[0, :, :, 1], shown)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.avif", "a.png"])
@pytest.mark.parametrize(("count", "data_type"), [(1, "image"), (3, "video")])
def test_what_moves_is_a_video(tmp_path, name, count, data_type):
    pictures = [Image.new("RGB", (24, 16), (80 * index, 0, 0)) for index in range(count)]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=100)
    assert data_type_of(tmp_path / name) == data_type
    assert read_image(tmp_path / name).frames.shape == (1, 16, 24, 3)


def test_heic_is_read():
    pytest.importorskip("pillow_heif")
    [read] = read_image(MEDIA / "two_colours.heic").frames
    assert read.shape == (8, 12, 3)
    assert np.abs(read[4, 2].astype(int) - (30, 30, 200)).max() < 12
    assert np.abs(read[4, 10].astype(int) - (200, 30, 30)).max() < 12


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        pytest.param("a.jpg", lambda path: path.write_bytes(b""), "empty file", id="empty"),
        pytest.param("a.jpg", lambda path: path.write_bytes(b"text " * 9), "no picture format", id="text"),
        pytest.param("a.jpg", lambda path: path.mkdir(), "a folder, not a file", id="folder"),
        pytest.param("a.jpg", os.mkfifo, "a pipe, socket or device, not a file", id="pipe"),
        pytest.param("a.jpg", lambda path: path.symlink_to(path), "no such file: Too many", id="link-to-itself"),
        pytest.param("a.eps", lambda path: Image.new("L", (8, 8)).save(path), "EPS: a program", id="program"),
        pytest.param("a.tif", lambda path: path.write_bytes(b"II*\0" + bytes(99)), "TIFF file that is", id="tiff-head"),
        pytest.param(
            "a.avif", lambda path: path.write_bytes(b"\0\0\0\x18ftypavif" + bytes(99)), "AVIF file", id="avif-head"
        ),
        pytest.param(
            "a.heic", lambda path: path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(99)), "HEIC|readable", id="heic-head"
        ),
        pytest.param(
            "a.png",
            lambda path: Image.new("1", (20_000, 20_000)).save(path),
            "exceeds limit",
            id="larger-than-any-picture",
        ),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(tmp_path, name, make, reason):
    make(tmp_path / name)
    with pytest.raises(VideoError, match=reason):
        read_image(tmp_path / name)


def test_heic_without_its_package_says_what_it_needs(tmp_path, monkeypatch):
    path = tmp_path / "a.heic"
    shutil.copy(MEDIA / "two_colours.heic", path)
    monkeypatch.setattr(picture_module.Image, "open", refuse)
    with pytest.raises(VideoError, match="HEIC, which needs the package pillow-heif"):
        read_image(path)


def refuse(path):
    raise picture_module.UnidentifiedImageError(f"cannot identify image file {path}")
