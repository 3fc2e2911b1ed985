"""What is put in is there, and nothing else has changed."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.create.splice import WIDTH, Sheet, at_end_of, into_list
from broker.errors import ConfigError
from broker.yamlfile.reading import loads

PEERS = ("dicom", "peers")


def put(text: str, value: str = "NEW") -> str:
    return into_list(loads(text, "x.yaml", env={}), PEERS, value, {})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("dicom:\n  peers: [A, B]  # known\n", "dicom:\n  peers: [A, B, NEW]  # known\n"),
        ("dicom:\n  peers: [ 'A', \"B\" ]\n", "dicom:\n  peers: [ 'A', \"B\", NEW ]\n"),
        ("dicom:\n  peers: []\n", "dicom:\n  peers: [NEW]\n"),
        ("dicom: { peers: [A] }\n", "dicom: { peers: [A, NEW] }\n"),
        ("dicom:\n  peers: [\n    A,  # one\n    B   # two\n  ]\n",
         "dicom:\n  peers: [\n    A,  # one\n    B, NEW   # two\n  ]\n"),
        ("dicom:\n  peers:\n    - A  # one\n    - B  # two\n  port: 1\n",
         "dicom:\n  peers:\n    - A  # one\n    - B  # two\n    - NEW\n  port: 1\n"),
        ("dicom:\n  peers:\n  - A", "dicom:\n  peers:\n  - A\n  - NEW"),
        ("# top\ndicom:  # one\n  port: 1\n", "# top\ndicom:  # one\n  peers: [NEW]\n  port: 1\n"),
        ("dicom:\n  peers: ['it''s', \"a\\\"b\"]\n", "dicom:\n  peers: ['it''s', \"a\\\"b\", NEW]\n"),
    ],
)  # fmt: skip
def test_an_item_is_put_at_the_end_of_a_list(before: str, after: str) -> None:
    assert put(before) == after


def test_a_long_list_goes_on_in_the_next_line() -> None:
    items = ", ".join(f"STATION{number:02}" for number in range(10))
    text = put(f"dicom:\n  peers: [{items}]  # known\n", "STATION10")

    assert max(len(line) for line in text.splitlines()) <= WIDTH
    assert text.splitlines()[2] == "          STATION10]  # known"
    assert put(text, "STATION11").splitlines()[2] == "          STATION10, STATION11]  # known"


@pytest.mark.parametrize("text", ["dicom:\n  peers: ${env:PEERS:-A}\n", "dicom: { port: 1 }\n", "site: A\n"])
def test_what_cannot_be_edited_safely_is_left_to_a_person(text: str) -> None:
    with pytest.raises(ConfigError, match="by hand"):
        put(text)


@given(
    st.lists(st.from_regex(r"[A-Z][A-Z0-9_]{0,15}", fullmatch=True), max_size=30, unique=True),
    st.sampled_from(["[{}]", "[ {} ]  # note", "[{},]"]),
    st.booleans(),
)
def test_any_list_keeps_its_items_and_every_other_line(items: list[str], style: str, block: bool) -> None:
    written = (
        "".join(f"\n    - {item}  # {item}" for item in items)
        if block and items
        else " " + style.format(", ".join(items))
    )
    if not items and style == "[{},]":
        written = " []"
    text = f"# head\ndicom:\n  port: 1   # port\n  peers:{written}\nhttp: {{ port: 2 }}\n"

    changed = into_list(loads(text, "x.yaml", env={}), PEERS, "new", {})

    assert loads(changed, "x.yaml", env={}).get(PEERS) == (*items, "new")
    gone = [line for line in difflib.ndiff(text.splitlines(), changed.splitlines()) if line.startswith("- ")]
    assert len(gone) <= 1


TESTS = "route: a\ntests:\n  - name: one\n    given: {}\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TESTS, TESTS + "\n  - new\n"),
        (TESTS + "\n\n", TESTS + "\n  - new\n\n\n"),
        (TESTS.rstrip("\n"), TESTS + "\n  - new\n"),
        (TESTS + "\n# about on\non: [a]\n", TESTS + "\n  - new\n\n# about on\non: [a]\n"),
        ("route: a\n", "route: a\n\ntests:\n  - new\n"),
    ],
)
def test_lines_are_put_at_the_end_of_a_block(before: str, after: str) -> None:
    assert at_end_of(loads(before, "x.yaml", env={}), "tests", "  - new\n") == after


CSV = '# about\ncode,aets,name\nA,AE1,\n\n# rest\nB,AE2|AE3,"x, y"\n'


def test_a_sheet_knows_rows_by_line_and_column() -> None:
    sheet = Sheet.parse(CSV, "t.csv")

    assert sheet.header == ("code", "aets", "name")
    assert sheet.rows == (
        (3, {"code": "A", "aets": "AE1", "name": ""}),
        (6, {"code": "B", "aets": "AE2|AE3", "name": "x, y"}),
    )
    assert sheet.place(6) == "t.csv:6"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_row_is_put_behind_a_line_in_the_columns_of_the_file(end: str) -> None:
    text = CSV.replace("\n", end)

    changed = Sheet.parse(text, "t.csv").with_row({"name": "1, 2", "code": "N", "other": "x"}, after=3)

    assert changed == text.replace(f"A,AE1,{end}", f'A,AE1,{end}N,,"1, 2"{end}')


def test_a_row_is_put_behind_a_last_line_without_its_end() -> None:
    assert Sheet.parse("code\nA", "t.csv").with_row({"code": "B"}, after=2) == "code\nA\nB\n"


def test_a_sheet_without_a_header_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"t\.csv:1:1: has no header row"):
        Sheet.parse("# nothing\n", "t.csv")
