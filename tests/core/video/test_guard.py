"""Reading in children: a bad file costs itself, and no child outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tasks.core.video import ReaderError, VideoError, guarded, open_clip
from tasks.core.video.decode import read_clip
from tasks.core.video.open import data_type_of
from tests.support import bad_readers
from tests.support.fuzz_media import fuzz

ROOT = Path(__file__).parents[3]
CLIP = ROOT / "tests/fixtures/clips/slide.mp4"
SIZES = {"min_pixels": 3136, "max_pixels": 100_000}
SAMPLING = {"frames": 8, "fps": 4.0, "min_frames": 4}


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.05)


def test_a_clip_read_in_a_child_is_the_clip_read_here():
    clip, here = guarded(read_clip, CLIP, **SAMPLING), read_clip(CLIP, **SAMPLING)
    assert np.array_equal(clip.frames, here.frames) and clip.frames.flags.writeable
    assert (clip.indices, clip.seconds, clip.sample_fps) == (here.indices, here.seconds, here.sample_fps)


@pytest.mark.parametrize(
    ("read", "limit", "reason", "kind"),
    [
        pytest.param(bad_readers.sleep, 0.3, "not read within 0 s", ReaderError, id="waits-for-ever"),
        pytest.param(bad_readers.spin, 0.3, "not read within 0 s", ReaderError, id="computes-for-ever"),
        pytest.param(bad_readers.crash, 30, r"the decoder crashed \(SIGSEGV\)", ReaderError, id="crashes"),
        pytest.param(bad_readers.fail, 30, "AttributeError: 'NoneType' object", VideoError, id="raises-anything"),
        pytest.param(bad_readers.fill_memory, 30, "needs more than 8 GiB", VideoError, id="asks-for-a-terabyte"),
    ],
)
def test_what_a_file_does_is_its_reason_and_the_next_one_is_read(read, limit, reason, kind):
    with pytest.raises(kind, match=reason) as caught:
        guarded(read, "bad.mp4", limit_seconds=limit)
    assert caught.value.path == "bad.mp4"
    assert len(open_clip(str(CLIP), "video", **SAMPLING, **SIZES).frames) == 8


@pytest.mark.parametrize(
    ("name", "reason"), [("a\0b.mp4", "null byte"), ("y" * 300 + ".mp4", "name too long"), ("pipe.mp4", "a pipe")]
)
def test_what_is_no_file_is_refused_at_once(tmp_path, name, reason):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match=reason):
        open_clip(str(tmp_path / name), "video", **SAMPLING, **SIZES)


def test_a_file_that_hung_is_not_waited_for_again():
    with pytest.raises(ReaderError, match="not read within 0 s"):
        guarded(bad_readers.sleep, "twice.mp4", limit_seconds=0.3)
    with pytest.raises(ReaderError, match="not read within 0 s"):
        guarded(bad_readers.sleep, "twice.mp4", 0.0)
    assert guarded(bad_readers.sleep, "other.mp4", 0.0) is None


def test_what_decoders_print_does_not_mix_with_replies():
    assert guarded(bad_readers.mutter, "a.mp4") == os.path.abspath("a.mp4")


def test_a_child_that_died_meanwhile_is_replaced():
    pid = guarded(bad_readers.process_of, CLIP)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid))
    assert guarded(bad_readers.process_of, CLIP) != pid


def test_threads_share_the_children_that_there_are():
    barrier = threading.Barrier(3, timeout=60)

    def read(_):
        barrier.wait()
        return guarded(bad_readers.process_of, CLIP)

    with ThreadPoolExecutor(3) as pool:
        pids = {pid for _ in range(20) for pid in pool.map(read, range(3))}
    assert len(pids) <= 4


def test_paths_are_of_the_callers_folder(tmp_path, monkeypatch):
    guarded(bad_readers.process_of, CLIP)  # the child is there before the folder changes
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.mp4").write_bytes(CLIP.read_bytes())
    assert len(open_clip("here.mp4", "video", **SAMPLING, **SIZES).frames) == 8
    with pytest.raises(VideoError, match=r"^gone.mp4: no such file"):
        open_clip("gone.mp4", "video", **SAMPLING, **SIZES)
    assert data_type_of("here.mp4") == "video"


SCRIPT = """
import os, sys, threading
from tasks.core.video import guarded
from tests.support import bad_readers
from tests.support.fuzz_media import fuzz
threading.Thread(target=lambda: guarded(bad_readers.{read}, {path!r}, limit_seconds=600), daemon=True).start()
{then}
"""


@pytest.mark.parametrize("ending", ["SIGKILL", "SIGTERM", "exit"])
def test_no_child_outlives_its_parent(tmp_path, ending):
    """Not even one that is stuck in a file."""
    told = tmp_path / "pid"
    then = f"while not os.path.exists({str(told)!r}): pass" if ending == "exit" else "import time; time.sleep(600)"
    script = SCRIPT.format(read="write_process_and_sleep", path=str(told), then=then)
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    wait_for(lambda: told.exists() and told.read_text())
    if ending != "exit":
        parent.send_signal(getattr(signal, ending))
    parent.wait(60)
    wait_for(lambda: not is_alive(int(told.read_text())))


def test_a_forked_process_has_children_of_its_own():
    """The parent's are not its to use: two askers on one pipe would read each other's clips."""
    mine = guarded(bad_readers.process_of, CLIP)
    read_end, write_end = os.pipe()
    if not (child := os.fork()):
        os.write(write_end, str(guarded(bad_readers.process_of, CLIP)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read_end, 20)) != mine
    assert guarded(bad_readers.process_of, CLIP) == mine


def test_damaged_files_of_all_kinds_end_in_a_clip_or_a_reason(tmp_path):
    """`python -m tests.support.fuzz_media 4000` does more of it."""
    counts = fuzz(tmp_path, files=320, seed=1)
    assert counts["read"] + counts["refused"] + counts["killed"] == 320
    assert counts["read"] > 50 and counts["refused"] > 50 and counts["killed"] <= 2
