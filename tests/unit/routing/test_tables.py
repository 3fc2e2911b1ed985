"""Code tables: several values, first known key, every mistake of a file at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.routing.tables import load_table, load_tables

SHIPPED = Path(__file__).parents[3] / "config" / "stations.csv"


def write(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_values_and_places(tmp_path: Path) -> None:
    table = load_table(
        "t", write(tmp_path, "# codes\ncode,values,name\nA, 1 | 2 ,x\na,3\n"), shown_as="t.csv"
    )

    assert table.find(("B", "A")) == ("1", "2")
    assert table.find(("a",)) == ("3",)
    assert table.find(("B",)) is None
    assert table.find(()) is None
    assert (table.place("a"), table.place("B")) == ("t.csv:4", "t.csv")


def test_every_fault_at_once(tmp_path: Path) -> None:
    text = "code,aets\nA,X2345678901234567\nB,\n,X\nA,Y\nC,X\\Y\n"
    with pytest.raises(ConfigError) as caught:
        load_table("t", write(tmp_path, text), shown_as="t.csv")

    assert [str(fault) for fault in caught.value.faults] == [
        "t.csv:2:1: AE: at most 16 characters.",
        "t.csv:3:1: 'aets' is empty.",
        "t.csv:4:1: 'code' is empty.",
        "t.csv:5:1: the code 'A' stands here twice; first in line 2.",
        "t.csv:6:1: AE: no backslash inside a value.",
    ]


def test_every_fault_of_every_table(tmp_path: Path) -> None:
    bad = write(tmp_path, "cod,values\n")
    with pytest.raises(ConfigError) as caught:
        load_tables({"a": bad, "b": tmp_path / "none.csv", "stations": SHIPPED})

    assert len({fault.file for fault in caught.value.faults}) == 2


def test_the_shipped_stations() -> None:
    table = load_table("stations", SHIPPED)
    aets = {aet for row in table.rows.values() for aet in row.values}

    assert sorted(aets) == [
        "CT1_STO",
        "CT2_STO",
        "DX1_STO",
        "ES1_STO",
        "FUNDUS1",
        "MG1_STO",
        "MR1_STO",
        "NM1_STO",
        "OCT1",
        "US1_STO",
        "XA1_STO",
    ]
    assert table.find(("modality:CT",)) == ("CT1_STO", "CT2_STO")
