"""What differs between two sets as written: nothing for the same ones, one part for one line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.plan.changes import files_between, routes_between, rows_between
from broker.plan.waiting import becomes
from broker.routing.engine import RouteSet
from broker.routing.files import RouteFiles, TableFile
from broker.routing.loader import Site, load_files
from broker.routing.tables import Row, Table

ROUTE = """\
route: one
on: [step.*]
where: step.modality == 'CT'
to:
  - worklist: list
    set: { StationName: "${step.modality}" }
"""
names = st.text("abc", min_size=1, max_size=2)
rows = st.dictionaries(
    names,
    st.lists(names, min_size=1, max_size=2).map(lambda v: (Row(values=tuple(v), line=len(v)),)),
    max_size=4,
)


def loaded(*texts: str) -> RouteSet:
    files = {f"routes/{number}.yaml": text for number, text in enumerate(texts)}
    return load_files(files, Site(destinations={"list": "worklist", "epj": "hl7"}, tables={}, env={}))


def table(found: dict[str, tuple[Row, ...]]) -> dict[str, Table]:
    return {"t": Table(name="t", file="t.csv", rows=found)}


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("on: [step.*]", "on: [step.scheduled]", ("on",)),
        ("== 'CT'", "== 'MR'", ("where",)),
        ("${step.modality}", "${step.priority}", ("to[0] list StationName",)),
        ("StationName", "StudyID", ("to[0] list StudyID", "to[0] list StationName")),
        ("route: one", "route: one\nenabled: false", ("enabled",)),
        ("route: one", "# a remark\nroute: one", ()),
        ("worklist: list\n    set:", "worklist: list\n    set: # so\n     ", ()),
        ("to:", "on_failure: { park_after: 1h }\nto:", ("on_failure",)),
        (
            "to:",
            "to:\n  - { hl7: epj, send: ORM^O01 }",
            ("to[0] epj", "to[1] list", "to[1] list StationName"),
        ),
    ],
)
def test_a_line_is_told_as_the_part_that_it_changes(old: str, new: str, parts: tuple[str, ...]) -> None:
    found = routes_between(loaded(ROUTE), loaded(ROUTE.replace(old, new)))

    assert {p for route in found for p in route.parts} >= set(parts)
    assert bool(found) == bool(parts)
    assert {route.how for route in found} <= {"changed"}


def test_routes_that_come_and_go() -> None:
    other = ROUTE.replace("route: one", "route: two")

    assert [(r.name, r.how) for r in routes_between(loaded(ROUTE), loaded(other))] == [
        ("two", "added"),
        ("one", "removed"),
    ]
    assert routes_between(loaded(ROUTE, other), loaded(other, ROUTE)) == (), (
        "order alone is told by the files"
    )


@given(rows)
def test_the_same_rows_differ_in_nothing_wherever_they_stand(found: dict[str, tuple[Row, ...]]) -> None:
    moved = {code: tuple(replace(row, line=row.line + 7) for row in some) for code, some in found.items()}

    assert rows_between(table(found), table(moved)) == ()


@given(rows, rows)
def test_every_code_that_says_something_else_is_told(
    one: dict[str, tuple[Row, ...]], two: dict[str, tuple[Row, ...]]
) -> None:
    said = {row.code: row.how for row in rows_between(table(one), table(two))}

    for code in one.keys() | two.keys():
        if code not in one:
            assert said.pop(code) == "added"
        elif code not in two:
            assert said.pop(code) == "removed"
        elif one[code][0].values != two[code][0].values:
            assert said.pop(code) == "changed"
    assert said == {}


def test_a_row_that_holds_at_another_time_is_another_row() -> None:
    one, two = ({"A": (Row(values=("X",), line=2, end=end),)} for end in ("", "20260401000000"))

    (found,) = rows_between(table(one), table(two))
    assert (found.before, found.after) == ("X", "X [… to 20260401000000]")


def test_files_with_a_count_of_lines() -> None:
    before = RouteFiles(
        routes={"routes/a.yaml": "x\n-- y\n"}, tables={"t": TableFile(file="c/t.csv", text="code\n")}
    )
    after = RouteFiles(routes={"routes/a.yaml": "x\n", "routes/b.yaml": "z\n"}, tables={})

    assert [(f.name, f.how, f.size) for f in files_between(before, after)] == [
        ("routes/a.yaml", "changed", "+0 -1"),
        ("routes/b.yaml", "added", "+1 -0"),
        ("tables/t.csv", "removed", "+0 -1"),
    ]
    assert files_between(before, before) == ()


def test_what_becomes_of_deliveries_that_wait() -> None:
    live = loaded(ROUTE)

    assert list(becomes(live, live, "one", "list")) == []
    assert list(becomes(live, live, "long gone", "list")) == [], "nothing changes for what was gone before"
    off = loaded(ROUTE.replace("route: one", "route: one\nenabled: false"))
    assert list(becomes(live, off, "one", "list")) == [
        "the route is switched off; they leave as they were rendered"
    ]
    elsewhere = loaded(
        ROUTE.replace(
            'worklist: list\n    set: { StationName: "${step.modality}" }', "{ hl7: epj, send: ORM^O01 }"
        )
    )
    assert list(becomes(live, elsewhere, "one", "list")) == [
        "the route sends nothing there any more; they leave as they were rendered"
    ]
    patient = loaded(ROUTE + "on_failure: { refusals: 9, max_age: 2h }\n")
    assert list(becomes(live, patient, "one", "list")) == [
        "on_failure.refusals 5 → 9",
        "on_failure.max_age nothing → 7200 s",
    ]
    assert list(becomes(patient, loaded(), "one", "list")) == [
        "the route goes; they leave as they were rendered",
        "on_failure.refusals 9 → 5",
        "on_failure.max_age 7200 s → nothing",
    ]
