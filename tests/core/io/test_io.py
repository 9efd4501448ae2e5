import json
import subprocess
import sys

import pyarrow as pa
import pytest

from tasks.core.io.atomic import replace_folder, replacing, write_json, write_text
from tasks.core.io.cli import run_stage
from tasks.core.io.errors import StageError
from tasks.core.io.jsonl import JsonlError, append_jsonl, read_jsonl
from tasks.core.io.seeds import SEED_LIMIT, derive_seed
from tasks.core.io.tables import TableError, read_table, write_table

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("note", pa.string())])


class TestAtomic:
    def test_a_failed_write_leaves_the_old_file_and_no_other(self, tmp_path):
        target = tmp_path / "a.txt"
        write_text(target, "old")
        with pytest.raises(RuntimeError), replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError
        assert target.read_text() == "old"
        assert list(tmp_path.iterdir()) == [target]

    @pytest.mark.parametrize(
        "make",
        [
            pytest.param(lambda path: None, id="nothing"),
            pytest.param(lambda path: write_text(path / "old", "x"), id="a folder"),
            pytest.param(lambda path: write_text(path, "x"), id="a file"),
            pytest.param(lambda path: path.symlink_to("elsewhere"), id="a link to a folder"),
            pytest.param(lambda path: path.symlink_to("nowhere"), id="a link to nothing"),
        ],
    )
    def test_a_folder_takes_the_place_of_what_is_there(self, tmp_path, make):
        source, target = tmp_path / "work/final", tmp_path / "out"
        write_text(source / "new", "y")
        write_text(tmp_path / "elsewhere/kept", "z")
        make(target)
        replace_folder(source, target)
        assert not target.is_symlink() and [file.name for file in target.iterdir()] == ["new"]
        assert (tmp_path / "elsewhere/kept").exists() and not source.exists()
        assert sorted(file.name for file in tmp_path.iterdir()) == ["elsewhere", "out", "work"]

    def test_folders_are_made(self, tmp_path):
        write_json(tmp_path / "a/b.json", {"ü": 1})
        assert json.loads((tmp_path / "a/b.json").read_text()) == {"ü": 1}

    def test_nan_is_no_json(self, tmp_path):
        with pytest.raises(ValueError):
            write_json(tmp_path / "a.json", {"x": float("nan")})
        assert not list(tmp_path.iterdir())


class TestTables:
    def test_an_empty_table_keeps_its_columns(self, tmp_path):
        assert write_table(tmp_path / "a.parquet", [], SCHEMA) == 0
        assert read_table(tmp_path / "a.parquet", SCHEMA) == []

    def test_columns_come_in_schema_order(self, tmp_path):
        write_table(tmp_path / "a.parquet", [{"note": None, "id": 1}], SCHEMA)
        assert read_table(tmp_path / "a.parquet") == [{"id": 1, "note": None}]

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            pytest.param({"id": 1}, "row 1: columns missing ['note']", id="missing-key-is-not-null"),
            pytest.param({"id": 1, "note": "", "x": 2}, "unknown ['x']", id="extra-key-is-not-dropped"),
            pytest.param({"id": None, "note": ""}, "row 1: id is empty", id="null-in-a-required-column"),
            pytest.param({"id": "one", "note": ""}, "id:", id="wrong-type"),
        ],
    )
    def test_a_bad_row_is_refused_and_nothing_written(self, tmp_path, row, words):
        with pytest.raises(TableError, match="a.parquet") as caught:
            write_table(tmp_path / "a.parquet", [{"id": 0, "note": "fine"}, row], SCHEMA)
        assert words in str(caught.value)
        assert not list(tmp_path.iterdir())

    def test_a_missing_table_names_the_stage_that_makes_it(self, tmp_path):
        with pytest.raises(TableError, match="run `dvc repro filter` first"):
            read_table(tmp_path / "filter" / "sft.parquet")

    def test_a_file_that_is_no_table(self, tmp_path):
        (tmp_path / "a.parquet").write_text("text")
        with pytest.raises(TableError, match="not a parquet table"):
            read_table(tmp_path / "a.parquet")

    def test_a_table_of_another_schema(self, tmp_path):
        write_table(tmp_path / "a.parquet", [{"id": 1, "note": "x"}], SCHEMA)
        with pytest.raises(TableError, match="no column more"):
            read_table(tmp_path / "a.parquet", pa.schema([pa.field("more", pa.string())]))
        with pytest.raises(TableError, match="not of its schema"):
            read_table(tmp_path / "a.parquet", pa.schema([pa.field("note", pa.int64())]))


