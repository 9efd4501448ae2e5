"""Install the torchvision cure (torchvision_cpu.py) into the active environment, if it is needed there.

`python setup/install_shim.py`: idempotent; prints one line. Needs nothing outside the standard library.
"""

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

MODULE = "video_r1_torchvision_cpu"
SOURCE = Path(__file__).with_name("torchvision_cpu.py")


def main() -> int:
    """Install, refresh or leave alone; 1 when torchvision cannot be imported even so."""
    site = Path(sysconfig.get_paths()["purelib"])
    module, hook = site / f"{MODULE}.py", site / f"{MODULE}.pth"
    if importlib.util.find_spec("torchvision") is None:
        print("torchvision is not installed in this environment: nothing to do")
        return 1
    if module.exists() and hook.exists() and module.read_text() == SOURCE.read_text():
        print("torchvision cure: already in place")
        return check()
    if not hook.exists() and import_error() is None:
        print("torchvision imports as it is: no cure needed")
        return 0
    module.write_text(SOURCE.read_text())
    hook.write_text(f"import {MODULE}\n")
    print(f"torchvision cure: installed {module.name} and {hook.name} in {site}")
    return check()


def check() -> int:
    """Import torchvision in a fresh interpreter; 0 when it works."""
    if (error := import_error()) is None:
        return 0
    print(f"torchvision still does not import: {error}", file=sys.stderr)
    return 1


def import_error() -> str | None:
    """Last line of what `import torchvision` prints in a fresh interpreter, or None when it succeeds."""
    done = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]


if __name__ == "__main__":
    raise SystemExit(main())
