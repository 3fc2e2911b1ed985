from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from broker.routing.engine import RouteSet
from broker.routing.files import RouteFiles, TableFile, difference, read
from broker.routing.loader import Site, load_files
from broker.routing.tables import read_table

ROUTE = "route: one\non: [step.*]\nwhere: step.modality == 'CT'\nto:\n  - worklist: list\n"
TABLE = "code,values\nA,1\n"


def route_files(route: str = ROUTE, table: str = TABLE, folder: str = "routes") -> RouteFiles:
    return RouteFiles(
        routes={f"{folder}/one.yaml": route},
        tables={"codes": TableFile(file=f"{folder}/codes.csv", text=table)},
    )


def loaded(files: RouteFiles, env: dict[str, str] | None = None) -> RouteSet:
    tables = {name: read_table(name, t.text, t.file) for name, t in files.tables.items()}
    return load_files(files.routes, Site(destinations={"list": "worklist"}, tables=tables, env=env or {}))


def test_a_folder_is_read_as_it_stands_and_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(b"\xef\xbb\xbfroute: b\r\n")
    (tmp_path / "a.yaml").write_bytes(b"route: \xff")
    (tmp_path / "codes.csv").write_text(TABLE, encoding="utf-8")
    tables = {
        "codes": (tmp_path / "codes.csv", "config/codes.csv"),
        "none": (tmp_path / "none.csv", "config/none.csv"),
    }

    files = read(tmp_path, tables, shown_as="routes")

    assert files.routes == {"routes/b.yaml": "\ufeffroute: b\r\n"}
    assert files.tables == {"codes": TableFile(file="config/codes.csv", text=TABLE)}
    assert [(f.file, f.line, f.column) for f in files.unread] == [
        ("routes/a.yaml", 1, 8),
        ("config/none.csv", 1, 1),
    ]


@given(st.dictionaries(st.text(), st.text()), st.dictionaries(st.text(), st.tuples(st.text(), st.text())))
def test_what_is_stored_is_what_was_read(routes: dict[str, str], tables: dict[str, tuple[str, str]]) -> None:
    files = RouteFiles(routes=routes, tables={n: TableFile(file=f, text=t) for n, (f, t) in tables.items()})

    body = files.to_json()

    assert RouteFiles.from_json(body) == files
    assert body.isascii(), "every engine keeps it as it is"
    assert "\0" not in body


def test_the_version_is_of_what_decides_and_not_of_where_it_stands() -> None:
    first = loaded(route_files())

    assert loaded(route_files(folder="/somewhere/else")).version == first.version
    assert loaded(route_files(route=ROUTE.replace("CT", "MR"))).version != first.version
    assert loaded(route_files(table=TABLE + "B,2\n")).version != first.version, "a table decides outputs too"


def test_shared_blocks_are_a_part_of_the_set(tmp_path: Path) -> None:
    route = ROUTE.replace("worklist: list", "worklist: list\n    use: [station]")
    (tmp_path / "one.yaml").write_text(route, encoding="utf-8")
    block = tmp_path / "_shared" / "one.yaml"
    block.parent.mkdir()
    block.write_text("station: { set: { ScheduledStationAETitle: CT1 } }\n", encoding="utf-8")
    first = read(tmp_path, {}, shown_as="config/routes")
    block.write_text("station: { set: { ScheduledStationAETitle: CT2 } }\n", encoding="utf-8")
    second = read(tmp_path, {}, shown_as="config/routes")

    assert list(first.texts()) == ["routes/one.yaml", "routes/_shared/one.yaml"]
    assert loaded(RouteFiles.from_json(first.to_json()))["one"].targets[0].set[
        "ScheduledStationAETitle"
    ].place == ("config/routes/_shared/one.yaml:1")
    assert loaded(first).version != loaded(second).version


def test_the_version_is_of_what_the_environment_says_too() -> None:
    files = route_files(route=ROUTE + "enabled: ${env:ON:-true}\n")

    assert loaded(files).version != loaded(files, {"ON": "false"}).version


def test_a_table_is_read_as_its_name_says() -> None:
    files = RouteFiles(
        routes={},
        tables={"codes": TableFile(file="config/codes.yaml", text="rows: [{ code: A, values: [1, 2] }]")},
    )

    assert loaded(RouteFiles.from_json(files.to_json())).tables["codes"].find(("A",), "20260101000000") == (
        "1",
        "2",
    )
    assert list(files.texts()) == ["tables/codes.yaml"]


def test_a_difference_is_told_file_by_file_wherever_the_folders_stand() -> None:
    before, after = route_files(folder="old"), route_files(route=ROUTE.replace("CT", "MR"), folder="new")

    assert list(difference(before, route_files(folder="new"))) == []
    assert list(difference(before, after)) == [
        "--- routes/one.yaml",
        "+++ routes/one.yaml",
        "@@ -1,5 +1,5 @@",
        " route: one",
        " on: [step.*]",
        "-where: step.modality == 'CT'",
        "+where: step.modality == 'MR'",
        " to:",
        "   - worklist: list",
    ]
    gone = list(difference(before, RouteFiles(routes={}, tables=before.tables)))
    assert gone[:2] == ["--- routes/one.yaml", "+++ /dev/null"]
