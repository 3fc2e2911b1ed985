"""Invariant 11: whatever stands in a message's contact fields leaves on routes for contact and on nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from broker import contact
from broker.adapter import Rendered, Target
from broker.errors import UnmappableError
from broker.event import PersonName
from broker.hl7 import demographics
from broker.journal import intake
from broker.journal import log as journal
from broker.runtime.configured import Configured
from broker.runtime.figures import gauges, status
from broker.runtime.pipeline import Pipeline
from broker.store.sqlite import in_memory
from broker.view import View
from tests.support.events import of_days

if TYPE_CHECKING:
    from broker.adapter import Reception

CONTACT = "KONTAKT"
"""Stands in every planted contact value."""
VALUE = "VERDI"
"""Stands in names and free text: it may leave where it is wanted, and is told in no reason, log or status."""

# By the standard's own tables (HL7 v2.5.1 and v2.7), not by the broker's list: the test must be able to differ.
PLACES: Mapping[str, tuple[int, ...]] = {
    "PID": (11, 12, 13, 14, 23, 26, 28, 40),
    "PD1": (3, 4, 5, 12, 14),
    "PV1": (16, 37),
    "PV2": (22,),
    "ARV": (3, 4, 5),
    "ACC": (3, 11),
    "AIL": (3,),
    "NTE": (3,),
    "SCH": (13, 14, 17, 18, 21),
    "STF": (10, 11, 15),
    "REL": (9, 10),
    "ZPI": (1, 2, 9),
    "ZZZ": (1, 4),
    "NK1": tuple(range(2, 38)),
    "GT1": tuple(range(2, 20)),
    "IN1": tuple(range(2, 20)),
    "IN2": tuple(range(1, 10)),
    "IN3": (2, 3, 16, 19),
    "ORC": (14, 24),
    "OBR": (17,),
    "ROL": (11, 12),
    "PRD": (3, 5),
    "CTD": (3, 5),
    "PRT": (14, 15),
}
CARRIERS = {
    "pas": (
        "PID",
        "PD1",
        "NK1",
        "GT1",
        "IN1",
        "IN2",
        "IN3",
        "ROL",
        "PRT",
        "PV1",
        "PV2",
        "ARV",
        "ACC",
        "STF",
        "ZPI",
    ),
    "orders": (
        "PID",
        "PD1",
        "NK1",
        "GT1",
        "IN1",
        "ORC",
        "OBR",
        "ROL",
        "CTD",
        "PRT",
        "PRD",
        "NTE",
        "AIL",
        "SCH",
        "ZZZ",
    ),
    "results": ("PID", "PD1", "NK1", "ORC", "OBR", "CTD", "PRT", "NTE", "REL", "ZPI"),
}
TYPES = {
    "pas": ("ADT^A01^ADT_A01", "ADT^A04^ADT_A01", "ADT^A08^ADT_A01", "ADT^A40^ADT_A39", "ADT^A31^ADT_A05"),
    "orders": ("ORM^O01^ORM_O01", "OMG^O19^OMG_O19", "OMI^O23^OMI_O23"),
    "results": ("ORU^R01^ORU_R01",),
}

HEADER = "MSH|^~\\&|APP|STO|BROKER|STO|20260309080000||{}|{}|T|{}||||||UNICODE UTF-8"

tails = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="|^~\\&"), max_size=6
)
shapes = st.sampled_from(["{}", "{}^{}", "{}&{}^x", "a^{}~b^{}", "^^^^^^{}", "{}\\T\\b", '{}^""', "x~y~{}"])


@st.composite
def planted(draw: st.DrawFn) -> str:
    """A contact value somewhere in a field's repetitions, components and subcomponents."""
    token = f"{CONTACT}{draw(tails)}"
    return draw(shapes).replace("{}", token)


def segment(name: str, fields: Mapping[int, str]) -> str:
    return "|".join([name, *(fields.get(n, "") for n in range(1, max(fields, default=0) + 1))])


@dataclass
class Sent:
    source: str
    raw: bytes


