"""What the EPJ is sent. Order statuses as files stand in tests/golden/ris; here is what must hold for all of them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from adapters.epj.render import STATUS, render_hl7
from adapters.ris import INBOUND as ORDERS
from broker.adapter import Target
from broker.errors import UnmappableError
from broker.event import Code, Identifier, PersonName
from broker.hl7.er7 import Message
from broker.hl7.validate import validate
from broker.view import View
from tests.support import golden

CASE = golden.FOLDER / "ris" / "orm_zds.hl7"


def view() -> View:
    (found,) = [view for view in golden.views(golden.receive(ORDERS, golden.load(CASE))) if view.step]
    return found


def sent(view: View, **target: object) -> Message:
    return Message.parse(render_hl7(view, golden.target(send="ORM^O01", **target)).payload)


def test_an_order_status_is_well_formed() -> None:
    message = sent(view())

    assert [segment.name for segment in message] == ["MSH", "PID", "ORC", "OBR", "ZDS"]
    assert [finding for finding in validate(message) if finding.location.segment != "ZDS"] == []
    assert (message["MSH-9.1"], message["MSH-9.2"], message["MSH-12"]) == ("ORM", "O01", "2.5")
    assert (message["ORC-1"], message["ORC-2"], message["ORC-3"]) == ("SC", "P1", "F1")
    assert (message["OBR-18"], message["OBR-19"], message["OBR-20"], message["OBR-24"]) == (
        "A2026",
        "R1",
        "S1",
        "CT",
    )
    assert message["ZDS-1"] == "2.25.7001"
    assert message["ORC-7.4"] == message["OBR-27.4"] == "20260310093000"


def test_every_letter_arrives() -> None:
    message = sent(view())

    assert message.text("PID-5") == "Čoahkkin-Æsøy^Ole^Šuvvá"
    assert (message["MSH-18"], message.charset) == ("UNICODE UTF-8", "utf-8")


@pytest.mark.parametrize(
    "status", ["SCHEDULED", "ARRIVED", "STARTED", "COMPLETED", "DISCONTINUED", "CANCELED"]
)
def test_every_status_has_a_word(status: str) -> None:
    seen = view()
    assert seen.step is not None
    message = sent(replace(seen, step=seen.step.model_copy(update={"status": status})))

    assert message["ORC-5"] == STATUS[status]
    assert message["ORC-5"] in ("SC", "IP", "CM", "DC", "CA")


def test_the_control_id_is_a_function_of_event_route_and_step() -> None:
    seen = view()
    assert seen.step is not None
    others = [
        (replace(seen, event=seen.event.model_copy(update={"id": "another"})), golden.target(send="ORM^O01")),
        (replace(seen, step=seen.step.model_copy(update={"key": "another"})), golden.target(send="ORM^O01")),
        (seen, golden.target(send="ORM^O01", route="another")),
        (seen, golden.target(send="ORM^O01", index=1)),
    ]
    ids = [Message.parse(render_hl7(*other).payload)["MSH-10"] for other in others]
    mine = sent(seen)["MSH-10"]

    assert render_hl7(seen, golden.target(send="ORM^O01")) == render_hl7(seen, golden.target(send="ORM^O01"))
    assert re.fullmatch(r"[0-9A-F]{20}", mine)
    assert len({mine, *ids}) == 5


def test_a_step_without_a_start_has_none() -> None:
    seen = view()
    assert seen.step is not None
    message = sent(replace(seen, step=seen.step.model_copy(update={"start_date": "", "start_time": ""})))

    assert (message.text("ORC-7"), message.text("OBR-27")) == ("", "")


def test_separators_in_values_stay_values() -> None:
    seen = view()
    assert seen.patient is not None
    assert seen.order is not None
    identifier = Identifier(value="7|8", namespace="A&B", oid="2.999.1", type_code="P~I")
    patient = seen.patient.model_copy(
        update={
            "identifiers": (identifier,),
            "name": PersonName(family="A&B^C", given="D|E", suffix="jr", prefix="fru"),
        }
    )
    order = seen.order.model_copy(update={"procedure": Code(code="X^1", text="a\nb", system="S")})
    message = sent(replace(seen, patient=patient, order=order))

    assert (message["PID-3.1"], message["PID-3.4.1"], message["PID-3.5"]) == ("7|8", "A&B", "P~I")
    assert message.text("PID-3").endswith("&2.999.1&ISO^P\\R\\I")
    assert [message[f"PID-5.{n}"] for n in range(1, 6)] == ["A&B^C", "D|E", "", "jr", "fru"]
    assert (message["OBR-4.1"], message["OBR-4.2"]) == ("X^1", "a\nb")
    assert [segment.name for segment in message] == ["MSH", "PID", "ORC", "OBR", "ZDS"]


def test_an_order_that_ends_as_a_whole_is_told_without_a_step() -> None:
    reception = golden.receive(ORDERS, golden.load(CASE.with_name("orm_order_is_cancelled.hl7")))
    (seen,) = golden.views(reception)
    message = sent(seen)

    assert [segment.name for segment in message] == ["MSH", "PID", "ORC"]
    assert (message["ORC-1"], message["ORC-5"], message["ORC-3"]) == ("SC", "CA", "F1")


def test_a_routes_changes_come_last() -> None:
    message = sent(view(), set={"MSH-5": "DIPS", "ORC-1": "XO", "PID-3": "9^^^X", "NTE-3": "Merknad & mer"})

    assert (message["MSH-5"], message["ORC-1"], message.text("PID-3")) == ("DIPS", "XO", "9^^^X")
    assert message.text("NTE-3") == "Merknad & mer"  # a whole field stands in a route as ER7


def test_no_contact_data_and_no_value_in_the_summary() -> None:
    rendered = render_hl7(view(), golden.target(send="ORM^O01"))
    control_id = Message.parse(rendered.payload)["MSH-10"]

    assert rendered.summary == f"ORM^O01 control id {control_id}"
    assert rendered.keys == (("control", control_id),)


def test_what_has_no_order_has_no_status() -> None:
    seen = replace(view(), order=None, step=None)
    bare = replace(
        seen, event=seen.event.model_copy(update={"data": seen.event.data.model_copy(update={"order": None})})
    )

    with pytest.raises(UnmappableError, match=r"^routes/a-route.yaml:7: "):
        render_hl7(bare, golden.target(send="ORM^O01"))


@pytest.mark.parametrize(("purpose", "left"), [("contact", True), ("care", False)])
def test_a_source_message_leaves_with_contact_data_only_for_contact(purpose: str, left: bool) -> None:
    raw = golden.er7("MSH|^~\\&|PAS||||2026||ADT^A08|77|P|2.5\nPID|1||7||Ås||||||Prøvegata 1\nNK1|1|Ås^Per\n")
    seen = replace(view(), message=Message.parse(raw))
    target: Target = golden.target(send="source", purpose=purpose)
    rendered = render_hl7(seen, target)

    assert (rendered.payload == raw) is left
    assert ("Prøvegata".encode() in rendered.payload) is left
    assert (rendered.summary, rendered.keys) == ("ADT^A08 control id 77", (("control", "77"),))
