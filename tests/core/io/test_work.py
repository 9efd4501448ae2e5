"""Keys and digests follow contents, not places."""

import fcntl
import json
import os
import shutil
import time

import pytest

from tasks.core.io import work as work_module
from tasks.core.io.digests import code_digests, folder_digest, work_key
from tasks.core.io.work import DESCRIPTION, LOCK, begin_work, claim, find_work, in_use


def make(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


BEFORE = {"a.py": "x = 1", "deep/b.txt": "y"}


@pytest.mark.parametrize(
    ("files", "equal"),
    [
        pytest.param(BEFORE, True, id="the same files elsewhere"),
        pytest.param({**BEFORE, "__pycache__/a.pyc": "x", "deep/__pycache__/c": "x"}, True, id="caches do not count"),
        pytest.param({**BEFORE, ".hidden": "x", ".git/config": "x"}, True, id="hidden files do not count"),
        pytest.param({**BEFORE, "a.py": "x = 2"}, False, id="a changed file"),
        pytest.param({"a.py": "x = 1", "deep/c.txt": "y"}, False, id="a renamed file"),
        pytest.param({**BEFORE, "deep/empty": ""}, False, id="one more, empty"),
    ],
)
def test_a_folder_digest_follows_names_and_contents(tmp_path, files, equal):
    first = folder_digest(make(tmp_path / "one", BEFORE))
    assert (folder_digest(make(tmp_path / "two", files)) == first) == equal


def test_a_file_that_moves_from_folder_to_folder_is_seen(tmp_path):
    a, b = make(tmp_path / "a", BEFORE), make(tmp_path / "b", {"z": ""})
    before = folder_digest(a, b)
    (a / "a.py").rename(b / "a.py")
    assert folder_digest(a, b) != before


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        folder_digest(tmp_path / "nowhere")


CODE = '''"""Says what it is."""

LIMIT = 2
"""Rows."""


def shown(rows):
    """So many of the rows."""
    return rows[:LIMIT]  # the first
'''


@pytest.mark.parametrize(
    ("before", "after", "equal"),
    [
        pytest.param("# the first", "# from the start", True, id="a comment"),
        pytest.param("So many of", "The first", True, id="a docstring"),
        pytest.param('"""Rows."""\n', "", True, id="a description gone"),
        pytest.param("rows[:LIMIT]", "(\n        rows[:LIMIT]\n    )", True, id="layout"),
        pytest.param("LIMIT = 2", "LIMIT = 3", False, id="a value"),
        pytest.param("rows[:LIMIT]", "rows[LIMIT:]", False, id="an expression"),
        pytest.param("shown", "taken", False, id="a name"),
        pytest.param("return rows[:LIMIT]", 'return rows[:LIMIT] or "none"', False, id="a text that is used"),
    ],
)
def test_a_digest_of_code_follows_what_it_does(tmp_path, before, after, equal):
    assert before in CODE
    digests = []
    for text in (CODE, CODE.replace(before, after)):
        (tmp_path / "a.py").write_text(text)
        digests.append(code_digests(tmp_path))
    [name] = digests[0]
    assert name.endswith("a.py") and digests[1].keys() == {name}
    assert (digests[0] == digests[1]) == equal


def test_files_that_are_no_code_take_no_part_in_a_digest_of_code(tmp_path):
    make(tmp_path, {"a.py": "x = 1", "table.csv": "1"})
    assert len(code_digests(tmp_path)) == len(code_digests(tmp_path / "a.py")) == 1


def test_a_key_does_not_depend_on_the_order_of_its_inputs():
    assert work_key(a=1, b={"x": 1, "y": 2}) == work_key(b={"y": 2, "x": 1}, a=1) != work_key(a=2, b={"x": 1, "y": 2})


INPUTS = {"seed": 0, "sft": {"learning_rate": 0.1, "dtype": "float32"}, "code": {"a.py": "0" * 64}}


def begun(root, inputs, **facts):
    told = []
    work = find_work(root, "sft", inputs, facts)
    return begin_work(work, told.append), told, work


def test_equal_inputs_go_on_and_say_nothing(tmp_path):
    first, told, work = begun(tmp_path, INPUTS, processes=1)
    assert told == [] and work.before is None
    again, told, work = begun(tmp_path, INPUTS, processes=2)
    assert again == first and told == [] and work.before == {"processes": 1}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"seed": 1}, "seed: 0 -> 1", id="a value"),
        pytest.param(
            {"sft": {"learning_rate": 0.2, "dtype": "float32"}},
            "sft.learning_rate: 0.1 -> 0.2",
            id="a value in a section",
        ),
        pytest.param({"code": {"a.py": "1" * 64}}, "code.a.py changed", id="contents, not digests"),
        pytest.param({"code": {}}, "code.a.py is gone", id="a file gone"),
        pytest.param({"more": 1}, "more is new", id="a new input"),
    ],
)
def test_a_changed_input_says_what_changed_and_keeps_what_is_there(tmp_path, change, says):
    first, *_ = begun(tmp_path, INPUTS)
    (first / "checkpoint").write_bytes(b"x" * 2_000_000)
    second, told, _ = begun(tmp_path, {**INPUTS, **change})
    assert second != first and (first / "checkpoint").exists()
    assert told[0] == f"sft: starts afresh: {says}"
    assert "older work is kept, 2.0 MB" in told[1] and "python -m tasks.work clear sft" in told[1]
    back, told, _ = begun(tmp_path, INPUTS)
    assert back == first and told == [], "put back, it goes on"


