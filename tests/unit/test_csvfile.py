from __future__ import annotations

from pathlib import Path

import pytest

from broker import csvfile
from broker.csvfile import Row
from broker.errors import ConfigError
from tests.support.faults import faults


def rows(tmp_path: Path, content: str | bytes) -> list[Row]:
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return csvfile.read(path, required=("code", "aets"), optional=("name",), name="config/table.csv")


def test_rows_know_their_line(tmp_path: Path) -> None:
    text = "# comment\n\ncode,aets,name\nR1,CT1|CT2,Rom 1\n# another\n  \nR2 , MR1 ,\n"

    assert rows(tmp_path, text) == [
        Row(line=4, cells={"code": "R1", "aets": "CT1|CT2", "name": "Rom 1"}),
        Row(line=7, cells={"code": "R2", "aets": "MR1", "name": ""}),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_of_any_editor_are_read(tmp_path: Path, end: str, mark: str) -> None:
    (row,) = rows(tmp_path, f"{mark}code,aets{end}Ø1,CT1{end}")

    assert row == Row(line=2, cells={"code": "Ø1", "aets": "CT1"})


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ('"a,b",c,', ["a,b", "c", ""]),
        ('"say ""a""",c,', ['say "a"', "c", ""]),
        ("a,c", ["a", "c", ""]),
        ("#a,c", None),
        ("a,#c,", ["a", "#c", ""]),
        ("a\u0085b,c\u2028d,", ["a\u0085b", "c\u2028d", ""]),
    ],
)
def test_cells(tmp_path: Path, line: str, cells: list[str] | None) -> None:
    found = rows(tmp_path, f"code,aets,name\n{line}\n")

    assert [list(row.cells.values()) for row in found] == ([] if cells is None else [cells])


def test_columns_stand_in_any_order_and_optional_ones_may_be_left_out(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "aets,code\nCT1,R1\n")

    assert row.cells == {"aets": "CT1", "code": "R1"}


def test_every_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    text = '# stations\ncode,aetz,name,name\nR1,CT1\nR2,CT1,x,y,z\n"R3,CT1\n"R4"x,CT1\n'

    assert faults(rows, tmp_path, text) == [
        "config/table.csv:2:1: no column 'aetz' is known here. Did you mean 'aets'?",
        "config/table.csv:2:1: the column 'aets' is missing.",
        "config/table.csv:2:1: the column 'name' stands twice.",
        "config/table.csv:4:1: 5 cells stand under 4 columns.",
        "config/table.csv:5:1: the quotes in this row do not fit together.",
        "config/table.csv:6:1: the quotes in this row do not fit together.",
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "\ufeff"])
def test_a_file_without_a_header_is_refused(tmp_path: Path, text: str) -> None:
    assert faults(rows, tmp_path, text) == ["config/table.csv:1:1: has no header row."]


def test_bytes_that_are_not_utf_8_are_named_by_their_place(tmp_path: Path) -> None:
    assert faults(rows, tmp_path, b"code,aets\nR1,CT1\nR\xf8m,CT2\n") == [
        "config/table.csv:3:2: this is not UTF-8."
    ]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.csv:1:1: cannot be read: No such file"):
        csvfile.read(tmp_path / "nowhere.csv", required=("code",))


def test_a_mistake_in_a_row_is_placed_there() -> None:
    row = Row(line=7, cells={})

    assert str(csvfile.fault(Path("config/x.csv"), row, "twice.", "Take one out.")) == (
        "config/x.csv:7:1: twice. Take one out."
    )
