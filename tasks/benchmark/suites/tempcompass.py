"""TempCompass (github.com/llyx97/TempCompass; huggingface.co/datasets/lmms-lab/TempCompass).

Files: `questions/{task}.json` with `meta_info.json`, or `{task}/test-*.parquet`. Clips: `videos/{video_id}.mp4`,
or a GIF beside the questions. Answers are matched by rule; with a judge, those that no rule reads go to it, as
officially, and without one they count 0 (official `--disable_llm`). Captions are always a judge's, and not scored
without one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark.base import (
    Annotations,
    Decoding,
    JudgePrompt,
    Mark,
    OfficialWording,
    Row,
    Sample,
    Suite,
    SuiteError,
)
from tasks.benchmark.reading import files
from tasks.benchmark.reading.tempcompass_rules import Rating, caption_matching, clean, multi_choice, yes_no
from tasks.core.text.options import is_labelled

TASKS = ("multi-choice", "yes_no", "caption_matching", "captioning")
ASPECTS = ("action", "direction", "speed", "order", "attribute_change")
_SUFFIX = {
    "multi-choice": "\nPlease directly give the best option:",
    "caption_matching": "\nPlease directly give the best option:",
    "yes_no": "\nPlease answer yes or no:",
    "captioning": "",
}
_FIRST = re.compile(r"[A-D](?=[.):,;/&]|\s|$)")
_MARKED = re.compile(r"\b[A-D](?=[.):])")
_LISTED = re.compile(r"[A-D](?:\s*(?:,|/|&|\band\b|\bor\b)\s*[A-D]\b)+")
_JUDGED = re.compile(r"\b(in)?correct\b", re.IGNORECASE)


UNREADABLE = "not scored: unreadable judgement"


def mark(sample: Sample, text: str) -> Mark:
    """Official score by rule; what no rule reads counts 0, as with the official `--disable_llm`."""
    rating = _rating(sample, text)
    if rating is None:
        return Mark(None, "", "not scored: needs a judge")
    return Mark(float(rating.rating), rating.extracted, "rule" if rating.match_success else "no rule matched")


def _rating(sample: Sample, text: str) -> Rating | None:
    """Outcome of the task's rule; None for a caption, which no rule reads."""
    task = sample.categories["task"]
    if task == "captioning":
        return None
    if task == "multi-choice":
        return multi_choice(text, sample.answer)
    if task == "yes_no":
        return yes_no(text, sample.answer)
    return caption_matching(text, sample.answer, sample.question.split("\n")[1:])


def judge(sample: Sample, text: str) -> JudgePrompt | None:
    """Our wording of what the official code asks of a judge.

    An answer that no rule reads: whether it is right. A caption: the multiple-choice question, from it alone.
    """
    rating = _rating(sample, text)
    if rating is not None:
        return None if rating.match_success or not clean(text) else _grading(sample, text)
    if not sample.caption_question:
        return None
    return JudgePrompt(
        "You are given a description of a video and a multiple-choice question about that video. Answer from the "
        "description alone. Reply with the letter of the option the description supports, or with the word none if it "
        "supports no option or does not say.",
        f"Description: {text}\nQuestion: {sample.caption_question}",
    )


def _grading(sample: Sample, text: str) -> JudgePrompt:
    return JudgePrompt(
        "You are given a question about a video, its true answer and a model's answer. Decide whether the model's "
        "answer is right. Reply with one word: Correct or Incorrect.",
        f"Question: {sample.question}\nTrue answer: {sample.answer}\nModel's answer: {text}",
    )