@st.composite
def messages(draw: st.DrawFn) -> Sent:
    """A message of a listener with contact data in some of the places that have it; some are broken besides."""
    source = draw(st.sampled_from(sorted(TYPES)))
    kind = draw(st.sampled_from(TYPES[source]))
    places = {
        name: {n: draw(planted()) for n in draw(st.sets(st.sampled_from(PLACES[name]), max_size=4))}
        for name in CARRIERS[source]
    }
    number = draw(st.integers(1, 3))
    birth_date = draw(st.sampled_from(["19821030", "19821030", "", '""', f"1982{VALUE}"]))
    pid = {
        3: f"70000{number}^^^STO&2.999.7001&ISO^PI",
        5: draw(st.sampled_from([f"{VALUE}^Åse", f"{VALUE}", '""', ""])),
        7: birth_date,
        8: draw(st.sampled_from(["F", "M", "", VALUE])),
        **places["PID"],
    }
    version = draw(st.sampled_from(["2.3", "2.5.1", "2.5.1", "2.7"]))
    control_id = f"C{draw(st.integers(1, 10**9))}"
    lines = [HEADER.format(kind, control_id, version), "EVN||20260309080000", segment("PID", pid)]
    extra = [
        segment(name, {1: "1", **places[name]}) for name in places if name in ("NK1", "ROL", "GT1", "IN1")
    ]
    extra += [
        segment(name, places[name])
        for name in places
        if name not in ("PID", "NK1", "ROL", "GT1", "IN1", "PV1", "ORC", "OBR") and places[name]
    ]
    if kind == "ADT^A40^ADT_A39":
        lines += [f"MRG|70000{number + 1}^^^STO&2.999.7001&ISO^PI"]
    if source == "pas":
        visit = {1: "1", 2: "O", 3: "OYE^ROM2^^STO", 7: "12345^Lege^Kari", 19: "V1^^^STO&2.999.7001&ISO"}
        lines += [*extra, segment("PV1", {**visit, **places["PV1"]})]
    else:
        control, ordered = draw(
            st.sampled_from(
                [("NW", "SC"), ("XO", ""), ("CA", "CA"), ("NW", VALUE), ("RE", "CM"), ("SC", "SC")]
            )
        )
        step = draw(st.sampled_from(["SPS1", "SPS2", f"{VALUE}12345678901234567"]))
        orc = {1: control, 2: "P1^EPJ", 3: "F1^RIS", 5: ordered, 7: "^^^20260310093000^^R", **places["ORC"]}
        obr = {
            1: "1", 2: "P1^EPJ", 3: "F1^RIS", 4: f"CODE^{VALUE} thorax^NCRP", 16: f"1^{VALUE}^Kari", 18: "A1",
            19: "RP1", 20: step, 24: "CT", 31: f"^{VALUE}", **places["OBR"],
        }  # fmt: skip
        lines += [*extra, segment("ORC", orc), segment("OBR", obr)]
        lines += [f"IPC|A1|RP1|2.25.99|{step}|CT|||ROM|CT1_STO"] if kind.startswith("OMI") else []
        lines += [f"OBX|1|TX|1||{VALUE}||||||F"] if source == "results" else []
    return Sent(source, ("\r".join(lines) + "\r").encode())


class Outside:
    """Everything that a message leaves behind outside the journal's own copy of it."""

    def __init__(self, configured: Configured) -> None:
        self.tx = in_memory()
        self._configured = configured
        self._pipeline = Pipeline(configured.routes, configured.renderers)
        self._purposes = {
            (route.name, target.place): target.purpose
            for route in configured.routes.routes
            for target in route.targets
        }
        self.receptions: list[Reception] = []
        self.logs: list[Any] = []

    def take(self, sent: Sent) -> None:
        number = len(self.receptions) + 1
        now = datetime(2026, 3, 9, 8, number, tzinfo=UTC)
        reception = self._configured.readers[sent.source].receive(
            sent.raw, message_id=f"M{number:05}", now=now
        )
        self.receptions.append(reception)
        intake.append(self.tx, reception)
        with capture_logs() as logs:
            for logged in journal.unrouted(self.tx, 100):
                self._pipeline.route(self.tx, logged)
        self.logs += [{k: v for k, v in line.items() if k != "exc_info"} for line in logs]

    def payloads(self, *, contact: bool) -> list[str]:
        """What leaves, by the purpose of its target; rows and DICOM never are for contact."""
        of_day = {number: payload for number, payload, _ in of_days(self.tx, "delivery_body")}
        found = self.tx.rows("SELECT route, place, kind, id FROM delivery")
        return [
            of_day[number].decode()
            for route, place, kind, number in found
            if (kind == "hl7" and self._purposes[route, place] == "contact") == contact
        ]

    def told(self) -> str:
        """Reasons, answers, summaries, exceptions, status, logs: what stands in no message and no row."""
        now = datetime(2026, 3, 10, tzinfo=UTC)
        everything: list[Any] = [status(self.tx), list(gauges(self.tx, now)), self.logs]
        for (seq,) in self.tx.rows("SELECT seq FROM message"):
            everything.append(journal.timeline(self.tx, seq))
        for reception in self.receptions:
            everything += [reception.reason, reception.flags, *(a.decode() for a in reception.answers)]
        return repr(everything)

    def events(self) -> str:
        stored = [body for (body,) in self.tx.rows("SELECT body FROM event")]
        shown = [event.to_cloudevent() for reception in self.receptions for event in reception.events]
        return "".join(stored) + json.dumps(shown, ensure_ascii=False)

    def registers(self) -> str:
        names = (
            "patient",
            "patient_identifier",
            "step",
            "worklist",
            "worklist_station",
            "worklist_name",
            "exception",
        )
        rows = [self.tx.rows(f"SELECT * FROM {name}") for name in names]
        return repr([*rows, of_days(self.tx, "message_key")])


