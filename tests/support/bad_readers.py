"""Readers that misbehave, for the process that reads to call: functions of a module, as requests name them."""

import ctypes
import os
import time
from pathlib import Path

import numpy as np

from tasks.core.video.open import read_resized
from tasks.core.video.probe import probe


def sleep(path, seconds=600):
    time.sleep(seconds)


def spin(path):
    while True:
        pass


def crash(path):
    ctypes.string_at(0)


def crash_on_turn(path, data_type):
    """A probe that dies of one file."""
    if "turn" in path:
        crash(path)
    return probe(path, data_type)


def hang_on_first(path, data_type, budget, sampling):
    """A reader that never returns from one of a project's clips."""
    if path.endswith("/1.mp4"):
        time.sleep(600)
    return read_resized(path, data_type, budget, sampling)


def hang_on_torn(path, data_type, budget, sampling):
    """A reader that never returns from torn.mp4."""
    if path.endswith("/torn.mp4"):
        time.sleep(600)
    return read_resized(path, data_type, budget, sampling)


def crash_on_torn(path, data_type, budget, sampling):
    """A reader that dies of torn.mp4."""
    if path.endswith("/torn.mp4"):
        crash(path)
    return read_resized(path, data_type, budget, sampling)


TORN = {"hangs": (hang_on_torn, "not read within"), "crashes": (crash_on_torn, "the decoder crashed (SIGSEGV)")}
"""What torn.mp4 does to its reader -> the reader, and what is told of the file."""


def fail(path):
    raise AttributeError("'NoneType' object has no attribute 'name'")


def fill_memory(path):
    return np.ones(1 << 40, np.uint8)


def mutter(path):
    os.write(1, b"decoder: this is odd\n" * 1000)
    os.write(2, b"decoder: this is odd\n" * 1000)
    print("more of it")
    return path


def process_of(path):
    return os.getpid()


def write_process_and_sleep(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)
