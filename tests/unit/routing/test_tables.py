"""Code tables: several values, first known key, every mistake of a file at once."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ConfigError
from broker.routing.tables import load_table

SHIPPED = Path(__file__).parents[3] / "config" / "stations.csv"


def write(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_values_and_places(tmp_path: Path) -> None:
    table = load_table(
        "t", write(tmp_path, "# codes\ncode,values,name\nA, 1 | 2 ,x\na,3\n"), shown_as="t.csv"
    )

    assert table.find(("B", "A"), "") == ("1", "2")
    assert table.find(("a",), "") == ("3",)
    assert table.find(("B",), "") is None
    assert table.find((), "") is None
    assert (table.place("a"), table.place("B")) == ("t.csv:4", "t.csv")


def test_the_time_of_the_event_decides_which_row_holds(tmp_path: Path) -> None:
    text = (
        "code,values,from,to\nA,old,,2026-04-01\n"
        "A,new,2026-04-01,2026-05-01T06:00+02:00\nA,last,2026-05-01T04:00Z,\n"
    )
    table = load_table("t", write(tmp_path, text), shown_as="t.csv")

    assert table.find(("A",), "20260331235959") == ("old",)
    assert table.find(("A",), "20260401000000") == ("new",)
    assert table.find(("A",), "20260501035959") == ("new",)
    assert table.find(("A",), "20260501040000") == ("last",)
    assert (table.place("A", "20260401000000"), table.place("A", "20260601000000")) == ("t.csv:3", "t.csv:4")


def test_a_code_that_holds_no_more_is_not_known(tmp_path: Path) -> None:
    table = load_table("t", write(tmp_path, "code,values,to\nA,x,2026-04-01\n"))

    assert table.find(("A",), "20260401000000") is None
    assert table.place("A", "20260401000000").endswith(":2"), "the row that did is still named"


def test_faults_of_periods(tmp_path: Path) -> None:
    text = (
        "code,values,from,to\nA,x,2026-13-01,\nB,x,2026-04-01,2026-04-01\nC,x,,2026-04-02\nC,y,2026-04-01,\n"
        "D,x,2026-04-01T06:00,\nE,x,,\nE,y,,2026-01-01\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_table("t", write(tmp_path, text), shown_as="t.csv")

    neither = "must be a day (2026-04-01) or a time with its offset (2026-04-01T06:00+02:00)"
    assert [str(fault) for fault in caught.value.faults] == [
        "t.csv:2:1: 'from' is a day or a time that does not exist.",
        "t.csv:3:1: 'to' is not after 'from'.",
        "t.csv:5:1: the code 'C' stands here twice for the same time; first in line 4.",
        f"t.csv:6:1: 'from' {neither}.",
        "t.csv:8:1: the code 'E' stands here twice for the same time; first in line 7.",
    ]


_DAYS = st.sampled_from(["", "2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01"])


@given(st.lists(st.tuples(_DAYS, _DAYS), max_size=4))
def test_whatever_is_accepted_has_one_row_at_any_time(periods: list[tuple[str, str]]) -> None:
    with TemporaryDirectory() as folder:
        rows = "".join(f"A,v{n},{start},{end}\n" for n, (start, end) in enumerate(periods))
        try:
            table = load_table("t", write(Path(folder), f"code,values,from,to\n{rows}"))
        except ConfigError:
            return
    for at in ("20251231", "20260101", "20260115", "20260201", "20260301", "20260401"):
        assert sum(row.holds(f"{at}000000") for row in table.rows.get("A", ())) <= 1


YAML = """\
rows:
  - { code: OYE, aets: [FUNDUS1, OCT1], name: Øyepoliklinikken, to: 2026-04-01 }
  - code: OYE
    aets: OCT1
    from: 2026-04-01
  - { code: 0101, aets: A1 }
"""


def test_a_table_in_yaml_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(YAML, encoding="utf-8")
    table = load_table("t", path, shown_as="t.yaml")

    assert table.find(("OYE",), "20260331000000") == ("FUNDUS1", "OCT1")
    assert table.find(("OYE",), "20260401000000") == ("OCT1",)
    assert table.find(("0101",), "") == ("A1",), "text keeps its zero"
    assert table.place("OYE", "20260401000000") == "t.yaml:3"
    assert table.rows["OYE"][0].about == "Øyepoliklinikken"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("aets: OCT1", "aets: O\\1", "t.yaml:3:1: AE: no backslash inside a value."),
        (
            "from: 2026-04-01",
            "frm: 2026-04-01",
            "t.yaml:5:5: $.rows[1].frm: unknown key 'frm'. Did you mean 'from'?",
        ),
        (
            "from: 2026-04-01",
            "from: 2026-03-01",
            "t.yaml:3:1: the code 'OYE' stands here twice for the same time;",
        ),
        ("code: 0101, ", "", "t.yaml:6:5: $.rows[2]: 'code' is missing."),
    ],
)
def test_faults_of_a_table_in_yaml(tmp_path: Path, old: str, new: str, fault: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(YAML.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_table("t", path, shown_as="t.yaml")

    assert [str(found)[: len(fault)] for found in caught.value.faults] == [fault]


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


def test_the_shipped_stations() -> None:
    table = load_table("stations", SHIPPED)
    aets = {aet for rows in table.rows.values() for row in rows for aet in row.values}

    assert sorted(aets) == [
        "CT1_STO",
        "CT2_STO",
        "DX1_STO",
        "ES1_STO",
        "FOTO1",
        "FUNDUS1",
        "MG1_STO",
        "MR1_STO",
        "NM1_STO",
        "OCT1",
        "US1_STO",
        "XA1_STO",
    ]
    assert table.find(("modality:CT",), "") == ("CT1_STO", "CT2_STO")