def leaks(outside: Outside) -> list[str]:
    """Where something stands that must not."""
    told = outside.told()
    looked = {
        "a payload that is not for contact": CONTACT in "".join(outside.payloads(contact=False)),
        "an event": CONTACT in outside.events(),
        "a register": CONTACT in outside.registers(),
        "what is told": CONTACT in told,
        "what is told, of a name or number": VALUE in told,  # the place, never the value
    }
    return [place for place, leaked in looked.items() if leaked]


@given(st.lists(messages(), min_size=1, max_size=4))
@settings(max_examples=60)
def test_contact_data_leaves_for_contact_alone(configured: Configured, sent: list[Sent]) -> None:
    outside = Outside(configured)
    for one in sent:
        outside.take(one)

    assert leaks(outside) == []


def _tells(view: View, target: Target) -> Rendered:
    raise UnmappableError(f"{target.place}: cannot be sent: {view.message['PID-11'] if view.message else ''}")


def _summarises(view: View, target: Target) -> Rendered:
    return Rendered(payload=b"", summary=view.message["PID-11"] if view.message else "")


@pytest.mark.parametrize(
    ("planted", "place"),
    [
        ({"fields": ("PID-13",)}, "a payload that is not for contact"),
        ({"segments": frozenset({"IN1"})}, "a payload that is not for contact"),
        ({"renderer": _tells}, "what is told"),
        ({"renderer": _summarises}, "what is told"),
        ({"read": True}, "an event"),
        ({"read": True}, "a register"),
    ],
)
def test_a_leak_is_found(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, planted: dict[str, Any], place: str
) -> None:
    """Mutations of the broker, each of which the property must see."""
    if "fields" in planted:
        monkeypatch.setattr(contact, "PATHS", planted["fields"])
    if "segments" in planted:
        monkeypatch.setattr(contact, "SEGMENTS", planted["segments"])
    if "renderer" in planted:
        leaking = dict.fromkeys(configured.renderers, planted["renderer"])
        configured = replace(configured, renderers=leaking)
    if "read" in planted:

        def reading(names: Any) -> PersonName:
            return PersonName(family=f"{VALUE} {CONTACT}")

        monkeypatch.setattr(demographics, "legal_name", reading)
    outside = Outside(configured)
    who = {3: "700001^^^STO&2.999.7001&ISO^PI", 5: f"{VALUE}^Åse", 11: CONTACT, 13: CONTACT}
    lines = [HEADER.format("ADT^A04^ADT_A01", "C1", "2.5.1"), segment("PID", who), f"NK1|1|{CONTACT}", ""]
    outside.take(Sent("pas", "\r".join(lines).encode()))

    assert place in leaks(outside)


def test_the_test_can_see_it(configured: Configured) -> None:
    """Accepted messages of every listener, with contact data that does leave where a route is for contact."""
    outside = Outside(configured)
    lines = [
        HEADER,
        segment(
            "PID", {3: "700001^^^STO&2.999.7001&ISO^PI", 5: f"{VALUE}^Åse", 11: CONTACT, 13: f"a^{CONTACT}"}
        ),
    ]
    order = [segment("ORC", {1: "NW", 2: "P1", 3: "F1", 5: "SC", 7: "^^^20260310093000", 14: CONTACT})]
    order += [segment("OBR", {1: "1", 4: "C", 17: CONTACT, 18: "A1", 20: "S1", 24: "CT"})]
    for source, kind, more in [
        ("pas", "ADT^A04^ADT_A01", [segment("NK1", {1: "1", 2: CONTACT})]),
        ("orders", "ORM^O01^ORM_O01", order),
        ("results", "ORU^R01^ORU_R01", [*order, "OBX|1|TX|1||x||||||F"]),
    ]:
        outside.take(
            Sent(source, "\r".join([lines[0].format(kind, kind[:3], "2.5.1"), lines[1], *more, ""]).encode())
        )

    assert [reception.answer_code for reception in outside.receptions] == ["AA"] * 3
    told, care = outside.payloads(contact=True), outside.payloads(contact=False)
    assert len(told) == 2
    assert all(CONTACT in payload for payload in told)
    assert [payload[:9] for payload in care if payload.startswith("MSH")] == ["MSH|^~\\&|"] * 2
    assert len(care) == 3, "ADT to the PACS, a row, an order status"
    assert all(VALUE in payload for payload in care)
    assert VALUE in outside.events()
    assert VALUE in outside.registers()
    assert CONTACT not in "".join(care) + outside.events() + outside.registers() + outside.told()


def test_the_brokers_list_holds_every_place_of_this_test() -> None:
    missing = [
        f"{name}-{number}"
        for name, numbers in PLACES.items()
        for number in numbers
        if name not in contact.SEGMENTS and (name, number) not in contact.FIELDS and not name.startswith("Z")
    ]
    assert missing == []
