"""The shipped routes, their samples, and the schema that editors read. Their own tests: `broker test`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from broker import settings
from broker.contact import KEYWORDS
from broker.hl7.er7 import Message
from broker.routing import schema
from broker.routing.engine import RouteSet
from broker.routing.lint import lint
from broker.runtime.configured import configure

HOUSE = Path(__file__).parents[3]
SAMPLES = sorted((HOUSE / "routes" / "tests").glob("*.hl7"))


@pytest.fixture(scope="module")
def shipped() -> RouteSet:
    env = {"BROKER_PACS_HL7_PORT": "2580", "BROKER_MPPS_HOST": "127.0.0.1", "BROKER_MPPS_PORT": "2581"}
    env["BROKER_PACS_COMMITMENT"] = "true"
    return configure(settings.load(HOUSE / "config" / "broker.yaml", env=env), env).routes


def test_they_load_without_a_warning(shipped: RouteSet) -> None:
    assert lint(shipped).faults == ()
    assert {route.name for route in shipped.routes} == {
        "adt-to-epj",
        "adt-to-pacs",
        "commitment-to-devices",
        "commitment-to-pacs",
        "instances-to-pacs",
        "mpps-forward",
        "order-status-to-epj",
        "rejections-to-epj",
        "results-to-epj",
        "steps-to-worklist",
    }
    assert all(route.enabled for route in shipped.routes)


def test_each_file_is_named_after_its_route(shipped: RouteSet) -> None:
    assert all(Path(route.file).stem == route.name for route in shipped.routes)


def test_only_the_epj_gets_contact_data(shipped: RouteSet) -> None:
    targets = [target for route in shipped.routes for target in route.targets]

    assert {t.destination for t in targets if t.purpose == "contact"} == {"epj"}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_whole_and_used(sample: Path, shipped: RouteSet) -> None:
    lines = [line for line in sample.read_text(encoding="utf-8").splitlines() if line]
    message = Message.parse(sample.read_bytes())

    assert [segment.name for segment in message] == [line[:3] for line in lines]
    assert message["PID-3(1).4.2"].startswith("2.16.578.1.12.4.1.4.")
    assert message["MSH-11"] == "T"
    tests = [test for route in shipped.routes for test in route.tests.values()]
    used = {given.file for test in tests for given in (*test.before, test.given)}
    assert f"tests/{sample.name}" in used


def test_control_ids_are_unique() -> None:
    assert len({Message.parse(path.read_bytes())["MSH-10"] for path in SAMPLES}) == len(SAMPLES)


@pytest.mark.parametrize(
    ("name", "text"),
    [("route", schema.schema_text), ("shared", schema.shared_schema_text)],
    ids=("route", "shared"),
)
def test_the_schema_is_fresh(name: str, text: Callable[[], str]) -> None:
    path = HOUSE / "config" / f"{name}.schema.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text(), encoding="utf-8")

    assert path.read_text(encoding="utf-8") == text(), "run this test with UPDATE_GOLDEN=1"


def test_the_page_names_every_key_function_and_field() -> None:
    page = schema.markdown()

    for name in (
        "`on_failure`",
        "`lookup(table, code[, default])`",
        "`text.startsWith(text)`",
        "`step.station_aets`",
    ):
        assert name in page


def test_every_contact_keyword_is_a_keyword() -> None:
    from pydicom.datadict import tag_for_keyword

    assert [keyword for keyword in sorted(KEYWORDS) if tag_for_keyword(keyword) is None] == []
