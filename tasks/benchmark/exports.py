"""Result files for others: each benchmark's own, for its leaderboard, and one JSON in lm-eval's shape."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark import suite_log
from tasks.benchmark.suites import REGISTRY
from tasks.benchmark.totals import slots
from tasks.core.io.atomic import write_json, write_text

FOLDER = "exports"
LM_EVAL = "lm_eval.json"


def write_exports(
    folder: Path, model: str, entries: Sequence[Mapping[str, Any]], sources: Sequence[Mapping[str, Any]]
) -> None:
    """Write `exports/` anew from the logs in `folder`: one folder per benchmark and frame cap, ordered frames."""
    root = folder / FOLDER
    shutil.rmtree(root, ignore_errors=True)
    if not entries:
        return
    for path in suite_log.logs_in(folder):
        rows = list(suite_log.read(path).values())
        for (name, subset, protocol, frames, view), some in sorted(slots(rows).items()):
            export = REGISTRY[name].export
            if export is None or view != "ordered" or some[0]["sample_id"].startswith("video_r1/"):
                continue
            # An answer that could not be had is left out, never filled in.
            answered = [row for row in some if not row["error_class"]]
            place = root / f"{name}{'-' + subset if subset else ''}-{protocol}-{frames}f"
            for file, value in export(answered).items():
                (write_text if isinstance(value, str) else write_json)(place / file, value)
    write_json(root / LM_EVAL, lm_eval(model, entries, sources))


def lm_eval(model: str, entries: Sequence[Mapping[str, Any]], sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores of ordered frames in lm-eval's shape: results, n-samples, configs, versions.

    Scores and standard errors are shares of 1. `score_stderr` is that of the overall number itself, with its clusters
    and macro average; `acc_stderr_clustered` is lmms-eval's, which knows means over samples only.
    """
    results, sizes, configs = {}, {}, {}
    about = {(one["benchmark"], one["subset"], one["protocol"]): one for one in sources}
    for entry in entries:
        if entry["view"] != "ordered":
            continue
        source = about[entry["benchmark"], entry["subset"], entry["protocol"]]
        subset = f"_{entry['subset']}" if entry["subset"] else ""
        task = f"{entry['benchmark']}{subset}_{entry['protocol']}_{entry['frames']}f"
        results[task] = {
            "alias": f"{source['title']}, {entry['protocol']}, {entry['frames']} frames",
            "score,none": entry["overall"]["value"],
            "score_stderr,none": entry["overall"]["se"],
            "acc,none": entry["micro"]["value"],
            "acc_stderr_clustered,none": entry["stderr"],
        }
        sizes[task] = {"original": source["samples"], "effective": entry["scored"]}
        configs[task] = {
            "task": task,
            "protocol": entry["protocol"],
            "frames": entry["frames"],
            "generation_kwargs": source["decoding"],
            "deviations": source["deviations"],
            "dataset_files": source["files"],
        }
    return {
        "results": results,
        "n-samples": sizes,
        "configs": configs,
        "versions": dict.fromkeys(results, 1),
        "model_name": model,
        "higher_is_better": {task: {"score": True, "acc": True} for task in results},
    }