class TestJsonl:
    def test_a_missing_file_is_an_empty_log(self, tmp_path):
        assert read_jsonl(tmp_path / "a.jsonl") == []

    def test_appending_keeps_what_is_there(self, tmp_path):
        append_jsonl(tmp_path / "a.jsonl", [{"a": 1}])
        append_jsonl(tmp_path / "a.jsonl", [{"a": "ü\n"}, {"a": 3}])
        assert read_jsonl(tmp_path / "a.jsonl") == [{"a": 1}, {"a": "ü\n"}, {"a": 3}]

    @pytest.mark.parametrize(
        ("tail", "kept"),
        [
            pytest.param(b'{"a": 2', 1, id="torn-object"),
            pytest.param('{"a": "ü"}'.encode()[:9], 1, id="torn-inside-a-character"),
            pytest.param(b"nul", 1, id="torn-word"),
            pytest.param(b'{"a": 2}', 2, id="only-the-newline-is-missing"),
        ],
    )
    def test_a_torn_tail_costs_itself_only(self, tmp_path, tail, kept):
        log = tmp_path / "a.jsonl"
        log.write_bytes(b'{"a": 1}\n' + tail)
        assert len(read_jsonl(log)) == kept
        append_jsonl(log, [{"a": 9}])
        assert read_jsonl(log)[kept:] == [{"a": 9}]

    def test_a_broken_line_in_the_middle_is_an_error(self, tmp_path):
        (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a"\n{"a": 3}\n')
        with pytest.raises(JsonlError, match="line 2"):
            read_jsonl(tmp_path / "a.jsonl")


class TestSeeds:
    def test_stable_across_processes_and_versions(self):
        assert derive_seed(0, "shuffle", 3) == derive_seed(0, "shuffle", 3) == 1660654057

    @pytest.mark.parametrize(
        ("left", "right"),
        [
            pytest.param((1, "a"), ("1", "a"), id="number-and-text"),
            pytest.param(("ab", "c"), ("a", "bc"), id="where-parts-end"),
            pytest.param((0, 1), (1, 0), id="order"),
        ],
    )
    def test_different_parts_differ(self, left, right):
        assert derive_seed(*left) != derive_seed(*right)

    def test_range(self):
        assert all(0 <= derive_seed(i) < SEED_LIMIT for i in range(1000))


class TestRunStage:
    @pytest.mark.parametrize(
        ("error", "known"),
        [
            pytest.param(StageError("clip.mp4: broken"), (), id="stage-error"),
            pytest.param(KeyError("x"), (KeyError,), id="class-named-by-the-stage"),
        ],
    )
    def test_what_the_user_can_mend_is_one_line_and_code_2(self, capsys, error, known):
        def main():
            raise error

        with pytest.raises(SystemExit) as exit_:
            run_stage(main, *known)
        assert exit_.value.code == 2
        assert capsys.readouterr().err == f"error: {error}\n"

    @pytest.mark.parametrize(
        ("write", "says"),
        [
            pytest.param(lambda path: write_text(path / "a/b", "x"), "Not a directory", id="a file for a folder"),
            pytest.param(lambda path: write_text(path.parent, "x"), "Is a directory", id="a folder for a file"),
            pytest.param(lambda path: path.mkdir(), "File exists", id="a file in the way"),
        ],
    )
    def test_a_place_that_cannot_be_written_is_one_line_that_names_it(self, tmp_path, capsys, write, says):
        path = tmp_path / "file"
        path.write_text("x")
        with pytest.raises(SystemExit) as exit_:
            run_stage(lambda: write(path))
        told = capsys.readouterr().err
        assert exit_.value.code == 2 and told.count("\n") == 1
        assert told.startswith("error: ") and str(tmp_path) in told and told.endswith(f": {says}\n")

    @pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
    def test_exit_code(self, returned, code):
        with pytest.raises(SystemExit) as exit_:
            run_stage(lambda: returned)
        assert exit_.value.code == code

    @pytest.mark.parametrize(
        ("argv", "code", "out", "err"),
        [
            (["command"], 0, "ran", ""),
            (["command", "now"], 2, "", "error: python -m a.command: unrecognized arguments: now; see --help\n"),
            (["command", "--help"], 0, "usage: python -m a.command [-h]\n\nit does something.", ""),
        ],
        ids=["alone", "an argument", "help"],
    )
    def test_a_command_without_arguments(self, monkeypatch, capsys, argv, code, out, err):
        monkeypatch.setattr("sys.argv", argv)
        with pytest.raises(SystemExit) as exit_:
            run_stage(lambda: print("ran"), about="`python -m a.command`: it does something.")
        assert exit_.value.code == code
        shown = capsys.readouterr()
        assert shown.err == err and shown.out.startswith(out) and ("ran" in shown.out) == (out == "ran")

    def test_a_bug_keeps_its_traceback(self):
        with pytest.raises(ZeroDivisionError):
            run_stage(lambda: 1 // 0)


def test_records_and_io_load_no_heavy_library():
    code = "import sys, tasks.core.schemas.records, tasks.core.rewards, tasks.core.io.cli; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("'torch'", "'great_expectations'", "'rouge_score'", "'jiwer'", "'pandas'"):
        assert name not in loaded
