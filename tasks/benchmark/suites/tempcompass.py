"""TempCompass (github.com/llyx97/TempCompass; huggingface.co/datasets/lmms-lab/TempCompass).

Files: `questions/{task}.json` with `meta_info.json`, or `{task}/test-*.parquet`. Clips: `videos/{video_id}.mp4`,
or a GIF beside the questions. Answers are matched by rule; captions are always a judge's, and not scored without
one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.benchmark.suites import files
from tasks.benchmark.suites.base import (
    Annotations,
    Ask,
    Decoding,
    Judgement,
    Mark,
    Published,
    Sample,
    Suite,
    SuiteError,
)

TASKS = ("multi-choice", "yes_no", "caption_matching", "captioning")
ASPECTS = ("action", "direction", "speed", "order", "attribute_change")
_SUFFIX = {
    "multi-choice": "\nPlease directly give the best option:",
    "caption_matching": "\nPlease directly give the best option:",
    "yes_no": "\nPlease answer yes or no:",
    "captioning": "",
}
_LETTERED = re.compile(r"[A-D][.)]")
_SAID = re.compile(r"[A-D](?=\.|\s|$)")


class Rating(NamedTuple):
    """The official outcome of one answer."""

    rating: int
    match_success: bool
    """Whether a rule could read the answer; if not, the official code asks a judge or counts 0."""
    extracted: str


def multi_choice(prediction: str | None, answer: str) -> Rating:
    """The option's whole line, its letter alone, or its letter followed by "." or ")"."""
    said = _clean(prediction)
    if said == answer:
        return Rating(1, True, said)
    if said in ("A", "B", "C", "D") or _LETTERED.match(said):
        letter = said[0]
        return Rating(int(letter == answer[:1]), True, letter)
    return Rating(0, False, "")


def yes_no(prediction: str | None, answer: str) -> Rating:
    """What the answer begins with, in any case: "Not sure" and "Nothing" read as no."""
    low = _clean(prediction).lower()
    said = next((word for word in ("yes", "no") if low.startswith(word)), "")
    return Rating(int(said == answer), True, said) if said else Rating(0, False, "")


def caption_matching(prediction: str | None, answer: str, lines: Sequence[str]) -> Rating:
    """The option's whole line, its sentence or its name ("Caption A", "A"); a right name before other words fails."""
    said = _clean(prediction)
    pairs = [(name, sentence) for name, _, sentence in (line.partition(": ") for line in lines)]
    behind = said.split(") ")[1] if ") " in said else None
    found = [line for line in lines if line == said]
    found += [sentence for _, sentence in pairs if sentence and sentence.split(": ")[0] in (said, behind)]
    names = [name for name, _ in pairs]
    found += [name for name in names + [_short(name) for name in names] if name in (said, said.replace(".", ""))]
    if not found:
        return Rating(0, False, "")
    name, _, sentence = answer.partition(": ")
    right = {answer, answer.split(":")[0], sentence.split(": ")[0], (name.split() + [""])[1] if " " in name else ""}
    return Rating(int(found[-1] in right - {""}), True, found[-1])


def _clean(prediction: str | None) -> str:
    return "" if prediction is None else prediction.replace("</s>", "").strip()


def _short(name: str) -> str:
    return name.replace("Sentence ", "").replace("Option ", "").replace("Caption ", "")


def mark(sample: Sample, text: str) -> Mark:
    """Official score by rule; what no rule reads counts 0, as with the official `--disable_llm`."""
    task = sample.categories["task"]
    if task == "captioning":
        return Mark(None, "", "not scored: needs a judge")
    if task == "multi-choice":
        found = multi_choice(text, sample.answer)
    elif task == "yes_no":
        found = yes_no(text, sample.answer)
    else:
        found = caption_matching(text, sample.answer, sample.question.split("\n")[1:])
    return Mark(float(found.rating), found.extracted, "rule" if found.match_success else "no rule matched")


def judge(sample: Sample, text: str) -> Judgement | None:
    """Captions: let a judge answer the multiple-choice question from the caption alone; our wording."""
    question = sample.extra.get("mc_question")
    if sample.categories["task"] != "captioning" or not question:
        return None
    return Judgement(
        "You are given a description of a video and a multiple-choice question about that video. Answer from the "
        "description alone. Reply with the letter of the option the description supports, or with the word none if it "
        "supports no option or does not say.",
        f"Description: {text}\nQuestion: {question}",
    )


def verdict(sample: Sample, reply: str) -> Mark:
    """Read the judge's letter; "none" is wrong, anything else leaves the caption not scored."""
    said = strip_quotes(reply)
    if said.lower().startswith("none"):
        return Mark(0.0, "none", "judge")
    found = _SAID.match(said)
    if found is None:
        return Mark(None, "", "not scored: unreadable judgement")
    return Mark(float(found.group() == str(sample.extra["mc_answer"])[:1]), found.group(), "judge")


def strip_quotes(text: str) -> str:
    """Text without quotation marks, brackets and stars around it."""
    return text.strip().strip("\"'`*()[] ")


def ask(sample: Sample) -> Ask:
    """Official wording."""
    return Ask(sample.question + _SUFFIX[sample.categories["task"]])


