"""A file that may grow no more, as on a full disk: the error names it, and no half of it is taken for the whole."""

import errno
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.core.io.atomic import naming_full_disk, write_text
from tasks.core.io.errors import full_disk
from tasks.core.io.jsonl import JsonlWriter, append_jsonl, read_jsonl
from tasks.core.io.tables import write_table
from tasks.core.world.render import write_clip

ROW = {"text": "x" * 40}
ROOT = Path(__file__).parents[3]


@contextmanager
def file_limit(size_bytes):
    """No file of this process may grow beyond so many bytes; what fits is written, as on a disk that is almost full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_row_that_fits_in_part_is_an_error_and_not_glued_to_the_next(tmp_path):
    path = tmp_path / "rows.jsonl"
    with JsonlWriter(path) as writer:
        with file_limit(3 * 53 + 20), pytest.raises(OSError) as raised:
            for _ in range(10):
                writer.write(ROW)
        assert raised.value.filename == str(path)
    assert read_jsonl(path) == [ROW] * 3
    with JsonlWriter(path) as writer:
        writer.write(ROW)
    assert read_jsonl(path) == [ROW] * 4


WRITES = {
    "text": lambda path: write_text(path, "x" * 500),
    "table": lambda path: write_table(path, [ROW] * 9, pa.schema([pa.field("text", pa.string())])),
    "clip": lambda path: write_clip(path, np.random.default_rng(0).integers(0, 256, (8, 56, 56, 3), dtype=np.uint8)),
    "log": lambda path: append_jsonl(path, [ROW] * 9),
}


@pytest.mark.parametrize("kind", WRITES)
def test_the_error_names_the_file_and_leaves_none_or_a_torn_tail(tmp_path, kind):
    path = tmp_path / "out" / "file"
    with file_limit(100), pytest.raises(OSError) as raised:
        WRITES[kind](path)
    assert raised.value.filename == str(path)
    left = [file.name for file in path.parent.iterdir()]
    assert left == (["file"] if kind == "log" else [])
    WRITES[kind](path)
    assert path.stat().st_size > 100


def test_a_full_disk_names_what_was_written():
    error = OSError(errno.ENOSPC, "No space left on device")
    error.filename = "data/x.parquet"
    assert full_disk(error) == "no space left on the disk: data/x.parquet"


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RuntimeError("[enforce fail] unexpected pos 64 vs 0"), id="torch"),
        pytest.param(ValueError("IoError: No space left on device (os error 28)"), id="safetensors"),
        pytest.param(OSError(errno.ENOSPC, "No space left on device"), id="the system, without a name"),
    ],
)
def test_an_error_without_a_name_gets_that_of_what_was_written(tmp_path, error):
    with pytest.raises(OSError, match="No space left") as raised, naming_full_disk(tmp_path / "checkpoint-2"):
        raise error
    assert full_disk(raised.value) == f"no space left on the disk: {tmp_path / 'checkpoint-2'}"


def test_other_errors_and_names_stay(tmp_path):
    named = OSError(errno.ENOSPC, "No space left on device", "config.json")
    for error in (named, RuntimeError("7 is odd")):
        with pytest.raises(type(error)) as raised, naming_full_disk(tmp_path):
            raise error
        assert raised.value is error


BAR = """
import errno
from tqdm import tqdm
from tasks.core.io.cli import run_stage

def main():
    for row in tqdm(range(3), mininterval=0):
        if row == 1:
            raise OSError(errno.ENOSPC, "No space left on device", "data/rows.jsonl")

run_stage(main)
"""


def test_the_error_stands_on_a_line_of_its_own_and_names_the_stage(tmp_path):
    (tmp_path / "shrink.py").write_text(BAR)
    command = [sys.executable, str(tmp_path / "shrink.py")]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, text=True, capture_output=True)
    assert done.returncode == 2
    expected = "error: shrink: no space left on the disk: data/rows.jsonl; make room, then the same command goes on"
    assert expected in done.stderr.splitlines()
