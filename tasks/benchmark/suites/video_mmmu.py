"""VideoMMMU (huggingface.co/datasets/lmms-lab/VideoMMMU; scorer: github.com/EvolvingLMMs-Lab/VideoMMMU).

Files: `{Perception,Comprehension,Adaptation}/test-*.parquet`, or the repository's `data/{track}_video.json`, or
one JSON object of rows by track. Clips: `{discipline}/{id}.mp4`. An Adaptation question's picture is the clip's last
frame, which sampling always includes. Subset `question_only` is the Adaptation track without the lecture: it shows
`question_only/{id}_image.mp4` and asks without the introduction; its score is the "before" of the knowledge gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark.base import (
    Annotations,
    Decoding,
    Mark,
    OfficialWording,
    Row,
    Sample,
    Suite,
    SuiteError,
    lettered,
    unlettered,
)
from tasks.benchmark.reading import files
from tasks.benchmark.reading.mmmu_rules import API_ERROR, NOT_FOUND, choose, open_is_right, parse_open
from tasks.core.rewards.strict import as_number

ADAPTATION = "Adaptation"
TRACKS = ("Perception", "Comprehension", ADAPTATION)
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
    letter, rule = choose(text, sample.options)
    if letter == API_ERROR:
        return Mark(None, "", "empty, left out")
    return Mark(float(letter == sample.answer), "" if letter == NOT_FOUND else letter, rule)


def word(sample: Sample) -> OfficialWording:
    """Official wording of the sample's track."""
    shown = "\n".join([sample.question, *sample.lettered])
    if sample.media[0].startswith(f"{QUESTION_ONLY}/"):
        return OfficialWording(shown)
    if sample.categories["track"] != ADAPTATION:
        return OfficialWording(f"{shown}\nPlease ignore the Quiz question in last frame of the video.")
    kind = "multi-choice" if sample.options else "open-ended"
    return OfficialWording(f"{_LEARN}answer the following {kind} question.{_AT_END}{shown}")


def read(folder: Path, subset: str | None = None) -> Annotations:
    """Samples of the annotation folder; `subset` is None or "question_only".

    Raises:
        SuiteError: no annotation file, or another subset.
    """
    if subset not in (None, QUESTION_ONLY):
        raise SuiteError(f"video_mmmu: no subset {subset!r}; the one there is: {QUESTION_ONLY}")
    paths = files.find(folder, ["*/test-*.parquet", "data/*_video.json", "*_video.json", "videommmu.json"])
    rows = (pair for path in paths for pair in _rows(path) if subset is None or _track(pair[1]) in (None, ADAPTATION))
    return files.collect(rows, lambda item, where: _sample(item, subset, where), paths)


def _rows(path: Path) -> Iterator[files.Located]:
    """Pairs (track, row), each with where it is."""
    if path.suffix == ".parquet":
        for where, row in files.rows_of(path):
            yield where, row if isinstance(row, files.Unreadable) else (path.parent.name, row)
        return
    try:
        tree = files.tree_of(path)
    except SuiteError as error:
        yield str(path), files.Unreadable(str(error).removeprefix(f"{path}: "))
        return
    for track, rows in tree.items():
        if not isinstance(rows, Mapping | list):
            yield f"{path}: {track}", files.Unreadable(f"neither an object nor a list of records: {rows!r}")
            continue
        for number, row in enumerate(rows.values() if isinstance(rows, Mapping) else rows):
            yield f"{path}: record {number} of {track}", (track, row)


def _track(item: Any) -> str | None:
    """Track of a pair of `_rows`; None for what could not be read."""
    return None if isinstance(item, files.Unreadable) else str(item[0])


def _sample(item: tuple[str, Any], subset: str | None, where: str) -> Sample:
    track, row = item
    if track not in TRACKS:
        raise SuiteError(f"{where}: track {track!r}; one of {', '.join(TRACKS)}")
    name = files.text(row, "id", where)
    subject = "_".join(name.split("_")[1:-1])
    if subject not in _OF_SUBJECT:
        raise SuiteError(f"{where}: id: no subject known in {name!r}")
    options = files.texts(row, "options", where)
    # As the official scorer: in Adaptation whatever does not say "multiple-choice" is open (validation_Accounting_13).
    kind = row.get("question_type")
    if kind == "open" or (track == ADAPTATION and kind != "multiple-choice"):
        options = []
    truth = files.text(row, "answer", where)
    if kind == "multiple-choice" and not options:
        raise SuiteError(f"{where}: options: none, for a multiple-choice question")
    if options:
        files.letter(truth, options, "answer", where)
    discipline = _OF_SUBJECT[subject]
    question = files.text(row, "question", where)
    full = (f"{discipline}/{name}.mp4", f"videos/{discipline}/{name}.mp4")
    return Sample(
        sample_id=f"{track}/{name}",
        question=question,
        options=unlettered(options),
        answer=truth,
        categories={"track": track, "discipline": discipline, "subject": subject},
        media=(f"{QUESTION_ONLY}/{name}_image.mp4",) if subset == QUESTION_ONLY else full,
        cluster=name,
        problem_type=_problem_type(truth, options),
        solution=truth,
        problem=question.replace("<image 1>", "").strip(),
        lettered=lettered(options),
    )


def _problem_type(truth: str, options: Sequence[str]) -> str:
    """Video-R1's problem type; an open question whose truth is no number is not taken under its protocol."""
    if options:
        return "multiple choice"
    return "free-form" if as_number(truth) is None else "numerical"


def export(rows: Sequence[Row]) -> dict[str, Any]:
    """Answers by track as lmms-eval logs them."""
    tracks: dict[str, Any] = {f"videommmu_{track.lower()}.json": [] for track in TRACKS}
    for row in rows:
        tracks[f"videommmu_{row['categories']['track'].lower()}.json"].append(
            {
                "id": row["cluster"],
                "question_type": "multiple-choice" if row["options"] else "open",
                "answer": row["answer"],
                "parsed_pred": row["official_extracted"] or NOT_FOUND,
                "response": row["completion"],
                "correct": row["official"] == 1,
            }
        )
    return tracks


SUITE = Suite(
    name="video_mmmu",
    title="VideoMMMU",
    read=read,
    word=word,
    mark=mark,
    decoding=Decoding(0.0, 1.0, 1024),
    counts={"": dict.fromkeys(TRACKS, 300), QUESTION_ONLY: {ADAPTATION: 300}},
    counted_by="track",
    leaves="track",
    without_lecture=QUESTION_ONLY,
    export=export,
)
