"""What a command started ends with it, however it ends, and a stage ends with what started it."""

import os
import shlex
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]
SLEEP = "[sys.executable, '-c', 'import time; time.sleep(120)', {tag!r}]"
TITLED = """[sys.executable, '-c', '''import setproctitle, sys, time
setproctitle.setproctitle(sys.argv[1])
time.sleep(120)''', {tag!r}]"""
HELD = """
import subprocess, sys, time
from tasks.core.io.lifeline import hold
hold()
{handler}
subprocess.Popen({sleep}, start_new_session=True)  # not of the group, and soon without a parent
print("ready", flush=True)
{then}
"""
LEADER = """
import os, subprocess, sys, time
child = subprocess.Popen({command}, env={{**os.environ, {variables}}}, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), flush=True)
time.sleep(120)
"""


@pytest.fixture
def tag():
    """A word in the command line of every process of a test, all of which are ended after it."""
    word = f"lifeline-{uuid.uuid4()}"
    yield word
    for process in tagged(word):
        process.kill()


def tagged(word):
    processes = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if word in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            processes.append(process)
    return processes


def held(tag, then="time.sleep(120)", handler="", sleep=SLEEP):
    return [sys.executable, "-c", HELD.format(sleep=sleep.format(tag=tag), then=then, handler=handler), tag]


def start(command, **environment):
    env = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    env |= {"PYTHONPATH": str(ROOT), "VIDEO_R1_GRACE_SECONDS": "2", **environment}
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().strip() == "ready"
    return child


def all_end(tag):
    return live(tag, 0)


def live(tag, count, within=30.0):
    """Whether so many come to live: right after its start a process has no command line yet."""
    deadline = time.monotonic() + within
    while len(tagged(tag)) != count and time.monotonic() < deadline:
        time.sleep(0.1)
    return len(tagged(tag)) == count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "number"),
    [
        pytest.param("time.sleep(120)", signal.SIGKILL, id="killed"),
        pytest.param("time.sleep(120)", signal.SIGTERM, id="terminated"),
        pytest.param("raise SystemExit(3)", None, id="failed"),
    ],
)
def test_what_a_process_started_ends_with_it(tag, then, number):
    child = start(held(tag, then))
    if number:
        child.send_signal(number)
    child.wait(30)
    assert all_end(tag)


@pytest.mark.slow
def test_a_process_that_gives_itself_a_title_ends_too(tag):
    child = start(held(tag, sleep=TITLED))
    assert live(tag, 2)
    titled = max(tagged(tag), key=lambda process: process.create_time())
    deadline = time.monotonic() + 30
    while titled.cmdline()[0] != tag and time.monotonic() < deadline:
        time.sleep(0.1)
    assert titled.cmdline()[0] == tag  # it has its title
    child.kill()
    child.wait(30)
    assert all_end(tag)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
@pytest.mark.parametrize(
    "handler",
    ["", "import signal; signal.signal(signal.SIGTERM, lambda *_: None)"],
    ids=["obedient", "deaf to the request"],
)
def test_a_stage_ends_with_what_started_it(tag, number, handler):
    leader = LEADER.format(command=repr(held(tag, handler=handler)), variables="'DVC_STAGE': 'sft'")
    parent = start([sys.executable, "-c", leader, tag])
    assert live(tag, 3)
    parent.send_signal(number)
    parent.wait(30)
    assert all_end(tag)


def test_a_shell_between_does_not_hide_that_the_leader_is_gone(tag):
    line = " ".join(map(shlex.quote, held(tag)))
    leader = LEADER.format(command=repr(["sh", "-c", f"{line}; true"]), variables="'DVC_STAGE': 'sft'")
    parent = start([sys.executable, "-c", leader, tag])
    parent.kill()
    parent.wait(30)
    assert all_end(tag)


@pytest.mark.slow
def test_what_was_started_by_hand_outlives_its_terminal(tag):
    parent = start([sys.executable, "-c", LEADER.format(command=repr(held(tag)), variables=""), tag])
    parent.kill()
    parent.wait(30)
    time.sleep(3)
    assert live(tag, 2)
