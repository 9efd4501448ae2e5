"""Every artifact path, once. Relative to the project root, which is the working directory of every command.

`tests/pipeline/test_paths.py` holds these against the deps and outs of dvc.yaml.
"""

from pathlib import Path

PARAMS = Path("params.yaml")

# Data, one folder per stage.
INGEST = Path("data/ingest")
MEDIA = INGEST / "media"
TRAIN_RECORDS = INGEST / "train.parquet"
RL_RECORDS = INGEST / "rl.parquet"
TEST_RECORDS = INGEST / "test.parquet"
MANIFEST = INGEST / "manifest.parquet"
QUARANTINE = INGEST / "quarantine.parquet"
OVERLAP = INGEST / "overlap.parquet"

VERDICTS = Path("data/verdicts")

COT = Path("data/annotate/cot.parquet")

SFT_ROWS = Path("data/filter/sft.parquet")
REJECTED_ROWS = Path("data/filter/rejected.parquet")

SFT_STEPS = Path("data/sft/steps.parquet")

ROLLOUTS = Path("data/grpo/rollouts.parquet")
GRPO_STEPS = Path("data/grpo/steps.jsonl")

ANSWERS = Path("data/benchmark")

# Models.
SHORTCUT_MODEL = Path("models/world/shortcut")
SFT_MODEL = Path("models/sft")
GRPO_MODEL = Path("models/grpo")
WORK_MODELS = Path("models/.work")
WORK_DATA = Path("data/.work")

AUDIT = Path("data/audit")
"""Tags of audited record files; not a stage's output."""

# Reports, one folder per stage.
REPORTS = Path("reports")
REPORT_PAGE = REPORTS / "index.html"
REPORT_TABLES = REPORTS / "benchmark.md"
DATA_PAGE = REPORTS / "data.html"
DATA_CARD = REPORTS / "data.md"
MODEL_CARDS = REPORTS / "cards"
LEDGER = REPORTS / "grpo" / "ledger.json"


def verdict(gate: str) -> Path:
    """One-word verdict file of a gate; the stage behind it depends on it."""
    return VERDICTS / gate


def validation_report(gate: str) -> Path:
    """JSON report of a gate."""
    return REPORTS / "validate" / f"{gate}.json"


def world_models(name: str) -> Path:
    """Folder of the mini models that the stage world publishes under a name (`world.name`)."""
    return Path("models") / name


def answers(model: str) -> Path:
    """Folder of one model's answer logs, one JSON lines file per suite, and of their exports."""
    return ANSWERS / model


def comparison(first: str, second: str) -> Path:
    """What a paired comparison of two models found; made on request, no stage's."""
    return REPORTS / "compare" / f"{first}-{second}.json"


def model_card(model: str) -> Path:
    """Card of one checkpoint: lineage and scores."""
    return MODEL_CARDS / f"{model}.md"


def lineage(model: str) -> Path:
    """The chain of stages behind one checkpoint, as JSON."""
    return MODEL_CARDS / f"{model}.json"


def metrics(stage: str, name: str = "metrics") -> Path:
    """Metrics JSON of a stage; `name` tells the items of a matrix stage apart."""
    return REPORTS / stage / f"{name}.json"


def events(stage: str) -> Path:
    """Folder of a stage's TensorBoard event files, one run each below it; they hold times and are no stage's output."""
    return REPORTS / "tensorboard" / stage


def curve(stage: str, name: str = "curve") -> Path:
    """Training curve of a stage (CSV, one row per logged step)."""
    return REPORTS / stage / f"{name}.csv"
