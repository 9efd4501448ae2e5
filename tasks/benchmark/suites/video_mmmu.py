"""VideoMMMU (huggingface.co/datasets/lmms-lab/VideoMMMU; scorer: github.com/EvolvingLMMs-Lab/VideoMMMU).

Files: `{Perception,Comprehension,Adaptation}/test-*.parquet`, or the repository's `data/{track}_video.json`, or
one JSON object of rows by track. Clips: `{discipline}/{id}.mp4`; subset `question_only` shows
`question_only/{id}_image.mp4` instead, whose score is the "before" of the knowledge gain. An Adaptation question's
picture is the clip's last frame, which sampling always includes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark.suites import files
from tasks.benchmark.suites.base import (
    LETTERS,
    Annotations,
    Ask,
    Decoding,
    Mark,
    Published,
    Sample,
    Suite,
    SuiteError,
    lettered,
    unlettered,
)
from tasks.benchmark.suites.mmmu_rules import API_ERROR, NOT_FOUND, choose, open_is_right, parse_open

TRACKS = ("Perception", "Comprehension", "Adaptation")
DISCIPLINES = {
    "Art": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Engineering": (
        "Agriculture",
        "Architecture_and_Engineering",
        "Computer_Science",
        "Electronics",
        "Energy_and_Power",
        "Materials",
        "Mechanical_Engineering",
    ),
    "Humanities": ("History", "Literature", "Psychology", "Sociology"),
    "Medicine": (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    ),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
}
QUESTION_ONLY = "question_only"
_OF_SUBJECT = {subject: name for name, subjects in DISCIPLINES.items() for subject in subjects}
_LEARN = "You should watch and learn the video content. Then apply what you learned to "
_AT_END = " The image for this question is at the end of the video.\n"


def mark(sample: Sample, text: str) -> Mark:
    """Official score; an empty answer leaves the denominator."""
    if not sample.options:
        candidates = parse_open(text)
        if isinstance(candidates, str):
            return Mark(None, "", "empty, left out")
        return Mark(float(open_is_right(sample.answer, candidates)), str(candidates[0]), "open, candidates")
    said, rule = choose(text, sample.options)
    if said == API_ERROR:
        return Mark(None, "", "empty, left out")
    return Mark(float(said == sample.answer), "" if said == NOT_FOUND else said, rule)


def ask(sample: Sample) -> Ask:
    """Official wording of the sample's track."""
    shown = "\n".join([sample.question, *sample.lettered])
    if sample.categories["track"] != "Adaptation":
        return Ask(f"{shown}\nPlease ignore the Quiz question in last frame of the video.")
    kind = "multi-choice" if sample.options else "open-ended"
    return Ask(f"{_LEARN}answer the following {kind} question.{_AT_END}{shown}")


def knowledge_gain(before: float, after: float) -> float:
    """Share of what was not known before the lecture that is known after it; all in percent."""
    return (after - before) / (100 - before) * 100


def read(folder: Path, subset: str | None = None) -> Annotations:
    """Samples of the annotation folder; `subset` is None or "question_only".

    Raises:
        SuiteError: no annotation file, or another subset.
    """
    if subset not in (None, QUESTION_ONLY):
        raise SuiteError(f"video_mmmu: no subset {subset!r}; the one there is: {QUESTION_ONLY}")
    paths = files.find(folder, ["*/test-*.parquet", "data/*_video.json", "*_video.json", "videommmu.json"])
    rows = ((where, item) for path in paths for where, item in _rows(path))
    return files.collect(rows, lambda item, where: _sample(item, subset, where), paths)


def _rows(path: Path) -> Iterator[tuple[str, tuple[str, Any]]]:
    if path.suffix == ".parquet":
        for where, row in files.numbered(path, files.rows_of(path)):
            yield where, (path.parent.name, row)
        return
    for track, rows in files.tree_of(path).items():
        listed = rows.values() if isinstance(rows, Mapping) else rows
        for where, row in files.numbered(path, listed):
            yield f"{where} of {track}", (track, row)


