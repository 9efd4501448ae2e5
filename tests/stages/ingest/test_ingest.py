import dataclasses
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tasks import paths
from tasks.core.io.errors import StageError
from tasks.core.io.rows import RawRow, read_rows
from tasks.core.io.tables import read_table
from tasks.core.schemas.parsing import RecordError
from tasks.core.schemas.records import MANIFEST_SCHEMA, QUARANTINE_SCHEMA, RECORD_SCHEMA, Record
from tasks.ingest import __main__ as stage
from tasks.ingest import manifest
from tasks.ingest.facts import PENDING, KnownMedia
from tasks.ingest.ingest import check_names
from tasks.ingest.manifest import Checker, Medium, check_media
from tasks.ingest.mix import mix_media
from tasks.ingest.pool import Pool, numbered, repeated_ids, without
from tasks.ingest.root import MediaRoot
from tasks.ingest.sources import FORMATS, Counted, SourceError, draw_rows
from tests.support import bad_readers
from tests.support.bad_media import READ, REFUSED, make_bad_media

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"
ROW = {
    "problem_id": 0,
    "problem": "How many strings?",
    "data_type": "video",
    "problem_type": "numerical",
    "options": [],
    "process": "",
    "solution": "<answer>4</answer>",
    "path": "./good.mp4",
    "data_source": "",
}


def record(problem_id=0, data_type="video"):
    return Record(problem_id, "q", data_type, "numerical", [], "", "<answer>1</answer>", f"{problem_id}.mp4")


