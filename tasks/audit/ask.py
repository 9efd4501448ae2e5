"""Every question of a record file under every view of its clip: rows of completions with their rewards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from tasks.audit.evidence import FORWARD, FROZEN, ONE_FRAME, REVERSED, SHUFFLED, TEXT, VIEWS
from tasks.core.engine.questions import build_request, read_clip
from tasks.core.engine.types import Completion, Engine, Request, failed
from tasks.core.io.seeds import derive_seed
from tasks.core.rewards import accuracy
from tasks.core.schemas.records import Record
from tasks.core.video import Clip, ReadClip, in_batches
from tasks.core.video.perturb import perturb

PERTURBATION = {REVERSED: "reverse", SHUFFLED: "shuffle", FROZEN: "freeze", ONE_FRAME: "one_frame"}
IMAGE_VIEWS = (FORWARD, TEXT)


class Sampling(NamedTuple):
    """How completions are drawn: `samples` of each question and view."""

    samples: int
    temperature: float
    top_p: float
    max_tokens: int


class Asked(NamedTuple):
    """One request: copy `sample` of a record under a view."""

    record: Record
    view: str
    sample: int
    request: Request | None
    """None: the clip cannot be shown so; `reason` says why."""
    reason: str = ""

    @property
    def key(self) -> tuple[int, str, int]:
        """What names it in the log."""
        return self.record.problem_id, self.view, self.sample


def key_of(row: Mapping[str, Any]) -> tuple[int, str, int]:
    """Key of a row of the log."""
    return row["problem_id"], row["view"], row["sample"]


def latest(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[int, str, int], Mapping[str, Any]]:
    """The last row of every key: what failed may stand in the log again, answered."""
    return {key_of(row): row for row in rows}


def views_of(record: Record) -> tuple[str, ...]:
    """Views of a record: an image has no order."""
    return VIEWS if record.data_type == "video" else IMAGE_VIEWS


def shown(clip: Clip, view: str, seed: int) -> Clip | None:
    """What the model sees of a clip under a view; nothing under `text`.

    Raises:
        ValueError: a clip of one frame has no order.
    """
    if view == TEXT:
        return None
    return clip if view == FORWARD else perturb(clip, PERTURBATION[view], seed)


def ask_all(
    engine: Engine,
    records: Sequence[Record],
    read: ReadClip,
    *,
    done: Collection[tuple[int, str, int]],
    sampling: Sampling,
    prompt: Mapping[str, str],
    seed: int,
    batch_size: int,
    decode_workers: int,
    variant: str,
) -> Iterator[list[dict[str, Any]]]:
    """Rows of what is not yet done, batch by batch.

    Every copy has a random stream of its own, and under `shuffled` an order of its own, both derived from the seed, the
    question, the view and the copy alone. A clip that does not decode is an error on every view, `text` too.

    Args:
        engine: answers.
        records: questions with distinct problem ids.
        read: opens clips.
        done: keys of rows that an earlier run left.
        sampling: of the completions.
        prompt: `template` and `system`.
        seed: of the run.
        batch_size: requests handed over at once, about.
        decode_workers: threads that read ahead.
        variant: of the reward.
    """
    copies = sampling.samples * len(VIEWS)
    left = [record for record in records if any(key not in done for key in _keys(record, sampling.samples))]
    for batch, clips in in_batches(left, max(1, batch_size // copies), partial(read_clip, read=read), decode_workers):
        make = partial(_asked, engine, prompt=prompt, seed=seed)
        asked = [
            make(record, clip, view, sample)
            for record, clip in zip(batch, clips, strict=True)
            for _, view, sample in _keys(record, sampling.samples)
            if (record.problem_id, view, sample) not in done
        ]
        requests = [each.request for each in asked if each.request is not None]
        completions = iter(
            engine.generate(
                requests,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
            )
            if requests
            else []
        )
        yield [
            _row(each, failed(each.reason) if each.request is None else next(completions)[0], variant) for each in asked
        ]


def _keys(record: Record, samples: int) -> list[tuple[int, str, int]]:
    return [(record.problem_id, view, sample) for view in views_of(record) for sample in range(samples)]


def _asked(
    engine: Engine, record: Record, clip: Clip | str, view: str, sample: int, *, prompt: Mapping[str, str], seed: int
) -> Asked:
    if isinstance(clip, str):
        return Asked(record, view, sample, None, clip)
    try:
        seen = shown(clip, view, derive_seed(seed, record.problem_id, view, sample))
    except ValueError as error:
        return Asked(record, view, sample, None, f"{record.path}: {error}")
    key = f"audit {view} {sample}"
    build: Callable[..., Request] = build_request
    return Asked(record, view, sample, build(engine, record, seen, key=key, **prompt, seed=seed))


def _row(asked: Asked, completion: Completion, variant: str) -> dict[str, Any]:
    record, error = asked.record, completion.error
    score = None if error else accuracy(record.problem_type, completion.text, record.solution, variant).value
    return {
        "problem_id": record.problem_id,
        "view": asked.view,
        "sample": asked.sample,
        "completion": completion.text,
        "finish_reason": completion.finish_reason,
        "reward": score,
        "error": error,
    }
