"""Keys and digests follow contents, not places."""

import pytest

from tasks.core.io.work import folder_digest, work_key


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


def test_a_key_does_not_depend_on_the_order_of_its_inputs():
    assert work_key(a=1, b={"x": 1, "y": 2}) == work_key(b={"y": 2, "x": 1}, a=1) != work_key(a=2, b={"x": 1, "y": 2})