def _sample(item: tuple[str, Any], subset: str | None, where: str) -> Sample:
    track, row = item
    if track not in TRACKS:
        raise SuiteError(f"{where}: track {track!r}; one of {', '.join(TRACKS)}")
    name = files.text(row, "id", where)
    subject = "_".join(name.split("_")[1:-1])
    if subject not in _OF_SUBJECT:
        raise SuiteError(f"{where}: id: no subject known in {name!r}")
    options = files.texts(row, "options", where)
    if row.get("question_type") == "open":
        options = []
    truth = files.text(row, "answer", where)
    if options:
        files.letter(truth, options, "answer", where)
    discipline = _OF_SUBJECT[subject]
    question = files.text(row, "question", where)
    kind, choices = _video_r1(truth, options)
    full = (f"{discipline}/{name}.mp4", f"videos/{discipline}/{name}.mp4")
    return Sample(
        sample_id=f"{track}/{name}",
        question=question,
        options=unlettered(options),
        answer=truth,
        categories={"track": track, "discipline": discipline, "subject": subject},
        media=(f"{QUESTION_ONLY}/{name}_image.mp4",) if subset == QUESTION_ONLY else full,
        cluster=name,
        problem_type=kind,
        solution=truth,
        problem=question.replace("<image 1>", "").strip(),
        lettered=choices,
        extra={"id": name, "question_type": "multiple-choice" if options else "open"},
    )


def _video_r1(truth: str, options: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Problem type and options in Video-R1's own file: open questions are numbers, or four empty options."""
    if options:
        return "multiple choice", lettered(options)
    if len(truth) == 1 and truth in LETTERS[:4]:
        return "multiple choice", tuple(f"{letter}. " for letter in LETTERS[:4])
    return "numerical", ()


def export(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Answers by track as lmms-eval logs them."""
    tracks: dict[str, Any] = {f"videommmu_{track.lower()}.json": [] for track in TRACKS}
    for row in rows:
        tracks[f"videommmu_{row['categories']['track'].lower()}.json"].append(
            {
                "id": row["extra"]["id"],
                "question_type": row["extra"]["question_type"],
                "answer": row["answer"],
                "parsed_pred": row["official_extracted"] or NOT_FOUND,
                "response": row["completion"],
                "correct": row["official"] == 1,
            }
        )
    return tracks


_BOARD = "VideoMMMU README leaderboard"
_VIDEO_R1 = "Video-R1 README table"
_CLIPS = "which of the two clip sets was shown is not published"
SUITE = Suite(
    name="video_mmmu",
    title="VideoMMMU",
    read=read,
    ask=ask,
    mark=mark,
    decoding=Decoding(0.0, 1.0, 1024),
    counts={"": dict.fromkeys(TRACKS, 300), QUESTION_ONLY: dict.fromkeys(TRACKS, 300)},
    counted_by="track",
    leaves="track",
    export=export,
    published=(
        Published("GPT-4o", "official", None, 61.22, _BOARD),
        Published("Gemini-1.5-Pro", "official", None, 53.89, _BOARD),
        Published("Qwen2.5-VL-72B", "official", None, 60.22, _BOARD),
        Published("Qwen2.5-VL-7B", "official", None, 47.44, _BOARD),
        Published("Qwen2.5-VL-7B CoT", "video_r1", 16, 47.8, _VIDEO_R1, _CLIPS),
        Published("Qwen2.5-VL-7B CoT", "video_r1", 32, 48.1, _VIDEO_R1, _CLIPS),
        Published("Qwen2.5-VL-7B SFT", "video_r1", 16, 47.4, _VIDEO_R1, _CLIPS),
        Published("Qwen2.5-VL-7B SFT", "video_r1", 32, 49.4, _VIDEO_R1, _CLIPS),
        Published("Video-R1-7B", "video_r1", 16, 49.8, _VIDEO_R1, _CLIPS),
        Published("Video-R1-7B", "video_r1", 32, 52.3, _VIDEO_R1, _CLIPS),
        Published("Video-R1-7B", "video_r1", 64, 52.4, _VIDEO_R1, _CLIPS),
    ),
)