def test_of_several_works_the_nearest_is_named(tmp_path):
    begun(tmp_path, INPUTS)
    begun(tmp_path, {**INPUTS, "seed": 5, "more": 1})
    _, told, _ = begun(tmp_path, {**INPUTS, "seed": 1})
    assert told[0] == "sft: starts afresh: seed: 0 -> 1"


def aged(root, inputs, days):
    """A work that another process left so long ago."""
    folder = find_work(root, "sft", inputs).folder
    folder.mkdir()
    (folder / "work.json").write_text(json.dumps({"stage": "sft", "inputs": inputs, "facts": {}}))
    then = time.time() - days * 86400
    os.utime(folder / "work.json", (then, then)), os.utime(folder, (then, then))
    return folder


def test_work_that_nobody_used_for_long_is_removed_and_told(tmp_path):
    old, younger = aged(tmp_path, INPUTS, 31), aged(tmp_path, {**INPUTS, "seed": 1}, 29)
    own = aged(tmp_path, {**INPUTS, "seed": 2}, 31)
    used, told, _ = begun(tmp_path, {**INPUTS, "seed": 2})
    assert (old.exists(), younger.exists(), used) == (False, True, own), "what is gone on with is used"
    assert "removed" in told[0] and "not used for 30 days" in told[0]


@pytest.mark.parametrize("text", ['{"sta', "[1]", '{"inputs": [1], "facts": [2]}', "{}"])
def test_a_damaged_description_costs_what_it_said_alone(tmp_path, text):
    folder, _, _ = begun(tmp_path, INPUTS, processes=1)
    (folder / DESCRIPTION).write_text(text)
    again, told, work = begun(tmp_path, INPUTS, processes=1)
    assert again == folder and told == [] and work.before == {}


def test_who_waited_for_a_work_that_was_finished_holds_the_one_made_anew(tmp_path, monkeypatch):
    folder = tmp_path / "0f3a"
    folder.mkdir()
    with (folder / LOCK).open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)

        def finish(_seconds):
            shutil.rmtree(folder, ignore_errors=True)
            fcntl.flock(holder, fcntl.LOCK_UN)

        monkeypatch.setattr(work_module.time, "sleep", finish)
        claim(folder, "sft")
    assert in_use(folder)
