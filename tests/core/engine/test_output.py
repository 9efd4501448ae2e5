"""The cause of a failed start, out of what child processes print."""

import subprocess
import sys

import pytest

from tasks.core.engine.output import captured_output

TRACE = """(EngineCore pid=7) Process EngineCore:
(EngineCore pid=7) ERROR 11-26 15:00:01 [core.py:700] EngineCore failed to start.
(EngineCore pid=7) ERROR 11-26 15:00:01 [core.py:700] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-26 15:00:01 [core.py:700]   File "core.py", line 3, in run
(EngineCore pid=7) ERROR 11-26 15:00:01 [core.py:700] torch.OutOfMemoryError: CUDA out of memory.
(EngineCore pid=7) ERROR 11-26 15:00:01 [core.py:700] Tried to allocate 9 GiB.
(EngineCore pid=7) ERROR 11-26 15:00:01 [core.py:700] Traceback (most recent call last):
Traceback (most recent call last):
  File "llm.py", line 1, in start
RuntimeError: Engine core initialization failed. See root cause above.
"""


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        pytest.param(TRACE, "OutOfMemoryError: CUDA out of memory. Tried to allocate 9 GiB.", id="first"),
        pytest.param("all well\n", "", id="none"),
        pytest.param("ValueError: plain\n", "ValueError: plain", id="without a logger"),
    ],
)
def test_the_last_line_of_a_childs_traceback(printed, expected, capfd):
    with pytest.raises(KeyError), captured_output(True) as output:
        subprocess.run([sys.executable, "-c", f"print({printed!r})"], check=True)
        assert output.last_error() == expected
        raise KeyError
    assert capfd.readouterr() == ("", ""), "nothing of it is shown"


def test_what_a_start_that_went_well_printed_is_passed_on(capfd):
    with captured_output(True):
        subprocess.run([sys.executable, "-c", "print('careful')"], check=True)
    assert "careful" in capfd.readouterr().err


def test_not_captured(capfd):
    with captured_output(False) as output:
        print("seen")
    assert (output.last_error(), capfd.readouterr().out) == ("", "seen\n")
