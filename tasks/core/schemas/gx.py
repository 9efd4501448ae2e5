"""Great Expectations behind one function; the only module that imports it.

Wraps three of its habits: a check that raises comes back as a failed expectation (here it is an error), results come in
another order than the checks, and reports hold run ids (here nothing that changes from run to run).
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from types import ModuleType
from typing import Any

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


class _Later(ModuleType):
    """Stands for a module until something is taken from it.

    `importlib.util.LazyLoader` would not do: it loads at the second `import` statement, used or not (it looks at
    `__spec__`), and this process has more than one.
    """

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _without(*absent: str, lazy: Sequence[str]) -> Iterator[None]:
    """Import Great Expectations in two thirds of its time: every gate is a process of its own and pays it.

    Args:
        absent: packages that it does without when they are not installed (databases); they are there again afterwards.
        lazy: modules that it imports for expectations of which none is made here; loaded when they are first used.
    """
    hidden = [name for name in absent if name not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type]
    for name in lazy:
        if name not in sys.modules:
            module = sys.modules[name] = _Later(name)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(importlib.import_module(parent), child, module)
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Do not look for garbage: 200,000 objects are made that stay, and to look takes a sixth of the import.

    Nor are they looked at afterwards.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


with _collecting_nothing(), _without("sqlalchemy", lazy=["scipy.stats", "altair"]):
    import great_expectations as gx
    import great_expectations.expectations as gxe
import pandas as pd  # noqa: E402
from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: E402
from great_expectations.execution_engine import pandas_execution_engine  # noqa: E402
from great_expectations.expectations.row_conditions import Column  # noqa: E402

from tasks.core.io.errors import StageError  # noqa: E402
from tasks.core.schemas.expectations import Check  # noqa: E402

# Tables below this size get a fingerprint, which nothing here reads and which takes a third of all checking.
pandas_execution_engine.HASH_THRESHOLD = 0

EXAMPLES = 20
_COUNTED = ("element_count", "missing_count", "unexpected_count", "observed_value")
_COUNTS = {"element_count", "missing_count", "unexpected_count"}


class CheckError(StageError):
    """A check could not be made (a column is missing, a metric raised): says nothing about the data."""


@dataclasses.dataclass(frozen=True, slots=True)
class CheckResult:
    """Outcome of one check."""

    name: str
    frame: str
    severity: str
    """critical or warning."""
    success: bool
    observed: dict[str, Any]
    """Counts, or the observed value."""
    failing: list[str]
    """Identifiers of the first failing rows."""


def run_checks(
    frames: Mapping[str, Iterable[pd.DataFrame]], checks: Sequence[Check], keys: Mapping[str, str]
) -> list[CheckResult]:
    """Make every check on its frame; results in the order of `checks`.

    Args:
        frames: tables by name, each in pieces of which one at a time is looked at; what compares rows of a whole table
            needs it in one.
        checks: what to expect of them.
        keys: for each frame, the column that names a row in reports.

    Raises:
        CheckError: a check raised; names it.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    by_name: dict[str, CheckResult] = {}
    for frame in dict.fromkeys(check.frame for check in checks):
        of_frame = [check for check in checks if check.frame == frame]
        named = {check.name: check for check in of_frame}
        suites = [
            _Suite(context, frame, some, keys[frame])
            for some in ([check for check in of_frame if not check.where], [check for check in of_frame if check.where])
            if some
        ]
        for shard in frames[frame]:
            whole = shard.reset_index(drop=True)
            for part in (part for suite in suites for part in suite.results(whole)):
                known = by_name.get(part.name)
                by_name[part.name] = part if known is None else _joined(named[part.name], known, part)
    results = (by_name[check.name] for check in checks)
    return [dataclasses.replace(result, failing=[]) if result.success else result for result in results]


class _Suite:
    """Some checks of a frame: all of those that look at every row, or all of those that look at some."""

    def __init__(self, context: Any, frame: str, checks: Sequence[Check], key: str) -> None:
        name = f"{frame}, some rows" if checks[0].where else frame
        asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
        self._batch = asset.add_batch_definition_whole_dataframe(name)
        self._expectations = gx.ExpectationSuite(name=name, expectations=[_expectation(check) for check in checks])
        self._named, self._key = {check.name: check for check in checks}, key
        # What selects rows copies all their columns, long texts too: it gets those that the checks look at.
        self._columns = {key, *(check.where[0] for check in checks if check.where), *chain(*map(_columns, checks))}
        self._form = {
            "result_format": "SUMMARY",
            "unexpected_index_column_names": [key],
            "partial_unexpected_count": EXAMPLES,
        }

    def results(self, shard: pd.DataFrame) -> Iterator[CheckResult]:
        """Outcomes on a piece of the frame.

        Raises:
            CheckError: a check raised; names it.
        """
        looked_at = shard[[name for name in shard.columns if name in self._columns]]
        outcome = self._batch.get_batch({"dataframe": looked_at}).validate(self._expectations, result_format=self._form)
        for result in outcome.results:
            yield _result(self._named[result.expectation_config.meta["name"]], result, self._key)


def _columns(check: Check) -> list[str]:
    """Columns that a check compares."""
    return [check.arguments["column"]] if "column" in check.arguments else check.arguments.get("column_list", [])


def _joined(check: Check, known: CheckResult, part: CheckResult) -> CheckResult:
    """Outcome over the pieces so far and one more.

    Raises:
        CheckError: the check does not count rows, so that pieces cannot be added up.
    """
    if not all(result.observed.keys() >= _COUNTS for result in (known, part)):
        raise CheckError(f"check '{check.name}' on {check.frame} cannot be made piece by piece")
    observed = {name: known.observed[name] + part.observed[name] for name in known.observed}
    looked_at = observed["element_count"] - observed["missing_count"]
    allowed = (1 - check.arguments.get("mostly", 1.0)) * looked_at
    # The slack undoes rounding: 0.02 of 100 rows are 2.
    success = observed["unexpected_count"] <= allowed + 1e-9
    failing = [] if success else [*known.failing, *part.failing][:EXAMPLES]
    return CheckResult(check.name, check.frame, check.severity, success, observed, failing)


def _expectation(check: Check) -> Any:
    extra: dict[str, Any] = {}
    if check.where:
        column, value = check.where
        extra["row_condition"] = Column(column) == value
    kind = getattr(gxe, check.expect)
    return kind(**check.arguments, **extra, severity=check.severity, meta={"name": check.name})


def _result(check: Check, result: Any, key: str) -> CheckResult:
    raised = _raised(result.exception_info)
    if raised:
        raise CheckError(f"check '{check.name}' on {check.frame} could not be made: {raised}")
    details: Mapping[str, Any] = result.result
    observed = {name: _plain(details[name]) for name in _COUNTED if name in details}
    places = details.get("partial_unexpected_index_list") or []
    failing = [str(place[key]) for place in places[:EXAMPLES]]
    return CheckResult(check.name, check.frame, check.severity, bool(result.success), observed, failing)


def _raised(info: Mapping[str, Any]) -> str:
    """Message of the exception a check met, "" when it met none; the info is nested when a metric raised."""
    parts = [info, *(value for value in info.values() if isinstance(value, Mapping))]
    messages = [str(part.get("exception_message")) for part in parts if part.get("exception_message")]
    return messages[0].strip().splitlines()[0] if messages else ""


def _plain(value: Any) -> Any:
    """JSON value of a numpy scalar or a list of them."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value
