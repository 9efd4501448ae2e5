"""Sections of the stages that make the data: ingest, validate, annotate, filter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tasks.params.common import Sampling, Section


class Start(Section):
    """Where the road to the policy begins: what stands before is not computed."""

    at: Literal["teacher", "cot", "sft"] = "teacher"
    """`teacher`: a teacher annotates the train records. `cot`: a file holds the reasoning; it takes the place of the
    train sources, and annotate asks nobody. `sft`: a checkpoint is taken as models/sft; annotate, filter and sft do
    nothing."""
    path: str | None = None
    """Folder of the teacher (models.teacher), file of reasoning under data_root, or folder of the checkpoint."""
    media_root: str | None = None
    """`cot`: folder that the file's paths are relative to; null takes that of the train sources."""


class Source(Section):
    """One source of records."""

    name: str
    format: Literal["world", "video_r1", "video_r1_cot", "table", "llava", "next_qa", "clevrer", "webdataset"]
    """`world`: rendered here. `video_r1`: a JSON array, JSONL or parquet file in Video-R1's record format.
    `video_r1_cot`: the same with reasoning in `process`. `table`: a CSV or TSV file beside a folder of clips. `llava`:
    conversations. `next_qa`, `clevrer`: the published files of these. `webdataset`: tar shards, or a folder of them."""
    split: Literal["train", "rl", "test", "held_out"]
    """Which table the records go to: annotated by the teacher, used for RL, or the test split. `held_out`: to none;
    train and rl are held against it (benchmark files), and a row needs no more than a question or a file."""
    annotations: str | None = None
    """All but `world`: path of the record file."""
    media_root: str | None = None
    """All but `world`: folder that record paths are relative to; nothing outside it is read. `held_out` may do
    without."""
    licence: str = ""
    """Under which its media and questions may be used; for the data card."""
    homepage: str = ""
    """Where it is published; for the data card."""
    rows: int | None = Field(None, ge=1)
    """`world`: how many rows to render. Others: at most this many rows, drawn by `seed`."""
    seed: int = 0
    """`world`: scene seed; splits must use different seeds."""
    shortcut_bias: float = Field(0.0, ge=0, le=1)
    """`world`: share of moving figures whose side and colour give their direction away."""


class Overlap(Section):
    """What becomes of questions that are asked twice, and of training rows that a benchmark holds.

    They are always told (data/ingest/overlap.parquet, reports/ingest); `quarantine` leaves those of train and rl out.
    """

    repeats: Literal["report", "quarantine"] = "report"
    """Rows that ask what an earlier row of their table asks, about the same medium by content."""
    leaks: Literal["report", "quarantine"] = "report"
    """Rows about a medium, by content, that a row of `test` or `held_out` is about."""
    leaked_texts: Literal["report", "quarantine"] = "report"
    """Rows with nearly the words and the truth of a `test` or `held_out` row, about another medium: questions made from
    templates are so by nature."""
    similarity: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of word trigrams from which two questions are nearly the same."""


class Ingest(Section):
    sources: list[Source] = Field(min_length=1)
    overlap: Overlap = Overlap()
    video_share: float | None = Field(None, ge=0, le=1)
    """Share of video rows in train and rl after mixing; null keeps what the sources hold."""
    workers: int = Field(2, ge=1)
    """Processes that render, check rows, decode and hash."""
    read_limit_seconds: float = Field(60.0, gt=0)
    """As `video.read_limit_seconds`, while files are checked."""


def sources_of(start: Start, ingest: Ingest) -> list[Source]:
    """Sources that ingest reads: those of its section, or the file of reasoning in place of the train sources."""
    if start.at != "cot":
        return ingest.sources
    trained = [source for source in ingest.sources if source.split == "train"]
    roots = {source.media_root for source in trained if source.media_root}
    reasoning = Source(
        name="start",
        format="video_r1_cot",
        split="train",
        annotations=start.path,
        media_root=start.media_root or (roots.pop() if len(roots) == 1 else None),
    )
    return [reasoning, *(source for source in ingest.sources if source.split != "train")]


class Validate(Section):
    max_quarantined_share: float = Field(0.5, ge=0, le=1)
    """`records` fails above this share of quarantined rows."""
    min_rows: int = Field(1, ge=1)
    """Fewest rows a table may hold."""


class Annotate(Section):
    sampling: Sampling = Sampling(temperature=1.0, top_p=0.95, max_tokens=512)
    samples: int = Field(1, ge=1)
    """Completions asked of the teacher for each question. More may be asked for later: those it gave stay."""
    keep: Literal["best", "all"] = "best"
    """`best`: a row for each question, its sample of the highest reward. `all`: a row for each sample."""
    pairs: bool = False
    """Half of the rows about order (those whose answer on the reversed clip a rule tells) are the other half's clips
    played backwards, with the answer that they then have; SFT learns from both. Counted in
    reports/annotate/metrics.json."""
    retell: bool = False
    """With `pairs`: the teacher is not asked about a clip played backwards; its completion about the clip as it is has
    every word of direction exchanged (tasks/core/schemas/retelling.py). For a teacher that may read the same shortcut,
    the model to be trained for one. Reasoning that tells a sequence or a time is not retold and costs its row."""

    @model_validator(mode="after")
    def _retells_pairs(self) -> Annotate:
        if self.retell and not self.pairs:
            raise ValueError("retell: there are no clips played backwards to retell; pairs: true makes them")
        return self


class Filter(Section):
    min_reward: float = Field(0.6, ge=0, le=1)
    """A row is kept when its answer reward is greater than this."""
    min_think_chars: int = Field(10, ge=0)
    """Shortest reasoning, characters."""
    max_think_chars: int = Field(4000, ge=1)
    """Longest, characters."""
    max_repeat_share: float = Field(0.6, gt=0, le=1)
    """Largest share of a reasoning's 4-grams that may be repeats of earlier ones."""
    min_ascii_share: float = Field(0.9, ge=0, le=1)
    """Language rule: smallest share of ASCII among the letters of a reasoning."""
    reject_leaks: bool = False
    """Whether an answer before the reasoning, or at its very beginning, rejects a row."""
    reject_disagreement: bool = False
    """Whether a reasoning that concludes another letter or number than the answer gives rejects a row."""
    reject_refusals: bool = False
    """Whether "I cannot determine", "no video was provided" and their like reject a row."""
    require_option_mention: bool = False
    """Multiple choice: whether the reasoning must name the chosen option by letter or text."""
    min_self_consistency: float | None = Field(None, ge=0, le=1)
    """Smallest share of a question's completions that give the row's answer; null asks for none. Needs all of them."""
    temporal_reference: Literal["none", "temporal", "video"] = "none"
    """Where the reasoning must speak of time: nowhere, about what only frame order answers, or about every video."""
    max_per_question: int | None = Field(1, ge=1)
    """Most rows kept of one question, the best first; null keeps all that pass."""
