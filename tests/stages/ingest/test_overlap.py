"""Questions asked twice and questions leaked: what counts, what is told, what is left out."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from tasks import paths
from tasks.core.io.tables import read_table
from tasks.core.schemas.records import MANIFEST_SCHEMA, OVERLAP_SCHEMA, QUARANTINE_SCHEMA, RECORD_SCHEMA
from tasks.ingest import __main__ as stage
from tasks.ingest.overlap import Questions, leaks, nearest, repeats
from tasks.ingest.wording import asked, plain, shingles

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"
LONG = "what does the man in the red shirt do with the ball after he walks through the open door"


def questions(*rows):
    """Rows (problem, options, truth, medium) as they are compared; a letter is the truth of a row with options."""
    problems, options, truths, media = zip(*rows, strict=True)
    solutions = [f"<answer>{truth}</answer>" if truth else "" for truth in truths]
    lists = pa.array(options, type=pa.list_(pa.string()))
    is_choice = np.array([bool(listed) for listed in options])
    texts = pa.array(problems, type=pa.string())
    return Questions(
        asked(texts, lists, pa.array(solutions), is_choice), np.array(media, np.uint64), pa.chunked_array([texts])
    )


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        pytest.param(("Where?", [], "up", 1), ("Where?", [], "up", 1), "exact", id="to-the-letter"),
        pytest.param(("Where is  it?", [], "up", 1), ("where is it", [], "Up.", 1), "exact", id="case-and-space"),
        pytest.param(("Ｗｈｅｒｅ？", [], "up", 1), ("Where?", [], "up", 1), "exact", id="full-width"),
        pytest.param(
            ("Q?", ["A. x", "B. y"], "A", 1), ("Q?", ["A) y", "(B) x"], "B", 1), "exact", id="options-in-another-order"
        ),
        pytest.param(("Where?", [], "up", 1), ("Where?", [], "up", 2), None, id="another-medium"),
        pytest.param(("Where?", [], "up", 1), ("Where?", [], "down", 1), "contradicting", id="another-truth"),
        pytest.param(
            ("Q?", ["A. x", "B. y"], "A", 1), ("Q?", ["A. x", "B. y"], "B", 1), "contradicting", id="another-letter"
        ),
        pytest.param(
            ("Q?", ["A. x", "B. y"], "A", 1),
            ("Q?", ["A. y", "B. x"], "A", 1),
            "contradicting",
            id="another-text",
        ),
        pytest.param(("Q?", ["A. x", "B. y"], "A", 1), ("Q?", ["A. x", "B. z"], "A", 1), "near", id="distractor"),
        pytest.param(("Q?", ["A. x", "B. y"], "A", 1), ("Q?", [], "x", 1), "near", id="with-and-without-options"),
        pytest.param((LONG, [], "he kicks it", 1), (f"{LONG} now", [], "he kicks it", 1), "near", id="a-word-more"),
        pytest.param((LONG, [], "he kicks it", 1), (f"{LONG} now", [], "he drops it", 1), None, id="and-another-truth"),
        pytest.param((LONG, [], "x", 1), (LONG.replace("after", "before"), [], "x", 1), None, id="before-is-not-after"),
        pytest.param((LONG, [], "x", 1), (" ".join(reversed(LONG.split())), [], "x", 1), None, id="reversed"),
        pytest.param(("What is 3 + 5?", [], "8", 1), ("What is 3 - 5?", [], "8", 1), None, id="a-sign-matters"),
        pytest.param(("What is 3.5?", [], "8", 1), ("What is 35?", [], "8", 1), None, id="a-decimal-point-matters"),
        pytest.param(("向左还是向右？", [], "左", 1), ("向左还是向右", [], "左", 1), "exact", id="chinese"),
        pytest.param(("球 向左还是向右走？", [], "左", 1), ("人 跳起来了没有？", [], "左", 1), None, id="chinese-else"),
        pytest.param(("?", [], "up", 1), ("!", [], "up", 1), None, id="no-words"),
        pytest.param(("Where?", [], "up", 0), ("Where?", [], "up", 0), None, id="unknown-medium"),
    ],
)
def test_what_counts_as_a_repeat(first, second, kind):
    told = repeats(questions(first, ("something else", [], "no", 7), second), 0.8)
    assert [(match.place, match.other, match.kind) for match in told] == ([(2, 0, kind)] if kind else [])


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        pytest.param((LONG, [], "he kicks it", 1), "question", id="same-question-and-medium"),
        pytest.param((LONG, [], "he drops it", 1), "question", id="same-question-another-truth"),
        pytest.param((f"{LONG} now", ["A. x", "B. y"], "A", 1), "question", id="nearly-the-same-question"),
        pytest.param(("What colour is the door?", [], "red", 1), "medium", id="another-question-about-the-medium"),
        pytest.param((f"{LONG} now", [], "he kicks it", 2), "text", id="words-and-truth-about-another-medium"),
        pytest.param((LONG, ["A. he runs", "B. he kicks it"], "B", 2), "text", id="truth-as-an-option"),
        pytest.param((LONG, [], "he drops it", 2), None, id="words-with-another-truth"),
        pytest.param(("How many balls?", [], "4", 2), None, id="too-short-to-be-known-by-its-words"),
        pytest.param(("describe this clip of a street in one long sentence", [], "any", 2), "text", id="no-truth"),
        pytest.param(("What colour is the door?", [], "red", 0), None, id="unknown-medium"),
    ],
)
def test_what_counts_as_a_leak(row, kind):
    held = questions(
        ("How many balls?", [], "4", 0),
        ("Describe this clip of a street in one long sentence!", [], "", 9),
        (LONG, ["A. he kicks it", "B. he runs"], "A", 1),
    )
    told = leaks(questions(("nothing of the kind is asked here", [], "no", 5), row), held, 0.8)
    assert [(match.place, match.kind) for match in told] == ([(1, kind)] if kind else [])


@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8, 1.0])
def test_near_pairs_are_those_that_comparing_all_pairs_gives(similarity):
    draw = random.Random(similarity)
    words = ["the", "ball", "person", "moves", "left", "right"]
    texts = [" ".join(draw.choices(words, k=draw.randint(1, 9))) for _ in range(120)]

    def pieces(text):
        split = plain(pa.array([text]))[0].as_py().split()
        return {tuple(split[place : place + 3]) for place in range(max(1, len(split) - 2))}

    sets = [pieces(text) for text in texts]
    jaccard = [[len(a & b) / len(a | b) for b in sets] for a in sets]
    for half in (0, 60):  # a table against itself, and against another
        left, right = range(half, 120), range(half or 120)
        expected = {}
        for i in left:
            alike = [(-jaccard[i][j], j) for j in right if (half or j < i) and jaccard[i][j] >= similarity]
            if alike:
                expected[i - half] = min(alike)[1]
        a = shingles(pa.array(texts[half:]))
        near = nearest(a, shingles(pa.array(texts[:half])) if half else a, similarity)
        assert dict(zip(near.left.tolist(), near.right.tolist(), strict=True)) == expected and expected


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two clips, one of them under two names; train, rl and test rows, and a benchmark file that is held out."""
    monkeypatch.chdir(tmp_path)
    media = tmp_path / "media"
    media.mkdir()
    for name, clip in {"a": "slide", "copy-of-a": "slide", "b": "turn", "c": "scene"}.items():
        path = next(CLIPS.glob(f"{clip}.*"))
        (media / f"{name}{path.suffix}").write_bytes(path.read_bytes())

    def row(number, problem, path, truth="4"):
        kind = {"data_type": "video", "problem_type": "numerical", "options": []}
        return {
            **kind,
            "problem_id": number,
            "problem": problem,
            "path": path,
            "solution": f"<answer>{truth}</answer>",
        }

    rows = {
        "train": [
            row(0, "How many strings?", "a.mp4"),
            row(1, "how many  strings", "copy-of-a.mp4"),
            row(2, "How many strings?", "a.mp4", "5"),
            row(3, "How many turns are there before the page is closed?", "b.mp4"),
            row(4, "How many people walk across the street in this scene?", "a.mp4"),
        ],
        "rl": [row(0, "How many strings?", "a.mp4")],
        "test": [row(7, "How many corners?", "b.mp4")],
        "bench": [{"problem": "how many people walk across the street in this scene"}, {"path": "c.gif"}, {"x": 1}],
    }
    splits = {"train": "train", "rl": "rl", "test": "test", "bench": "held_out"}
    sources = []
    for name, of_source in rows.items():
        Path(f"{name}.json").write_text(json.dumps(of_source))
        where = {"annotations": f"{name}.json", "media_root": "media"}
        sources.append({"name": name, "format": "video_r1", "split": splits[name], **where})

    def run(**overlap):
        ingest = {"sources": sources, "workers": 1, "overlap": overlap}
        params = {"data_root": ".", "models": {"base": "models/base"}, "ingest": ingest}
        Path("params.yaml").write_text(yaml.safe_dump(params))
        stage.main()
        return json.loads(paths.metrics("ingest").read_text())["overlap"]

    return run


