"""Golden cases: a message of ours, and beside it what the broker makes of it, as files that a person can read.

`tests/golden/<adapter>/<case>.hl7` is the input, a segment a line. What is compared stands in `<case>.<what>`;
`UPDATE_GOLDEN=1 pytest …` writes those files anew, and the difference is there to be read before it is committed.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from broker import identity
from broker.adapter import InboundSpec, ListenerPlace, Reader, Reception, Target
from broker.event import Event
from broker.hl7.er7 import Header, Message
from broker.view import View
from tests.support.shared import REPOSITORY

FOLDER = REPOSITORY / "tests" / "golden"
NOW = datetime(2026, 3, 9, 7, 0, 0, tzinfo=UTC)
MESSAGE_ID = "01KK8Q7YG0" + "GHJKMNPQRSTVWXYZ"

OPTIONS: dict[str, Any] = {
    "port": 0,
    "issuer": "STO&2.999.7001&ISO",
    "issuers": (
        "NNNOR&2.16.578.1.12.4.1.4.1&ISO",
        "DNNOR&2.16.578.1.12.4.1.4.2&ISO",
        "FHNOR&2.16.578.1.12.4.1.4.3&ISO",
    ),
}
"""Of an HL7 listener, as the shipped configuration has them."""


def cases(adapter: str) -> list[Path]:
    """The inputs of an adapter, for `parametrize`."""
    found = (FOLDER / adapter).glob("*.hl7")
    return sorted(path for path in found if path.name.count(".") == 1)


def reader(spec: InboundSpec[Any], **options: Any) -> Reader:
    """An HL7 listener's reader with the options of the shipped configuration."""
    assert spec.reader is not None
    place = ListenerPlace(name=spec.name, site="STO", config_folder=REPOSITORY / "config")
    return spec.reader(spec.config(**{**OPTIONS, **options}), place)


def receive(spec: InboundSpec[Any], raw: bytes | str, **options: Any) -> Reception:
    """One message, judged as by a listener with the options of the shipped configuration."""
    if isinstance(raw, str):
        raw = er7(raw)
    return reader(spec, **options).receive(raw, message_id=MESSAGE_ID, now=NOW, peer="192.0.2.1")


def er7(text: str) -> bytes:
    """Segments a line, as a sender writes them."""
    return "".join(f"{line.strip()}\r" for line in text.splitlines() if line.strip()).encode()


def load(path: Path) -> bytes:
    return er7(path.read_text(encoding="utf-8"))


def check(case: Path, what: str, actual: str) -> None:
    """Compares with `<case>.<what>`, or writes it with UPDATE_GOLDEN=1. Empty: there must be no such file."""
    path = case.with_suffix(f".{what}")
    if os.environ.get("UPDATE_GOLDEN"):
        path.unlink(missing_ok=True)
        if actual:
            path.write_text(actual, encoding="utf-8")
        return
    expected = path.read_text(encoding="utf-8") if path.exists() else ""
    assert actual == expected, f"{path.name} differs; UPDATE_GOLDEN=1 writes it anew"


def check_reception(case: Path, reception: Reception) -> None:
    """The answers and the events, with what is said of them."""
    check(case, "ack.hl7", lines(*reception.answers))
    told = {
        "verdict": reception.verdict,
        "reason": reception.reason,
        # What is remarked of numbers has tests of its own (tests/unit/reception/test_identity.py).
        "flags": [flag for flag in reception.flags if flag not in identity.FLAGS],
        "keys": [" ".join(key) for key in reception.keys],
        "events": [_shown(event) for event in reception.events],
    }
    check(case, "events.json", as_json(told))


def lines(*messages: bytes) -> str:
    """Messages a segment a line, with a blank line between two."""
    return "\n".join(message.decode().replace("\r", "\n") for message in messages)


def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def views(reception: Reception) -> list[View]:
    """Each event as it looks where the registers know nothing beyond what its message says."""
    message = Message(reception.raw, Header.read(reception.raw), reception.charset)
    return [
        View(
            event=event,
            message=message,
            patient=event.data.patient,
            patient_key="P1",
            verified=True,
            encounter=event.data.encounter,
            order=event.data.order,
            step=event.data.step,
        )
        for event in reception.events
    ]


def target(kind: Any = "hl7", **more: Any) -> Target:
    """A route's target; `send`, `set` and `purpose` as given."""
    standard = {"route": "a-route", "version": "v1", "place": "routes/a-route.yaml:7", "destination": "there"}
    return Target(kind=kind, **{**standard, **more})


def _shown(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "time": event.event_time,
        "data": event.data.model_dump(exclude_defaults=True, mode="json"),
    }
