"""Files of rows, whole, odd and damaged; the reason is in the id."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.io import json_array
from tasks.core.io.rows import RowsError, read_rows

ITEMS = [{"a": 1, "b": "é\u2028x"}, {"a": [2, {"c": "]}"}]}, 3, "t"]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.json", json.dumps(ITEMS), id="array"),
        pytest.param("a.json", json.dumps(ITEMS, indent=1, ensure_ascii=False), id="array-with-lines"),
        pytest.param("a.json", json.dumps({"results": ITEMS, "final": 1}), id="results-of-an-object"),
        pytest.param("a.json", "\n".join(json.dumps(item) for item in ITEMS), id="lines-named-json"),
        pytest.param("a.json", json.dumps(ITEMS).encode("utf-16"), id="utf-16-array"),
        pytest.param("a.json", b"\xef\xbb\xbf" + json.dumps(ITEMS).encode(), id="array-with-a-bom"),
        pytest.param("a.jsonl", "\n".join(json.dumps(item, ensure_ascii=False) for item in ITEMS), id="lines"),
        pytest.param("a.jsonl", "\r\n".join(json.dumps(item) for item in ITEMS) + "\r\n\r\n", id="windows-lines"),
        pytest.param("a.jsonl", "\n".join(map(json.dumps, ITEMS)).encode("utf-16"), id="utf-16-lines"),
        pytest.param("a.jsonl", "\n".join(map(json.dumps, ITEMS)).encode("utf-16-le"), id="utf-16-without-a-mark"),
        pytest.param("a.jsonl", "\n".join(map(json.dumps, ITEMS)).encode("utf-32"), id="utf-32-lines"),
        pytest.param("a.jsonl", "\ufeff" + "\n".join(map(json.dumps, ITEMS)), id="lines-with-a-bom"),
        pytest.param("a.jsonl", "\n".join("\ufeff" + json.dumps(item) for item in ITEMS), id="joined-files-with-boms"),
        pytest.param(
            "a.jsonl", "\n".join("\ufeff" + json.dumps(i) for i in ITEMS).encode("utf-16-le"), id="joined-utf-16-files"
        ),
    ],
)
@pytest.mark.parametrize("piece", [64, 1 << 20])
def test_every_form_gives_the_same_rows(tmp_path, monkeypatch, name, content, piece):
    path = write(tmp_path / name, content)
    monkeypatch.setattr(json_array, "PIECE", piece)
    assert [(row.row, row.value, row.fault) for row in read_rows(path)] == [
        (i, item, "") for i, item in enumerate(ITEMS)
    ]


HARD = [
    pytest.param([{"a": "}, {"}, {"b": '"},'}, {"c": "\\"}] * 9, id="commas-and-brackets-in-text"),
    pytest.param([{"turns": [{"by": "x"}, {"by": "y"}], "n": i} for i in range(40)], id="objects-in-objects"),
    pytest.param([1, 23, {"a": 1}, 456, [{"a": {}}, {}], None, "}", {}] * 9, id="numbers-that-may-go-on"),
    pytest.param([{"a": i} for i in range(50)] + [[[{"a": 1}]]], id="a-last-one-of-another-kind"),
]


@pytest.mark.parametrize("piece", [16, 100, 1 << 20])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n", ":")])
@pytest.mark.parametrize("items", HARD)
def test_elements_decoded_at_once_are_those_decoded_one_by_one(tmp_path, monkeypatch, items, separators, piece):
    path = write(tmp_path / "a.json", json.dumps(items, separators=separators))
    monkeypatch.setattr(json_array, "PIECE", piece)
    at_once = list(read_rows(path))
    monkeypatch.setattr(json_array.Array, "_several", lambda array: [])
    assert at_once == list(read_rows(path)) == [(i, item, "") for i, item in enumerate(items)]


def test_most_elements_are_decoded_at_once(tmp_path, monkeypatch):
    path = write(tmp_path / "a.json", json.dumps([{"a": i} for i in range(1000)]))
    alone = []
    one = json_array.Array._element
    monkeypatch.setattr(json_array.Array, "_element", lambda array, number: alone.append(number) or one(array, number))
    assert len(list(read_rows(path))) == 1000
    assert alone == [999]


@pytest.mark.parametrize(
    ("broken", "values"),
    [
        pytest.param('[{"a": 1}, {"a" 0}, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="no-colon"),
        pytest.param('[{"a": 1}, {"a": 2}, {"a": 3}, {"a" 0}]', [1, 2, 3, None], id="no-colon-in-the-last"),
        pytest.param('[{"a": 1}, {"a": "0}, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="a-quote-is-missing"),
        pytest.param('[{"a": 1}, {"a": 0, "b": "x}, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="a-quote-farther-on"),
        pytest.param('[{"a": 1}, {"a": "say "no" to"}, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="quotes-not-escaped"),
        pytest.param('[{"a": 1}, {"a": 0, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="a-bracket-is-missing"),
        pytest.param('[{"a": 1}, {"a": 0}}, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="a-bracket-too-many"),
        pytest.param('[{"a": 1}, {"a": NULL}, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="a-word-that-is-no-JSON"),
        pytest.param('[{"a": 1}, {"a": 0,}, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="a-comma-at-its-end"),
        pytest.param('[{"a": 1}, {\'a\': 0}, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="spelled-as-python"),
        pytest.param('[{"a": 1}, {"a": "x\ny"}, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="a-line-end-in-a-text"),
        pytest.param('[{"a": 1},, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="two-commas"),
        pytest.param('[{"a": 1}, x, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="a-word-between"),
        pytest.param('[{"a": 1}, {"a": 0} "b": 5}, {"a": 2}, {"a": 3}]', [1, None, 2, 3], id="closed-too-early"),
        pytest.param('[{"a": 1} {"a": 2}\n{"a": 3}]', [1, 2, 3], id="commas-are-missing: nothing is lost"),
        pytest.param('[{"a": 1}, {"a": 2}, {"a": 3}, ]', [1, 2, 3], id="a-comma-behind-the-last: nothing is lost"),
    ],
)
@pytest.mark.parametrize("piece", [8, 1 << 20])
def test_where_an_array_is_broken_costs_an_element(tmp_path, monkeypatch, broken, values, piece):
    path = write(tmp_path / "a.json", broken)
    monkeypatch.setattr(json_array, "PIECE", piece)
    read = list(read_rows(path))
    assert [row.value and row.value["a"] for row in read] == values
    faults = [row for row in read if row.fault]
    assert [row.row for row in faults] == [place for place, value in enumerate(values) if value is None]
    assert all(row.fault.startswith(f"{path} element {row.row}: not JSON: ") for row in faults)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param('[{"a": 1}, {"a": 2}], [{"a": 3}, {"a": 4}]', id="a-second-array"),
        pytest.param('[{"a": 1}, {"a": 2}, {"a" 3}, {"a": 4}', id="no-end"),
        pytest.param('[{"a": 1}, {"a": 2}, {"a": [3, 4', id="torn"),
        pytest.param('[{"a": 1}, {"a": 2},, 3]', id="nothing-that-tells-of-a-next-one"),
    ],
)
def test_a_broken_array_is_told_alike_at_once_and_one_by_one(tmp_path, monkeypatch, broken):
    path = write(tmp_path / "a.json", broken)
    outcomes = []
    for _ in range(2):
        given = []
        with pytest.raises(RowsError) as error:
            given += read_rows(path)
        outcomes.append((given, str(error.value)))
        monkeypatch.setattr(json_array.Array, "_several", lambda array: [])
    assert outcomes[0] == outcomes[1]


def test_parquet(tmp_path):
    pq.write_table(pa.Table.from_pylist([{"a": 1}, {"a": 2}]), tmp_path / "a.parquet")
    assert [row.value for row in read_rows(tmp_path / "a.parquet")] == [{"a": 1}, {"a": 2}]


def test_a_byte_that_is_not_utf_8_costs_its_element(tmp_path):
    read = list(read_rows(write(tmp_path / "a.json", b'[{"a": "\xc3\xa9"}, {"a": "caf\xe9"}, {"a": 3}]')))
    assert [row.value for row in read] == [{"a": "é"}, {"a": "caf\udce9"}, {"a": 3}]


TORN = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\3\0\0\0\4\0\0\0"), pa.py_buffer(b"bad\xe9"))


@pytest.mark.parametrize(
    ("column", "words"),
    [
        pytest.param(TORN, "utf-8", id="text-that-is-not-utf-8"),
        pytest.param(pa.array([0, 2**30], pa.date32()), "days", id="a-date-after-the-year-9999"),
    ],
)
def test_a_value_that_python_does_not_know_costs_its_parquet_row(tmp_path, column, words):
    pq.write_table(pa.table({"a": [1, 2], "b": column}), tmp_path / "a.parquet")
    first, second = read_rows(tmp_path / "a.parquet")
    assert first.value["a"] == 1 and not first.fault
    assert second.value is None and second.fault.startswith(f"{tmp_path}/a.parquet row 1: ") and words in second.fault


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        pytest.param(b"[" * 100_000, "line 2: not JSON: nested too deep", id="100,000-brackets"),
        pytest.param(b'{"a": "caf\xe9"}', "line 2: not JSON: 'utf-8' codec", id="latin-1"),
        pytest.param(b'{"a": ', "line 2: not JSON", id="torn"),
        pytest.param('{"a": 1}'.encode("utf-16-le"), "line 2: not JSON", id="a-utf-16-line-among-others"),
        pytest.param(b"1" * 5000, "line 2: not JSON", id="a-number-of-too-many-digits"),
        pytest.param(b'{"a": 1, "b": [{"c": 1, "c": 2}]}', "line 2: not JSON: key 'c' comes twice", id="a-key-twice"),
    ],
)
def test_a_bad_line_costs_itself(tmp_path, bad, words):
    path = write(tmp_path / "a.jsonl", b'{"a": 1}\n' + bad + b'\n{"a": 3}\n')
    read = list(read_rows(path))
    assert [row.value for row in read] == [{"a": 1}, None, {"a": 3}]
    assert read[1].fault.startswith(f"{path} {words}")


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("[" * 100_000 + "]" * 100_000, id="100,000-brackets"),
        pytest.param('{"a": ' + "1" * 5000 + ', "b": "]}"}', id="a-number-of-too-many-digits"),
        pytest.param('{"a": 1, "b": "]}", "a": 2}', id="a-key-twice"),
        pytest.param('{"a": [{"b": 1, "b": 2}, "]}"]}', id="a-key-twice-within"),
    ],
)
@pytest.mark.parametrize("piece", [8, 1 << 20])
def test_a_bad_element_costs_itself(tmp_path, monkeypatch, bad, piece):
    monkeypatch.setattr(json_array, "PIECE", piece)
    read = list(read_rows(write(tmp_path / "a.json", f'[{{"a": 1}}, {bad}, {{"a": 3}}]')))
    assert [row.value for row in read] == [{"a": 1}, None, {"a": 3}]
    assert "element 1: not JSON" in read[1].fault


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        pytest.param("a.json", "[1,", "breaks off|Expecting value", id="torn-array"),
        pytest.param("a.json", "[1] [2]", "more behind", id="two-arrays"),
        pytest.param("a.json", "[1 2]", "',' is missing", id="no-comma"),
        pytest.param("a.json", '{"a": 1}', "not a JSON array but dict", id="one-object"),
        pytest.param("a.json", "[" * 100_000, "breaks off|nested|not JSON", id="brackets-alone"),
        pytest.param("a.json", "", "not JSON", id="empty"),
        pytest.param("a.json", b'[{"a": "\xe9"}]'.replace(b"{", b"\xe9"), "not JSON", id="latin-1-outside-of-texts"),
        pytest.param("a.parquet", "text", "not parquet", id="no-parquet"),
        pytest.param("a.csv", "", "unknown suffix '.csv'", id="suffix"),
    ],
)
def test_a_file_that_is_not_of_its_format(tmp_path, name, content, words):
    with pytest.raises(RowsError, match=words):
        list(read_rows(write(tmp_path / name, content)))


def test_no_such_file(tmp_path):
    with pytest.raises(RowsError, match="no such annotation file"):
        read_rows(tmp_path / "a.json")


@pytest.mark.parametrize("piece", [1, 2, 7])
def test_pieces_change_nothing(tmp_path, monkeypatch, piece):
    items = [*ITEMS, 12345, -1.5e10, True, None, '\\"]']
    path = write(tmp_path / "a.json", json.dumps(items))
    monkeypatch.setattr(json_array, "PIECE", piece)
    assert [row.value for row in read_rows(path)] == items