TOLD = [
    ("train", 1, "exact", "train", 0),
    ("train", 2, "contradicting", "train", 0),
    ("train", 3, "medium", "test", 7),
    ("train", 4, "text", "held_out", 0),
]


def told():
    names = ("split", "problem_id", "kind", "other_split", "other_id")
    return [tuple(row[name] for name in names) for row in read_table(paths.OVERLAP, OVERLAP_SCHEMA)]


def test_overlaps_are_told_and_nothing_is_left_out_by_default(project, capsys):
    counts = project()
    assert told() == TOLD
    assert [row["problem_id"] for row in read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA)] == [0, 1, 2, 3, 4]
    assert counts["repeats"]["by_kind"] == {"exact": 1, "contradicting": 1, "near": 0}
    assert counts["repeats"]["left_out"] == 0 and counts["held_against"] == {"test": 1, "held_out": 2}
    assert counts["leaks"]["by_source"] == [
        {"split": "train", "source": "train", "kind": "medium", "other_source": "test", "rows": 1}
    ]
    [example] = counts["leaked_texts"]["examples"]
    assert (example["row"]["problem_id"], example["other"]["source"], example["other"]["row"]) == (4, "bench", 0)
    assert "1 rows leaked (1 medium)" in capsys.readouterr().out
    [refused] = read_table(paths.QUARANTINE, QUARANTINE_SCHEMA)
    assert (refused["split"], refused["row"], refused["reason"]) == ("held_out", 2, "neither a question nor a file")
    assert not [row for row in read_table(paths.MANIFEST, MANIFEST_SCHEMA) if "c.gif" in row["path"]]


@pytest.mark.parametrize(
    ("overlap", "left", "reason"),
    [
        pytest.param({"repeats": "quarantine"}, [0, 3, 4], "asks what train row 0 asks", id="repeats"),
        pytest.param({"leaks": "quarantine"}, [0, 1, 2, 4], "its medium is that of the held-out test row 0", id="leak"),
        pytest.param(
            {"leaked_texts": "quarantine"},
            [0, 1, 2, 3],
            "nearly the words and the truth of the held-out bench row 0 (similarity 1.0)",
            id="texts",
        ),
    ],
)
def test_a_switch_leaves_them_out_by_name(project, overlap, left, reason):
    project(**overlap)
    assert told() == TOLD
    assert [row["problem_id"] for row in read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA)] == left
    assert len(read_table(paths.RL_RECORDS, RECORD_SCHEMA)) == len(read_table(paths.TEST_RECORDS, RECORD_SCHEMA)) == 1
    refused = [row for row in read_table(paths.QUARANTINE, QUARANTINE_SCHEMA) if row["split"] == "train"]
    assert reason in {row["reason"] for row in refused} and len(refused) == 5 - len(left)
    assert {row["kind"] for row in refused} == {"repeat" if "repeats" in overlap else "leak"}
