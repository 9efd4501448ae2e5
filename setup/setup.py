"""Make `.venv` as uv.lock has it: `python3 setup/setup.py [--flavour cpu|cuda] [--check]`.

Needs nothing but a supported Python: pip fetches uv, and uv the rest. Idempotent: a stamp with a hash of everything
that decides the environment lets a second run end at once. Each step prints its name and its seconds; a failing step
prints the end of its own output and stops.
"""

import sys

SUPPORTED = ((3, 11), (3, 12))
if sys.version_info[:2] not in SUPPORTED:
    version = ".".join(map(str, sys.version_info[:2]))
    sys.exit(f"setup: Python {version} is not supported; use 3.11 or 3.12, e.g. `make setup PYTHON=python3.11`")

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import threading
import time
import tomllib
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = (ROOT / ".venv").resolve()
STAMP = VENV / ".setup-stamp"
LOCK = ROOT / "uv.lock"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 4.0
"""A package index that does not answer within this time is left alone."""
IMPORT_CHECK = """
import importlib
for name in ("torch", "torchvision", "transformers", "trl", "vllm", "prefect", "dvc", "great_expectations"):
    module = importlib.import_module(name)
    print(name, getattr(module, "__version__", "ok"), end="  ", flush=True)
print()
"""


class SetupError(RuntimeError):
    """A step failed; the text is what the user reads."""


