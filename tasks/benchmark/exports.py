"""Result files in other formats: each benchmark's own, for its leaderboard, and one JSON as lm-eval writes it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tasks.benchmark import log
from tasks.benchmark.suites import REGISTRY
from tasks.benchmark.totals import conditions
from tasks.core.io.atomic import write_json, write_text
from tasks.core.schemas.answers import Numbers

FOLDER = "exports"
LM_EVAL = "lm_eval.json"


def write_exports(folder: Path, numbers: Numbers) -> None:
    """Write `exports/` anew from the logs in `folder`: one folder per suite and frame cap, ordered frames."""
    root = folder / FOLDER
    shutil.rmtree(root, ignore_errors=True)
    if not numbers.entries:
        return
    for path in log.logs_in(folder):
        for condition, rows in conditions(list(log.read(path).values())).items():
            export = REGISTRY[condition.benchmark].export
            if export is None or condition.view != "ordered" or rows[0]["form"] == "video_r1":
                continue
            # An answer that could not be had is left out, never filled in.
            answered = [row for row in rows if not row["error_class"]]
            subset = f"-{condition.subset}" if condition.subset else ""
            target = root / f"{condition.benchmark}{subset}-{condition.protocol}-{condition.frames}f"
            for file, value in export(answered).items():
                (write_text if isinstance(value, str) else write_json)(target / file, value)
    write_json(root / LM_EVAL, lm_eval(numbers))


def lm_eval(numbers: Numbers) -> dict[str, Any]:
    """Scores of ordered frames as lm-eval writes them: results, n-samples, configs, versions.

    Scores and standard errors are shares of 1. `score_stderr` is that of the overall number itself, with its clusters
    and macro average; `acc_stderr_clustered` is lmms-eval's, which knows means over samples only.
    """
    results, sizes, configs = {}, {}, {}
    about = {(each["benchmark"], each["subset"], each["protocol"]): each for each in numbers.question_sets}
    for entry in numbers.entries:
        if entry.view != "ordered":
            continue
        questions = about[entry.benchmark, entry.subset, entry.protocol]
        subset = f"_{entry.subset}" if entry.subset else ""
        task = f"{entry.benchmark}{subset}_{entry.protocol}_{entry.frames}f"
        results[task] = {
            "alias": f"{questions['title']}, {entry.protocol}, {entry.frames} frames",
            "score,none": entry.overall.value,
            "score_stderr,none": entry.overall.se,
            "acc,none": entry.mean.value,
            "acc_stderr_clustered,none": entry.mean_stderr,
        }
        sizes[task] = {"original": questions["samples"], "effective": entry.scored}
        configs[task] = {
            "task": task,
            "protocol": entry.protocol,
            "frames": entry.frames,
            "generation_kwargs": questions["decoding"],
            "deviations": questions["deviations"],
            "dataset_files": questions["files"],
        }
    return {
        "results": results,
        "n-samples": sizes,
        "configs": configs,
        "versions": dict.fromkeys(results, 1),
        "model_name": numbers.model,
        "higher_is_better": {task: {"score": True, "acc": True} for task in results},
    }