def table_of(*rows):
    """A table of ingest from (source, row, record)."""
    pool = Pool()
    for name, place, item in rows:
        pool.add(item, name, place)
    return pool.table()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project root with a media folder that holds one good clip; `run(*sources)` writes params.yaml and runs."""
    monkeypatch.chdir(tmp_path)
    media = tmp_path / "media"
    media.mkdir()
    (media / "good.mp4").write_bytes((CLIPS / "slide.mp4").read_bytes())

    def run(*sources, **section):
        ingest = {"sources": list(sources), "workers": 1, **section}
        Path("params.yaml").write_text(
            yaml.safe_dump({"data_root": ".", "models": {"base": "models/base"}, "ingest": ingest})
        )
        stage.main()
        return read_table(paths.QUARANTINE, QUARANTINE_SCHEMA)

    return run


def source(annotations, name="real", split="train", media_root="media", **extra):
    return {
        "name": name,
        "format": "video_r1",
        "split": split,
        "annotations": annotations,
        "media_root": str(media_root),
        **extra,
    }


def write_rows(rows, name="rows.json"):
    Path(name).write_text(json.dumps(rows))
    return name


def test_real_clips_with_a_gif(project):
    Path("records.json").write_bytes((CLIPS / "records.json").read_bytes())
    assert project(source("records.json", media_root=CLIPS)) == []
    records = read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA)
    assert [row["problem_id"] for row in records] == [0, 1, 2, 3]
    assert all(Path(row["path"]).is_file() for row in records)
    media = read_table(paths.MANIFEST, MANIFEST_SCHEMA)
    assert [Path(row["path"]).name for row in media] == ["slide.mp4", "turn.mp4", "scene.gif"]
    assert {row["status"] for row in media} == {"ok"}
    metrics = json.loads(paths.metrics("ingest").read_text())
    assert metrics["train"]["rows"] == metrics["train"]["video"] == 4
    assert metrics["quarantined"] == {"rows": 0, "by_kind": {}}


def test_rows_left_out_for_the_share_of_videos_are_counted(project, capsys):
    Image.new("RGB", (64, 64)).save("media/a.png")
    rows = [ROW | {"problem_id": number, "problem": f"Which of {number}?"} for number in range(3)]
    rows.append(ROW | {"problem_id": 3, "path": "a.png", "data_type": "image"})
    assert project(source(write_rows(rows)), video_share=0.5) == []
    metrics = json.loads(paths.metrics("ingest").read_text())
    assert metrics["left_out_for_video_share"] == {"train": 2, "rl": 0}
    assert [metrics["train"][name] for name in ("rows", "video", "image")] == [2, 1, 1]
    assert "left out for the share of videos: 2 of train, 0 of rl" in capsys.readouterr().out


def test_files_that_once_ended_a_run_cost_their_rows(project):
    make_bad_media(Path("media"))
    rows = [
        ROW | {"problem_id": number, "path": name, "data_type": "image" if name.endswith(("avif", "jpg")) else "video"}
        for number, name in enumerate([*REFUSED, *READ])
    ]
    refused = {row["problem_id"]: row["reason"] for row in project(source(write_rows(rows)))}
    assert len(refused) == len(REFUSED)
    for number, (name, words) in enumerate(REFUSED.items()):
        assert words in refused[str(number)], name
    assert len(read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA)) == len(READ)


def test_bad_rows_are_quarantined_with_their_reasons_and_the_run_completes(project, capsys):
    whole = Path("media/good.mp4").read_bytes()
    Path("media/cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    rows = [
        ROW,
        {**ROW, "problem_id": 1, "solution": "4"},
        {**ROW, "problem_id": 2, "path": "cut.mp4"},
        {**ROW, "problem_id": 3, "path": "../../etc/passwd"},
        {**ROW, "problem_id": 4, "problem": "What does <|video_pad|> mean?"},
    ]
    quarantined = project(source(write_rows(rows)))
    found = [(row["row"], row["problem_id"], row["kind"], row["field"], row["reason"]) for row in quarantined]
    assert found == [
        (1, "1", "record", "solution", "not <answer>..</answer>: '4'"),
        (2, "2", "media", "path", "truncated: mdat box ends at byte 6595, the file at 5656, no index (moov)"),
        (3, "3", "path", "path", "'../../etc/passwd' leads out of the media root"),
        (4, "4", "record", "problem", "spells <|video_pad|>, which stands for pixels"),
    ]
    assert [row["problem_id"] for row in read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA)] == [0]
    assert "rows train 1, rl 0, test 0; 2 media files; 4 rows quarantined" in capsys.readouterr().out


def test_every_table_is_written_also_when_empty(project):
    project(source(write_rows([])))
    for path in (paths.TRAIN_RECORDS, paths.RL_RECORDS, paths.TEST_RECORDS):
        assert read_table(path, RECORD_SCHEMA) == []
    assert read_table(paths.MANIFEST, MANIFEST_SCHEMA) == read_table(paths.QUARANTINE, QUARANTINE_SCHEMA) == []
    assert paths.MEDIA.is_dir()


def test_ids_are_per_source_and_numbers_per_table(project):
    name = write_rows([ROW, ROW, {**ROW, "problem_id": 10**12}, {**ROW, "problem_id": -1}])
    quarantined = project(source(name), source(name, name="more"), source(name, name="held-out", split="test"))
    assert [(row["source"], row["row"], row["reason"]) for row in quarantined] == [
        ("real", 1, "0 is taken by real row 0"),
        ("more", 1, "0 is taken by more row 0"),
        ("held-out", 1, "0 is taken by held-out row 0"),
    ]
    records = read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA)
    assert [row["source"] for row in records] == ["real"] * 3 + ["more"] * 3
    numbers = [row["problem_id"] for row in records]
    assert len(set(numbers)) == 6 and numbers[0] == 0 and numbers[3] == 10**12
    assert all(2**62 <= number < 2**63 for number in (*numbers[1:3], *numbers[4:]))


def test_six_evaluation_files_numbered_from_0_all_survive(project):
    sizes = {"mvbench": 4000, "tempcompass": 7540, "videomme": 2700, "videommmu": 900, "vsibench": 5130, "mmvu": 625}
    files = [
        source(write_rows([{**ROW, "problem_id": i} for i in range(rows)], f"{name}.json"), name=name, split="test")
        for name, rows in sizes.items()
    ]
    assert project(*files) == []
    records = read_table(paths.TEST_RECORDS, RECORD_SCHEMA)
    assert len({row["problem_id"] for row in records}) == len(records) == sum(sizes.values()) == 20895


@pytest.mark.parametrize(
    ("kind", "truth", "field", "words"),
    [
        pytest.param("numerical", "1:30", "solution", "cannot read the truth '1:30'", id="time-as-a-number"),
        pytest.param("regression", "5-6", "solution", "cannot read the truth '5-6'", id="range-as-a-number"),
        pytest.param("numerical", "ten", "solution", "cannot read the truth 'ten'", id="word-as-a-number"),
        pytest.param("OCR", "''", "solution", "cannot read", id="quotes-without-text"),
        pytest.param("free-form", "!?", "solution", "cannot read", id="no-words"),
    ],
)
def test_a_truth_that_no_answer_could_reach_is_refused(project, kind, truth, field, words):
    rows = [ROW, {**ROW, "problem_id": 1, "problem_type": kind, "solution": f"<answer>{truth}</answer>"}]
    [refused] = project(source(write_rows(rows)))
    assert (refused["row"], refused["field"]) == (1, field)
    assert words in refused["reason"]


def test_world_source_is_rendered_and_passes_the_same_checks(project):
    world = {"name": "w", "format": "world", "split": "rl", "rows": 4, "seed": 5}
    assert project(world) == []
    records = read_table(paths.RL_RECORDS, RECORD_SCHEMA)
    assert len(records) == 4
    assert all(Path(row["path"]).parts[:4] == ("data", "ingest", "media", "w") for row in records)


def test_a_second_run_leaves_no_media_of_the_first(project):
    project({"name": "old", "format": "world", "split": "rl", "rows": 1})
    project({"name": "new", "format": "world", "split": "rl", "rows": 1})
    assert [folder.name for folder in paths.MEDIA.iterdir()] == ["new"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"annotations": "nowhere.json"}, "nowhere.json: no such annotation file", id="no-annotations"),
        pytest.param({"annotations": "rows.csv"}, "unknown suffix '.csv'", id="unknown-format"),
        pytest.param({"media_root": "nowhere"}, "nowhere: no such media root", id="no-media-root"),
        pytest.param({"annotations": None}, "needs `annotations`", id="annotations-not-given"),
        pytest.param({"media_root": None}, "needs `media_root`", id="media-root-not-given"),
        pytest.param({"format": "world"}, "needs `rows`", id="world-without-rows"),
        pytest.param({"name": "../x"}, "name '../x'", id="name-that-leaves-the-folder"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line_and_exit_2(project, capsys, monkeypatch, change, words):
    Path("rows.csv").touch()
    given = {**source(write_rows([ROW])), **change}
    with pytest.raises(StageError) as caught:
        project(given)
    assert words in str(caught.value)
    monkeypatch.setattr(sys, "argv", ["ingest"])
    with pytest.raises(SystemExit) as exit_:
        stage.run_stage(stage.main)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: ")


class TestDraw:
    def test_draw_keeps_order_and_is_fixed_by_its_seed(self, tmp_path):
        (tmp_path / "a.json").write_text(json.dumps(list(range(100))))

        def draw(limit, seed):
            return list(draw_rows(Counted(lambda: read_rows(tmp_path / "a.json")), limit, seed))

        drawn = draw(10, 1)
        assert drawn == draw(10, 1) != draw(10, 2)
        assert len(drawn) == 10 and [row.row for row in drawn] == sorted(row.row for row in drawn)
        assert draw(1000, 1) == draw(None, 1) == list(read_rows(tmp_path / "a.json"))

    @pytest.mark.parametrize(
        ("limits", "readings"),
        [
            pytest.param([None, 10, 10], 3, id="read-to-its-end-before-so-counted"),
            pytest.param([10, 20], 3, id="counted-for-the-first-draw"),
            pytest.param([10, 0], 2, id="nothing-drawn-nothing-read"),
        ],
    )
    def test_a_file_of_several_sources_is_counted_once_and_draws_the_same(self, limits, readings):
        read = []

        def rows():
            read.append("again")
            return (RawRow(row, {}) for row in range(50))

        shared = Counted(rows)
        drawn = [list(draw_rows(shared, limit, seed)) for seed, limit in enumerate(limits)]
        assert len(read) == readings
        assert drawn == [list(draw_rows(Counted(rows), limit, seed)) for seed, limit in enumerate(limits)]


class TestMediaPath:
    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "root"
        (root / "a").mkdir(parents=True)
        (root / "a" / "clip.mp4").touch()
        (tmp_path / "secret.mp4").touch()
        (tmp_path / "root-too").mkdir()
        (tmp_path / "root-too" / "clip.mp4").touch()
        (root / "out.mp4").symlink_to(tmp_path / "secret.mp4")
        (root / "up").symlink_to(tmp_path)
        (root / "in.mp4").symlink_to(root / "a" / "clip.mp4")
        (root / "loop.mp4").symlink_to(root / "loop.mp4")
        return root

    @pytest.mark.parametrize("path", ["a/clip.mp4", "./a/clip.mp4", "a/../a/clip.mp4", "in.mp4"])
    def test_inside(self, root, path):
        assert MediaRoot(root).locate(path, "here") == str(root / path)

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            pytest.param("../secret.mp4", "leads out of", id="dots"),
            pytest.param("../../etc/passwd", "leads out of", id="dots-to-the-system"),
            pytest.param("../root-too/clip.mp4", "leads out of", id="sibling-with-the-same-beginning"),
            pytest.param("out.mp4", "leads out of", id="symlink"),
            pytest.param("up/secret.mp4", "leads out of", id="symlinked-folder"),
            pytest.param("/etc/passwd", "is absolute", id="absolute"),
            pytest.param("a", "is not a file", id="folder"),
            pytest.param("b.mp4", "is not a file", id="missing"),
            pytest.param("loop.mp4", "", id="symlink-loop"),
            pytest.param("a\0b", "is not a path", id="nul"),
            pytest.param("a" * 5000, "", id="too-long"),
        ],
    )
    def test_refused(self, root, path, reason):
        with pytest.raises(RecordError) as caught:
            MediaRoot(root).locate(path, "here")
        assert caught.value.field == "path"
        assert reason in caught.value.reason


class TestMix:
    @pytest.mark.parametrize(
        ("video", "image", "share", "kept"),
        [
            pytest.param(10, 10, None, (10, 10), id="null-keeps-all"),
            pytest.param(10, 10, 0.5, (10, 10), id="already-so"),
            pytest.param(10, 30, 0.5, (10, 10), id="images-go"),
            pytest.param(30, 10, 0.25, (3, 10), id="videos-go"),
            pytest.param(10, 10, 1.0, (10, 0), id="videos-only"),
            pytest.param(10, 10, 0.0, (0, 10), id="images-only"),
            pytest.param(3, 100, 0.3, (3, 7), id="float-division-loses-no-row"),
            pytest.param(10, 0, 0.5, (0, 0), id="a-share-that-cannot-be-had"),
            pytest.param(0, 0, 0.5, (0, 0), id="nothing"),
        ],
    )
    def test_counts(self, video, image, share, kept):
        kinds = ["video"] * video + ["image"] * image
        places = mix_media(kinds, share, 0)
        mixed = kinds if places is None else [kinds[place] for place in places]
        assert (mixed.count("video"), mixed.count("image")) == kept

    def test_order_is_kept_and_the_draw_is_fixed_by_its_seed(self):
        kinds = ["video", "image", "image"] * 20
        mixed = mix_media(kinds, 0.5, 1)
        assert mixed == mix_media(kinds, 0.5, 1) != mix_media(kinds, 0.5, 2)
        assert mixed == sorted(mixed)


class TestCheckMedia:
    """Facts of media: each file once, in children, and none again that is known."""

    @pytest.fixture
    def check(self, tmp_path):
        """`check(media, workers)` -> (rows, files hashed, files probed), facts kept from call to call."""

        def run(media, workers=1):
            known = KnownMedia(tmp_path / "known")
            checker = Checker(known)
            rows = check_media(media, workers, checker)
            known.close()
            return rows, checker.work.hashed, checker.work.probed

        return run

    def test_a_file_used_twice_is_checked_once(self, check):
        clip = str(CLIPS / "slide.mp4")
        rows, hashed, probed = check([Medium(clip, "video"), Medium(clip, "video")])
        assert (len(rows), hashed, probed) == (1, 1, 1)

    def test_only_new_files_are_hashed_and_probed(self, check, tmp_path):
        for number in range(6):
            Image.new("RGB", (6 + number, 4)).save(tmp_path / f"{number}.png")
        files = [Medium(str(tmp_path / f"{number}.png"), "image") for number in range(6)]
        first, *work = check(files[:5])
        assert work == [5, 5]
        again, *work = check(files[:5])
        assert work == [0, 0] and again == first
        more, *work = check(files)
        assert work == [1, 1] and list(more) == files

    def test_a_copy_is_hashed_and_not_probed(self, check, tmp_path):
        clip, copy = CLIPS / "slide.mp4", tmp_path / "copy.mp4"
        first, *_ = check([Medium(str(clip), "video")])
        copy.write_bytes(clip.read_bytes())
        rows, *work = check([Medium(str(copy), "video")])
        assert work == [1, 0]
        [row], [original] = rows.values(), first.values()
        assert dataclasses.replace(row, path=original.path) == original and row.path == str(copy)

    def test_a_file_that_changed_is_read_again(self, check, tmp_path):
        path = tmp_path / "a.png"
        for size in (6, 8):
            Image.new("RGB", (size, 4)).save(path)
            os.utime(path, ns=(size, size))
            rows, *work = check([Medium(str(path), "image")])
            assert work == [1, 1] and rows[Medium(str(path), "image")].width == size

    def test_the_other_data_type_is_another_question(self, check):
        clip = str(CLIPS / "slide.mp4")
        check([Medium(clip, "video")])
        rows, *work = check([Medium(clip, "image")])
        assert work == [1, 1] and "not a readable image" in rows[Medium(clip, "image")].status

    def test_a_refused_file_is_known_too(self, check, tmp_path):
        (tmp_path / "a.mp4").write_bytes(b"text")
        first, *_ = check([Medium(str(tmp_path / "a.mp4"), "video")])
        rows, *work = check([Medium(str(tmp_path / "a.mp4"), "video")])
        assert work == [0, 0] and rows == first

    @pytest.mark.parametrize("damage", [b"", b"{}\n", b"\xff\xfe{", b'{"reader": "older"}\n', b"[1]\n[2]\n"])
    def test_a_damaged_log_of_facts_is_no_log(self, check, tmp_path, damage):
        clip = [Medium(str(CLIPS / "slide.mp4"), "video")]
        first, *_ = check(clip)
        (tmp_path / "known/facts.jsonl").write_bytes(damage)
        assert check(clip) == (first, 1, 1)
        assert check(clip) == (first, 0, 0)

    def test_the_log_of_facts_does_not_grow_with_every_run(self, check, tmp_path):
        path = tmp_path / "a.png"
        Image.new("RGB", (6, 4)).save(path)
        for turn in range(2 * PENDING):
            os.utime(path, ns=(turn, turn))
            check([Medium(str(path), "image")])
        assert len((tmp_path / "known/facts.jsonl").read_bytes().splitlines()) <= PENDING + 3

    def test_workers_change_nothing(self, tmp_path):
        Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
        media = [
            Medium(str(CLIPS / "slide.mp4"), "video"),
            Medium(str(tmp_path / "a.png"), "image"),
            Medium(str(CLIPS / "records.json"), "image"),
        ]
        alone, together = (check_media(media, n, Checker(KnownMedia(tmp_path / str(n)))) for n in (1, 2))
        assert alone == together
        assert list(together) == media
        assert [row.status == "ok" for row in together.values()] == [True, True, False]

    def test_a_file_that_kills_or_holds_its_reader_costs_itself_only_and_is_tried_again(self, check, monkeypatch):
        media = [Medium(str(CLIPS / name), "video") for name in ("slide.mp4", "turn.mp4", "scene.gif")]
        monkeypatch.setattr(manifest, "probe", bad_readers.crash_on_turn)
        rows, *work = check(media, 2)
        assert [row.status for row in rows.values()] == ["ok", "the decoder crashed (SIGSEGV)", "ok"]
        rows, *work = check(media, 2)
        assert work == [1, 1]
        monkeypatch.undo()
        rows, *work = check(media, 2)
        assert work == [1, 1] and {row.status for row in rows.values()} == {"ok"}


def test_duplicates_keep_the_first_of_each_source():
    table = table_of(("s", 0, record(0)), ("s", 1, record(1)), ("t", 0, record(0)), ("s", 2, record(1)))
    reasons = repeated_ids(table)
    assert reasons == [(3, "duplicate", "problem_id", "1 is taken by s row 1")]
    kept, [lost] = without(table, "train", reasons)
    assert kept.column("row").to_pylist() == [0, 1, 0]
    assert (lost.source, lost.row, lost.problem_id, lost.kind) == ("s", 2, "1", "duplicate")
    assert numbered(kept, ["s", "t"]).column("problem_id").to_pylist() == [0, 1, 10**12]


def test_source_names_are_unique():
    with pytest.raises(SourceError, match="'a' appears 2 times"):
        check_names(["a", "b", "a"])


class TestReasoning:
    """Rows of video_r1_cot: `process` comes out as a whole completion."""

    @pytest.mark.parametrize(
        ("change", "process"),
        [
            pytest.param({}, "<think>so</think>\n<answer>4</answer>", id="published-file"),
            pytest.param({"answer": "5"}, "<think>so</think>\n<answer>5</answer>", id="script-with-a-wrong-answer"),
            pytest.param(
                {"process": " <think>so</think>\n"}, "<think>so</think>\n<answer>4</answer>", id="white-space"
            ),
        ],
    )
    def test_read(self, tmp_path, change, process):
        (tmp_path / "a.json").write_text(json.dumps([{**ROW, "process": "<think>so</think>", **change}]))
        [row] = FORMATS["video_r1_cot"](tmp_path / "a.json", tmp_path)
        assert row.value["process"] == process

    @pytest.mark.parametrize("process", ["", None, "so", "<think>so", 3])
    def test_rows_without_reasoning_are_faults(self, tmp_path, process):
        (tmp_path / "a.json").write_text(json.dumps({"results": [{**ROW, "process": process}, ROW, 3]}))
        rows = list(FORMATS["video_r1_cot"](tmp_path / "a.json", tmp_path))
        assert [bool(row.fault) for row in rows] == [True, True, False]


def test_clips_in_archives_are_probed_once_and_bad_members_cost_their_rows(project, capsys):
    with zipfile.ZipFile("media/clips.zip", "w") as file:
        file.write(CLIPS / "turn.mp4", "turn.mp4")
        file.writestr("empty.mp4", b"")
    names = ["turn.mp4", "empty.mp4", "gone.mp4", "../../secret.mp4"]
    rows = [{**ROW, "problem_id": number, "path": f"./clips.zip/{name}"} for number, name in enumerate(names)]
    refused = project(source(write_rows(rows)))
    assert [(row["row"], row["kind"], row["reason"]) for row in refused] == [
        (1, "media", "empty file"),
        (2, "path", "clips.zip holds no file 'gone.mp4'"),
        (3, "path", "'./clips.zip/../../secret.mp4' leads out of the media root"),
    ]
    [record] = read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA)
    assert record["path"] == "media/clips.zip/turn.mp4"
    assert "2 hashed, 2 probed" in capsys.readouterr().out
    project(source("rows.json"))
    assert "0 hashed, 0 probed" in capsys.readouterr().out