def fingerprint(flavour: str) -> str:
    """Hash of all that decides the environment: the lock, the set-up code, interpreter, place and flavour."""
    digest = hashlib.sha256(f"{flavour} {sys.version_info[:3]} {VENV}".encode())
    for path in [LOCK, *sorted((ROOT / "setup").glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def pin(name: str) -> str:
    """`name==version` as the lock has it."""
    versions = [each["version"] for each in tomllib.loads(LOCK.read_text())["package"] if each["name"] == name]
    if len(versions) != 1:
        raise SetupError(f"{LOCK}: {len(versions)} versions of {name}, one is needed")
    return f"{name}=={versions[0]}"


def run(command: list[str], **environment: str) -> str:
    """Run a command and return its output; SetupError with the end of it when it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        tail = [line for line in done.stdout.splitlines() if line.strip() and not line.startswith("WARNING")][-12:]
        raise SetupError("\n".join([f"{' '.join(command[:6])} ... failed ({done.returncode}):", *tail]))
    return done.stdout


def python() -> str:
    """Interpreter of the environment."""
    return str(VENV / "bin" / "python")


def pip(*arguments: str) -> str:
    """`pip install` inside the environment, without byte-compiling (Python does that on first import)."""
    options = ["--disable-pip-version-check", "--no-input", "install", "-q", "--no-compile"]
    return run([python(), "-m", "pip", *options, *arguments])


def answers(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether `url` answers in time; name resolution has no time limit of its own, hence the thread."""
    result: list[bool] = []

    def probe() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds) as reply:
                result.append(reply.status == 200)
        except OSError:
            result.append(False)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(result and result[0])


def make_venv() -> str:
    """Create `.venv` with uv in it, or keep the one that was made here with this same Python version."""
    note = "kept"
    if not usable():
        shutil.rmtree(VENV, ignore_errors=True)
        try:
            run([sys.executable, "-m", "venv", str(VENV)])
        except SetupError as error:
            raise SetupError(f"{error}\n(on Debian and Ubuntu: apt install python3-venv)") from None
        note = "Python " + ".".join(str(part) for part in sys.version_info[:3])
    pip(pin("uv"))
    return note


def usable() -> bool:
    """Whether `.venv` was made in this place with this Python version.

    The commands in `.venv/bin` name their interpreter by its full path, so an environment that was moved or copied with
    its folder runs the old folder's packages, or nothing. Python notes in `pyvenv.cfg` where it made one.
    """
    notes = VENV / "pyvenv.cfg"
    if not Path(python()).exists() or not notes.exists() or f" {VENV}\n" not in notes.read_text():
        return False
    asked = [python(), "-c", "import sys; print(*sys.version_info[:2])"]
    version = subprocess.run(asked, capture_output=True, text=True).stdout.split()
    return version == [str(part) for part in sys.version_info[:2]]


def install_torch(flavour: str) -> str:
    """Install torch for the CPU before anything else, from PyTorch's own wheels where they can be had.

    pip does it, for it also knows wheels that lie on the machine. uv then finds the locked version installed and leaves
    it alone. The CUDA flavour takes what the lock names.
    """
    if flavour != "cpu":
        return "left to uv"
    index = ["--extra-index-url", TORCH_CPU_INDEX] if answers(f"{TORCH_CPU_INDEX}/torch/") else []
    pip("--no-deps", pin("torch"), pin("torchvision"), *index)
    return "PyTorch's CPU wheels" if index else "the default index"


def install_rest(flavour: str) -> str:
    """Make the environment equal to the lock; a CUDA build of torch that stands in for a CPU one gets what it needs."""
    settings = uv_environment()
    uv = [python(), "-m", "uv"]
    listed = VENV / "locked.txt"
    extras = ["--extra", flavour, "--extra", "dev"]
    run([*uv, "export", "-q", "--frozen", "--no-emit-project", *extras, "-o", str(listed)], **settings)
    run([*uv, "pip", "sync", "-q", "--python", python(), str(listed)], **settings)
    pip(pin("torch"))
    return f"{len(re.findall('^[a-z0-9]', listed.read_text(), re.MULTILINE))} packages"


def uv_environment() -> dict[str, str]:
    """The index and the certificate that pip is set up with, in uv's terms; uv takes no Python but ours."""
    listed = run([python(), "-m", "pip", "--disable-pip-version-check", "config", "list"])
    settings = dict(re.findall(r"^[\w:.]*?\.?(index-url|cert)='(.*)'$", listed, re.MULTILINE))
    names = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
    fixed = {"UV_HTTP_TIMEOUT": "60", "UV_PYTHON": python(), "UV_PYTHON_DOWNLOADS": "never"}
    return fixed | {names[key]: value for key, value in settings.items()}


def install_shim() -> str:
    """Let a CPU torch import torchvision (see setup/torchvision_cpu.py)."""
    return run([python(), "setup/install_shim.py"]).strip().splitlines()[-1]


def check_imports() -> str:
    """Import what the pipeline stands on, in a fresh interpreter, and return the versions.

    Bytecode is written even where PYTHONDONTWRITEBYTECODE is set: without it every stage compiles its packages anew.
    """
    quiet = {"DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "ERROR", "PYTHONDONTWRITEBYTECODE": ""}
    return run([python(), "-c", IMPORT_CHECK], **quiet).strip().splitlines()[-1]


def main() -> int:
    """Run the steps; 0 when the environment stands."""
    parser = argparse.ArgumentParser(description="Make .venv as uv.lock has it.")
    parser.add_argument("--flavour", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--check", action="store_true", help="only tell whether the environment is up to date")
    arguments = parser.parse_args()
    flavour, wanted = arguments.flavour, fingerprint(arguments.flavour)
    if STAMP.exists() and STAMP.read_text() == wanted:
        print(f"setup: .venv is up to date ({flavour})")
        return 0
    if arguments.check:
        print("setup: .venv is missing or out of date; run `make setup`")
        return 1
    steps = [
        ("virtual environment .venv, uv", make_venv),
        ("torch and torchvision", lambda: install_torch(flavour)),
        ("packages of uv.lock", lambda: install_rest(flavour)),
        ("torchvision on a CPU-only torch", install_shim),
        ("import check", check_imports),
    ]
    started = time.monotonic()
    for number, (title, step) in enumerate(steps, 1):
        print(f"setup {number}/{len(steps)}: {title} ... ", end="", flush=True)
        before = time.monotonic()
        try:
            note = step()
        except SetupError as error:
            print(f"failed\n{error}", file=sys.stderr)
            return 1
        print(f"{time.monotonic() - before:.0f} s ({note})", flush=True)
    STAMP.write_text(wanted)
    print(f"setup: done in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