def read(folder: Path, subset: str | None = None) -> Annotations:
    """Samples of the annotation folder.

    Raises:
        SuiteError: no annotation file.
    """
    paths = [path for path in files.find(folder, ["questions/*.json", "*/test-*.parquet"]) if _task(path) in TASKS]
    if not paths:
        raise SuiteError(f"{folder}: no annotation file; looked for questions/multi-choice.json and its like")
    about = folder / "meta_info.json"
    kinds = files.tree_of(about) if about.is_file() else {}
    choices = _first_choices(paths)
    rows = ((where, (task, row, number)) for path in paths for where, task, row, number in _rows(path))
    return files.collect(rows, lambda item, where: _sample(item, kinds, choices, where), paths)


def _task(path: Path) -> str:
    return path.stem if path.suffix == ".json" else path.parent.name


def _rows(path: Path) -> Iterator[tuple[str, str, Any, int]]:
    """(where, task, row as in the parquet files, number within its video and aspect)."""
    task = _task(path)
    if path.suffix == ".parquet":
        counts: dict[tuple[str, str], int] = {}
        for where, row in files.numbered(path, files.rows_of(path)):
            key = (str(row.get("video_id")), str(row.get("dim")))
            counts[key] = counts.get(key, -1) + 1
            yield where, task, row, counts[key]
        return
    for video, aspects in files.tree_of(path).items():
        for aspect, rows in (aspects if isinstance(aspects, Mapping) else {"": aspects}).items():
            for number, row in enumerate(rows if isinstance(rows, list) else [rows]):
                where = f"{path}: {video}, {aspect}, question {number}"
                yield where, task, row | {"video_id": video, "dim": aspect} if isinstance(row, dict) else row, number


def _first_choices(paths: Sequence[Path]) -> dict[tuple[str, str], Mapping[str, str]]:
    """(video, aspect) -> its first multiple-choice question, which a caption is judged by."""
    found: dict[tuple[str, str], Mapping[str, str]] = {}
    for path in paths:
        if _task(path) == "multi-choice":
            for _, _, row, number in _rows(path):
                if number == 0 and isinstance(row, Mapping):
                    found[str(row.get("video_id")), str(row.get("dim"))] = row
    return found


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
        extra={
            "video_id": video,
            "mc_question": row.get("mc_question") or first.get("question"),
            "mc_answer": row.get("mc_answer") or first.get("answer"),
        },
    )


def source_clip(video: str) -> str:
    """The clip a video was made from: its id without `_reverse`, `_concat_0` and the like."""
    return video.partition("_")[0]


def _fine(kinds: Mapping[str, Any], video: str, aspect: str) -> str:
    """Fine-grained aspect from meta_info.json; the aspect itself where that does not say."""
    if aspect == "order":
        return aspect
    entry = (kinds.get(video) or {}).get("eval_dim", {}).get(aspect)
    return str(entry["type"]) if isinstance(entry, Mapping) and "type" in entry else aspect


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


def export(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The official prediction files, one per task: video -> aspect -> questions with predictions."""
    made: dict[str, Any] = {f"{task}.json": {} for task in TASKS}
    for row in rows:
        aspects = made[f"{row['categories']['task']}.json"].setdefault(row["extra"]["video_id"], {})
        aspects.setdefault(row["categories"]["aspect"], []).append(
            {"question": row["question"], "answer": row["answer"], "prediction": row["completion"]}
        )
    return made


_BOARD = "TempCompass leaderboard, Avg. All (captions by GPT-3.5)"
_VIDEO_R1 = "Video-R1 README table"
_CAPTIONS = "how captions were scored is not published"
SUITE = Suite(
    name="tempcompass",
    title="TempCompass",
    read=read,
    ask=ask,
    mark=mark,
    decoding=Decoding(0.0, 1.0, 128),
    counts={"": {"multi-choice": 1580, "yes_no": 2453, "caption_matching": 1503, "captioning": 2004}},
    counted_by="task",
    export=export,
    judge=judge,
    verdict=verdict,
    deviations=(
        "answers that no rule reads count 0 (official --disable_llm) and are not put to a judge",
        "captions: our judge wording and the configured model, officially gpt-3.5-turbo-1106 at temperature 1",
    ),
    published=(
        Published("GPT-4o", "official", None, 73.75, _BOARD),
        Published("Qwen2-VL-7B", "official", None, 67.85, _BOARD),
        Published("Gemini-1.5-Pro", "official", None, 67.1, _BOARD),
        Published("Qwen2.5-VL-7B CoT", "video_r1", 16, 72.2, _VIDEO_R1, _CAPTIONS),
        Published("Qwen2.5-VL-7B CoT", "video_r1", 32, 72.6, _VIDEO_R1, _CAPTIONS),
        Published("Qwen2.5-VL-7B SFT", "video_r1", 16, 69.2, _VIDEO_R1, _CAPTIONS),
        Published("Qwen2.5-VL-7B SFT", "video_r1", 32, 69.9, _VIDEO_R1, _CAPTIONS),
        Published("Video-R1-7B", "video_r1", 16, 72.6, _VIDEO_R1, _CAPTIONS),
        Published("Video-R1-7B", "video_r1", 32, 73.2, _VIDEO_R1, _CAPTIONS),
        Published("Video-R1-7B", "video_r1", 64, 73.2, _VIDEO_R1, _CAPTIONS),
    ),
)