def verdict(sample: Sample, reply: str) -> Mark:
    """Read the judge's reply.

    About an answer: the word Correct or Incorrect. About a caption: one letter; "none" and several letters are wrong.
    Anything else leaves the answer not scored.
    """
    text = strip_quotes(reply)
    if sample.categories["task"] != "captioning":
        words = {match.group().lower() for match in _JUDGED.finditer(text)}
        if len(words) != 1:
            return Mark(None, "", UNREADABLE)
        return Mark(float(words == {"correct"}), words.pop(), "judge")
    if text.lower().startswith("none"):
        return Mark(0.0, "none", "judge")
    first, listed = _FIRST.match(text), _LISTED.match(text)
    if first is None:
        return Mark(None, "", UNREADABLE)
    letters = {first.group(), *_MARKED.findall(text), *re.findall("[A-D]", listed.group() if listed else "")}
    if len(letters) > 1:
        return Mark(0.0, ", ".join(sorted(letters)), "judge, several options")
    return Mark(float(first.group() == sample.caption_answer[:1]), first.group(), "judge")


def strip_quotes(text: str) -> str:
    """Text without quotation marks, brackets and stars around it."""
    return text.strip().strip("\"'`*()[] ")


def word(sample: Sample) -> OfficialWording:
    """Official wording."""
    return OfficialWording(sample.question + _SUFFIX[sample.categories["task"]])


def read(folder: Path, subset: str | None = None) -> Annotations:
    """Samples of the annotation folder.

    Raises:
        SuiteError: no annotation file.
    """
    paths = [path for path in files.find(folder, ["questions/*.json", "*/test-*.parquet"]) if _task(path) in TASKS]
    if not paths:
        raise SuiteError(f"{folder}: no annotation file; looked for questions/multi-choice.json and its like")
    about = folder / "meta_info.json"
    kinds, faults = _kinds(about)
    choices = _first_choices(paths)
    rows = (pair for path in paths for pair in _rows(path))
    made = files.collect(rows, lambda item, where: _sample(item, kinds, choices, where), paths)
    return made._replace(faults=[*faults, *made.faults])


def _kinds(path: Path) -> tuple[Mapping[str, Any], list[str]]:
    """meta_info.json, and what is wrong with it: without it the finer grouping lacks and nothing else."""
    try:
        return (files.tree_of(path) if path.is_file() else {}), []
    except SuiteError as error:
        return {}, [f"{error}; no fine-grained aspects"]


def _task(path: Path) -> str:
    return path.stem if path.suffix == ".json" else path.parent.name


def _rows(path: Path) -> Iterator[files.Located]:
    """Triples (task, row as in the parquet files, number within its video and aspect), each with where it is."""
    task = _task(path)
    if path.suffix == ".parquet":
        counts: dict[tuple[str, str], int] = {}
        for where, row in files.rows_of(path):
            if isinstance(row, files.Unreadable):
                yield where, row
                continue
            key = (str(row.get("video_id")), str(row.get("dim")))
            counts[key] = counts.get(key, -1) + 1
            yield where, (task, row, counts[key])
        return
    try:
        tree = files.tree_of(path)
    except SuiteError as error:
        yield str(path), files.Unreadable(str(error).removeprefix(f"{path}: "))
        return
    for video, aspects in tree.items():
        for aspect, rows in (aspects if isinstance(aspects, Mapping) else {"": aspects}).items():
            for number, row in enumerate(rows if isinstance(rows, list) else [rows]):
                whole = row | {"video_id": video, "dim": aspect} if isinstance(row, dict) else row
                yield f"{path}: {video}, {aspect}, question {number}", (task, whole, number)


def _first_choices(paths: Sequence[Path]) -> dict[tuple[str, str], Mapping[str, str]]:
    """(video, aspect) -> its first multiple-choice question, which a caption is judged by."""
    first: dict[tuple[str, str], Mapping[str, str]] = {}
    for path in paths:
        for _, item in _rows(path) if _task(path) == "multi-choice" else ():
            if not isinstance(item, files.Unreadable) and item[2] == 0 and isinstance(item[1], Mapping):
                first[str(item[1].get("video_id")), str(item[1].get("dim"))] = item[1]
    return first


