"""Whatever stands in a route file: it is read, or refused with a place. No crash, no escape, no endless work."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.errors import ConfigError
from broker.routing.files import SHARED, read_folder
from broker.routing.lint import lint
from broker.routing.loader import Site, load_files
from broker.routing.rules import RULES
from tests.unit.routing.conftest import AROUND, DESTINATIONS, TABLES

HOUSE = Path(__file__).parents[3]
SITE = Site(destinations=DESTINATIONS, tables=TABLES, sources=["pas", "orders", "images"])
SHIPPED = [path.read_text(encoding="utf-8") for path in sorted((HOUSE / "routes").glob("*.yaml"))]
BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def read(route: bytes, shared: bytes = b"") -> None:
    """Loads and lints; anything but a `ConfigError` with known codes and places inside the file is a failure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "r.yaml").write_bytes(route)
        if shared:
            (folder / SHARED).mkdir()
            (folder / SHARED / "s.yaml").write_bytes(shared)
        texts, unread = read_folder(folder, "routes")
        try:
            faults = lint(load_files(texts, SITE, folder=folder, unread=unread), AROUND).faults
        except ConfigError as error:
            faults = error.faults
            assert faults
    for fault in faults:
        assert fault.code in RULES
        raw = shared if fault.file.endswith("s.yaml") else route
        assert 1 <= fault.line <= raw.count(b"\n") + raw.count(b"\r") + len(raw.split("\u2028".encode())) + 1
        assert fault.column >= 1
        assert fault.end == 0 or fault.end > fault.column


@given(st.binary(max_size=200))
@example(b"\xff\xfe\x00")
@example(b"[" * 50_000)
@example(b"a: {" * 1_000)
@example(BOMB.encode())
@example(b"? [a]\n: b\n")
@example(b"a: !!python/object/apply:os.system [ls]\n")
@example(b"--- a\n--- b\n")
def test_any_bytes(raw: bytes) -> None:
    read(raw)
    read(b"route: r\non: [step.*]\nto: [{ worklist: worklist, use: [a] }]\n", raw or b"a")


KEYS = (
    *(
        "route",
        "on",
        "to",
        "where",
        "use",
        "set",
        "tests",
        "given",
        "expect",
        "on_failure",
        "retry",
        "worklist",
    ),
    *("hl7", "dicom", "send", "enabled", "first", "source", "PatientID", "PID-3", "step.*", "ORM^O01", "epj"),
    *(
        "${ step.modality }",
        "${env:X}",
        "${env:X:-a}",
        "worklist",
        "a",
        "1s",
        "0",
        "true",
        "~",
        "${",
        "x'\"\\",
    ),
)
scalars = st.sampled_from(KEYS).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
) | (st.sampled_from([key for key in KEYS if key.isalnum()]))
flows = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(scalars, inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(("route", "on", "to", "where", "use", "set", "tests", "on_failure")), flows
    ),
    flows,
)
def test_yaml_of_the_languages_own_words(lines: dict[str, str], block: str) -> None:
    whole = {"route": "r", "on": "[step.*]", "to": "[{ worklist: worklist, use: [a] }]", **lines}
    read("".join(f"{key}: {value}\n" for key, value in whole.items()).encode(), f"a: {block}\n".encode())


@given(st.sampled_from(SHIPPED), st.data())
def test_a_shipped_route_with_something_cut_or_put_in(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    gone = data.draw(st.integers(0, 20))
    new = data.draw(st.text(alphabet=" \n\t:-[]{}#'\"$&*!|>%@`,?ab\u2028\x00", max_size=4))

    read((text[:at] + new + text[at + gone :]).encode())


@given(st.text(alphabet="stepmodality.'\"()[]&|!=<>?:+, 019$€{}\\\n", max_size=60))
def test_any_expression(text: str) -> None:
    quoted = text.replace("'", "''").replace("\n", "\n\n")
    read(f"route: r\non: [step.*]\nwhere: '{quoted}'\nto: [{{ worklist: worklist }}]\n".encode())


@pytest.mark.parametrize("sign", ["(", "!", "[", "site == (", "true ? ", "first("])
def test_no_nesting_exhausts_anything(sign: str) -> None:
    read(f'route: r\non: [step.*]\nwhere: "{sign * 400}"\nto: [{{ worklist: worklist }}]\n'.encode())
