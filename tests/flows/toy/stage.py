"""One stage of the toy project: reads its inputs and a parameter, writes one file, notes that it ran.

python stage.py NAME OUT [INPUT ...]
"""

import sys
from pathlib import Path

import yaml

name, out, *inputs = sys.argv[1:]
params = yaml.safe_load(Path("params.yaml").read_text())
with Path("ran.log").open("a") as log:
    log.write(name + "\n")
if params.get("fail") == name:
    sys.exit(3)
text = "".join(
    Path(path).read_text() if Path(path).is_file() else "".join(sorted(p.name for p in Path(path).iterdir()))
    for path in inputs
)
Path(out).parent.mkdir(parents=True, exist_ok=True)
Path(out).write_text(f"{text}{name} {params.get(name.partition('@')[0], '')}\n")
