"""A listener of ADT that does one thing of each kind, and what it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from broker.adapter import Reception
from broker.errors import Location, UnmappableError
from broker.event import Draft, EventData, Identifier, Patient
from broker.hl7.ack import read_ack
from broker.hl7.demographics import Issuers, read_issuer
from broker.hl7.er7 import Message
from broker.reception import Profile, receive

NOW = datetime(2026, 3, 9, 7, 0, 0, tzinfo=UTC)

MESSAGE_ID = "01KK8Q7YG0GHJKMNPQRSTVWXYZ"

SECRET = "Hemmelig"


def take(message: Message, profile: Profile) -> Sequence[Draft]:
    """A mapping that reads one name, does nothing for `A08`, and breaks in every way for the rest."""
    match message.header.trigger.upper():
        case "A01":
            patient = Patient(identifiers=(Identifier(value=message["PID-3"]),))
            return [Draft(type="patient.registered", time="2026", data=EventData(patient=patient))]
        case "A08":
            return []
        case "A11":
            raise UnmappableError("PID-3 is no id", location=Location(segment="PID", field=3))
        case "A12":
            raise KeyError(message["PID-5"])
        case _:
            return [Draft.model_validate({"type": message["PID-5"], "data": {}})]


MAPPERS = {f"ADT^{trigger}": take for trigger in ("A01", "A08", "A11", "A12", "A13")}


def profile(**options: Any) -> Profile:
    issuers = Issuers(default=read_issuer("STO&2.999.7001&ISO"))
    return Profile(**{"name": "pas", "site": "STO", "issuers": issuers, **options})


def judge(raw: str | bytes, **options: Any) -> Reception:
    raw = raw.replace("\n", "\r").encode() if isinstance(raw, str) else raw
    return receive(raw, profile(**options), MAPPERS, message_id=MESSAGE_ID, now=NOW, peer="192.0.2.1")


def adt(
    kind: str = "ADT^A01",
    *,
    version: str = "2.5.1",
    processing: str = "P",
    accept: str = "",
    application: str = "",
    control_id: str = "4711",
    charset: str = "",
) -> str:
    rest = f"{kind}|{control_id}|{processing}|{version}|||{accept}|{application}||{charset}"
    msh = f"MSH|^~\\&|PAS|STO|BROKER|RHF|2026||{rest}"
    return f"{msh}\nPID|1||700123||{SECRET}^Siv\n"


def codes(reception: Reception) -> list[str]:
    return [read_ack(answer).code for answer in reception.answers]
