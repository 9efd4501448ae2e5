"""Media inside zip files and tar shards, read without unpacking them: `clips.zip/a/b.mp4`, `shard-000.tar/17.mp4`.

A path leads into an archive where one of its parts is a file named .zip or .tar. A reader gets a member as a file of
its own in memory (`as_file`), under its own name; its bytes are not written to a disk.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tasks.core.video.clip import VideoError, lack_of_file

SUFFIXES = (".zip", ".tar")
MOST_BYTES = 8 * 2**30
_ENCRYPTED = 1
_LOCAL_HEADER_BYTES = 30


class Member(NamedTuple):
    """Where a file lies in its archive."""

    offset: int
    """Of its data (tar) or its header (zip)."""
    stored_bytes: int
    size_bytes: int
    method: int | None
    """zip: how it is compressed; None for tar."""
    crc32: int
    is_encrypted: bool


class Contents(NamedTuple):
    """Files of an archive, in its order."""

    members: dict[str, Member]
    fault: str
    """Why the archive could not be read to its end; "" when it could."""
    replaced: tuple[str, ...] = ()
    """Names of members that a later one of the same name stands for, as when an archive is unpacked."""


class State(NamedTuple):
    """What tells that a file has changed."""

    size_bytes: int
    mtime_ns: int
    inode: int


def split(path: Path | str) -> tuple[Path, str] | None:
    """Archive and name of a member; None for a path that leads into none."""
    text = str(path)
    if not any(f"{suffix}/" in text.lower() for suffix in SUFFIXES):
        return None
    whole = Path(path)
    for parent in reversed(whole.parents):
        if parent.suffix.lower() in SUFFIXES and parent.is_file():
            return parent, whole.relative_to(parent).as_posix()
    return None


def contents(archive: Path) -> Contents:
    """Files of an archive; those before a damage are there.

    Raises:
        VideoError: not an archive at all.
    """
    state = archive.stat()
    return _contents(archive, state.st_size, state.st_mtime_ns)


def member(archive: Path, name: str) -> Member:
    """One of its files.

    Raises:
        VideoError: there is none of this name; or the archive is none.
    """
    members, fault, _ = contents(archive)
    if name not in members:
        raise VideoError(archive / name, f"{archive.name} holds no file {name!r}" + (f" ({fault})" if fault else ""))
    return members[name]


def is_media(path: Path | str) -> bool:
    """Whether there is a file, or a member of an archive, at this path."""
    inside = split(path)
    if inside is None:
        return not lack_of_file(path)
    try:
        return inside[1] in contents(inside[0]).members
    except VideoError:
        return False


def state_of(path: Path | str) -> State:
    """Size, time of change and inode; for a member its own size and the rest of its archive.

    Raises:
        OSError: no such file.
        VideoError: no such member.
    """
    inside = split(path)
    held = os.stat(path if inside is None else inside[0])
    size = held.st_size if inside is None else member(*inside).size_bytes
    return State(size, held.st_mtime_ns, held.st_ino)


def open_media_file(path: Path | str) -> io.BufferedReader | io.BytesIO:
    """A file, or a member, to read from.

    Raises:
        OSError: no such file.
        VideoError: no such member, or it is damaged.
    """
    return open(path, "rb") if split(path) is None else io.BytesIO(read_member(path))


def read_member(path: Path | str) -> bytes:
    """Bytes of a member.

    Raises:
        VideoError: no such member; encrypted, cut off, damaged, too large, or compressed by an unusual method.
    """
    inside = split(path)
    if inside is None:
        raise VideoError(path, "leads into no archive")
    archive, entry = inside[0], member(*inside)
    if entry.is_encrypted:
        raise VideoError(path, "encrypted")
    if entry.size_bytes > MOST_BYTES:
        raise VideoError(path, f"of {entry.size_bytes} bytes, more than {MOST_BYTES >> 30} GiB")
    if entry.method not in (None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise VideoError(path, f"compressed by method {entry.method}; stored and deflated are read")
    try:
        with archive.open("rb") as file:
            file.seek(entry.offset)
            if entry.method is not None:
                header = file.read(_LOCAL_HEADER_BYTES)
                file.seek(
                    int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), os.SEEK_CUR
                )
            data = file.read(entry.stored_bytes)
        if len(data) < entry.stored_bytes:
            raise VideoError(path, f"cut off: {len(data)} of {entry.stored_bytes} bytes are in {archive.name}")
        if entry.method == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, entry.size_bytes + 1)
    except (OSError, zlib.error) as error:
        raise VideoError(path, f"damaged in {archive.name}: {error}") from error
    if len(data) != entry.size_bytes or (entry.method is not None and zlib.crc32(data) != entry.crc32):
        raise VideoError(path, f"damaged in {archive.name}: not the bytes that its directory tells")
    return data


@contextmanager
def as_file(path: Path | str) -> Iterator[Path]:
    """A path that decoders can open: the file itself, or a member in memory under its own name.

    Raises:
        VideoError: no such member, or it is damaged.
    """
    if split(path) is None:
        yield Path(path)
        return
    data = read_member(path)
    descriptor = os.memfd_create("member")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        del data
        folder = folder_of(os.getpid())
        folder.mkdir(mode=0o700, exist_ok=True)
        link = folder / PurePosixPath(path).name
        link.symlink_to(f"/proc/self/fd/{descriptor}")
        yield link
    finally:
        os.close(descriptor)
        shutil.rmtree(folder_of(os.getpid()), ignore_errors=True)


def folder_of(process: int) -> Path:
    """Where a process names the member that it reads; whoever kills one may remove it."""
    return Path(tempfile.gettempdir()) / f"media-members-{process}"


@lru_cache(maxsize=256)
def _contents(archive: Path, size_bytes: int, mtime_ns: int) -> Contents:
    try:
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as file:
                return _collected(_of_zip(file))
        return _of_tar(archive)
    # What a damaged archive makes of the standard library's readers: BadZipFile, TarError, struct.error, ValueError ...
    except Exception as error:
        raise VideoError(archive, f"not a readable {archive.suffix[1:]} archive: {error}") from error


def _collected(listed: Iterable[tuple[str, Member]], fault: str = "") -> Contents:
    """Contents of a list of members; names without an empty or "." folder, as paths have none."""
    members: dict[str, Member] = {}
    replaced = []
    for name, place in listed:
        plain = "/".join(part for part in name.split("/") if part not in ("", "."))
        if plain in members:
            replaced.append(plain)
        members[plain] = place
    return Contents(members, fault, tuple(replaced))


def _of_zip(file: zipfile.ZipFile) -> Iterator[tuple[str, Member]]:
    for info in file.infolist():
        if not info.is_dir():
            is_encrypted = bool(info.flag_bits & _ENCRYPTED)
            sizes = (info.compress_size, info.file_size)
            place = Member(info.header_offset, *sizes, info.compress_type, info.CRC, is_encrypted)
            # Some Windows programs write backslashes, which the format forbids.
            yield info.filename if "/" in info.filename else info.filename.replace("\\", "/"), place


def _of_tar(archive: Path) -> Contents:
    listed, fault = [], ""
    with tarfile.open(archive, "r:") as file:
        try:
            for info in file:
                if info.isreg() and not info.issparse():
                    listed.append(
                        (info.name, Member(info.offset_data, info.size, info.size, None, 0, is_encrypted=False))
                    )
        except (tarfile.TarError, OSError, ValueError) as error:
            fault = f"{archive.name} is damaged: {error}"
    return _collected(listed, fault)