def _sample(
    item: tuple[str, Any, int], kinds: Mapping[str, Any], choices: Mapping[tuple[str, str], Any], where: str
) -> Sample:
    task, row, number = item
    video, aspect = files.text(row, "video_id", where), files.text(row, "dim", where)
    if aspect not in ASPECTS:
        raise SuiteError(f"{where}: aspect {aspect!r}; one of {', '.join(ASPECTS)}")
    question, answer = files.text(row, "question", where), files.text(row, "answer", where)
    lines = question.split("\n")[1:]
    if task in ("multi-choice", "caption_matching") and answer not in lines:
        raise SuiteError(f"{where}: answer: {answer!r} is none of the option lines")
    if task == "multi-choice" and not any(is_labelled(answer, letter) for letter in "ABCD"):
        raise SuiteError(f"{where}: answer: {answer!r} does not begin with a letter")
    if task == "yes_no" and answer not in ("yes", "no"):
        raise SuiteError(f"{where}: answer: {answer!r} is neither yes nor no")
    problem, options, solution = _video_r1(task, question, answer, lines)
    first = choices.get((video, aspect), {})
    return Sample(
        sample_id=f"{task}/{video}/{aspect}/{number}",
        question=question,
        options=tuple(lines) if task in ("multi-choice", "caption_matching") else (),
        answer=answer,
        categories={"task": task, "aspect": aspect, "fine_aspect": _fine(kinds, video, aspect)},
        media=(f"videos/{video}.mp4", f"{video}.mp4", f"{video}.gif"),
        cluster=source_clip(video),
        problem_type="multiple choice" if options else None,
        solution=solution,
        problem=problem,
        lettered=options,
        video=video,
        caption_question=str(row.get("mc_question") or first.get("question") or ""),
        caption_answer=str(row.get("mc_answer") or first.get("answer") or ""),
    )


def source_clip(video: str) -> str:
    """The clip a video was made from: its id without `_reverse`, `_concat_0` and the like."""
    return video.partition("_")[0]


def _fine(kinds: Mapping[str, Any], video: str, aspect: str) -> str:
    """Fine-grained aspect from meta_info.json; the aspect itself where that does not say."""
    if aspect == "order":
        return aspect
    about: Any = kinds
    for name in (video, "eval_dim", aspect, "type"):
        about = about.get(name) if isinstance(about, Mapping) else None
    return about if isinstance(about, str) and about.isprintable() else aspect


def _video_r1(task: str, question: str, answer: str, lines: Sequence[str]) -> tuple[str, tuple[str, ...], str]:
    """Problem, options and truth as multiple choice; no options for captions."""
    head = question.split("\n")[0].strip()
    if task == "multi-choice":
        return head, tuple(lines), answer[:1]
    if task == "yes_no":
        return question, ("A. yes", "B. no"), "A" if answer == "yes" else "B"
    if task == "caption_matching":
        shown = tuple(f"{letter}. {line.partition(': ')[2]}" for letter, line in zip("ABCD", lines, strict=False))
        return head, shown, "ABCD"[lines.index(answer)]
    return question, (), answer


def export(rows: Sequence[Row]) -> dict[str, Any]:
    """The official prediction files, one per task: video -> aspect -> questions with predictions."""
    made: dict[str, Any] = {f"{task}.json": {} for task in TASKS}
    for row in rows:
        aspects = made[f"{row['categories']['task']}.json"].setdefault(row["video"], {})
        aspects.setdefault(row["categories"]["aspect"], []).append(
            {"question": row["question"], "answer": row["answer"], "prediction": row["completion"]}
        )
    return made


SUITE = Suite(
    name="tempcompass",
    title="TempCompass",
    read=read,
    word=word,
    mark=mark,
    decoding=Decoding(0.0, 1.0, 128),
    counts={"": {"multi-choice": 1580, "yes_no": 2453, "caption_matching": 1503, "captioning": 2004}},
    counted_by="task",
    export=export,
    judge=judge,
    verdict=verdict,
    deviations=(
        "answers that no rule reads: our judge wording and the configured model, officially gpt-3.5-turbo-1106 at "
        "temperature 1; without a judge they count 0 (official --disable_llm)",
        "captions: our judge wording and the configured model, officially gpt-3.5-turbo-1106 at temperature 1",
    ),
)
