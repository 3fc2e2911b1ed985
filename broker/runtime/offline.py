"""The broker without sockets: runs messages through everything but the sending.

For `broker test` and `explain`. The registers stand in memory and are gone afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from io import BytesIO
from typing import Any

from pydicom import dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from broker.adapter import Reader, Reception
from broker.delivery import stored
from broker.dicom import status
from broker.dicom.attributes import from_json
from broker.dicom.dataset import from_dataset, to_dataset
from broker.errors import ConfigError
from broker.event import EventData, EventType, Study
from broker.hl7.er7 import Message, is_batch, parse_path
from broker.ids import message_id
from broker.journal import intake
from broker.journal import log as journal
from broker.reception import BATCH, Hl7Reader
from broker.registers import exceptions
from broker.routing.testing import Field, Outcome, Output
from broker.runtime.configured import Configured
from broker.runtime.decided import decided
from broker.runtime.pipeline import Pipeline
from broker.store.sqlite import in_memory
from broker.store.transaction import Transaction
from broker.view import View


class Bench:
    """Empty registers, in memory unless a transaction is given, and what each message comes to."""

    def __init__(
        self, configured: Configured, clock: Callable[[], datetime], tx: Transaction | None = None
    ) -> None:
        self._configured = configured
        self._clock = clock
        self._views: list[View] = []
        self._pipeline = Pipeline(configured.routes, configured.renderers, on_view=self._views.append)
        self._tx = in_memory() if tx is None else tx

    def source_of(self, raw: bytes) -> str:
        """The first listener that would not refuse the message for its type; the first of all when every one would."""
        names = list(self._configured.readers)
        now = self._clock()
        refusals = ("AR", f"{status.DATA_SET_MISMATCH:04X}")
        for name in names:
            judged = _judged(self._configured.readers[name], raw, now)
            if any(one.answer_code not in refusals for one in judged if one.message_type != BATCH):
                return name
        return names[0]

    def feed(self, source: str, raw: bytes) -> Outcome:
        """Receives a message or a batch as a listener would, and routes it. Raises `ConfigError` for unknown listeners.

        Of a batch: the answers' codes in the order of its messages, and what all of them came to.
        """
        return _outcome(list(self._receive(source, raw)), raw)

    def say(self, source: str, kind: EventType, study: Study) -> Outcome:
        """What is said of a study without a message, and what it comes to (`Given.study`)."""
        said = self._said(source, kind, study)
        return _outcome([(said, self._take(said))], b"")

    def explain_study(self, source: str, kind: EventType, study: Study) -> dict[str, Any]:
        """As `explain`, of what is said of a study without a message."""
        said = self._said(source, kind, study)
        found = self._explained(said, self._take(said))
        return {**found, "exceptions": exceptions.listed(self._tx)}

    def _said(self, source: str, kind: EventType, study: Study) -> Reception:
        raw = study.model_dump_json(exclude_defaults=True).encode()
        data, site = EventData(study=study), self._configured.settings.broker.site
        return decided(kind, data, source=source, site=site, now=self._clock(), raw=raw, message_type=kind)

    def explain(self, source: str, raw: bytes) -> dict[str, Any]:
        """Everything a message comes to: verdict, answer, events, what each route said, deliveries as rendered.

        Of a batch: the same of its envelope, and of each of its messages under `members`.
        """
        first, *members = [self._explained(*found) for found in self._receive(source, raw)]
        batch = {"members": members} if first["message"] == BATCH else {}
        return {**first, **batch, "exceptions": exceptions.listed(self._tx)}

    def _explained(self, reception: Reception, deliveries: list[tuple[Any, ...]]) -> dict[str, Any]:
        verdicts = [
            {
                "event": view.event.type,
                "route": v.route,
                "place": v.place,
                "matched": v.matched,
                "reason": v.reason,
            }
            for view in self._views
            for v in self._configured.routes.explain(view)
        ]
        return {
            **_described(reception),
            "routes": verdicts,
            "deliveries": [_delivery(row) for row in deliveries],
        }

    def _receive(self, source: str, raw: bytes) -> Iterator[tuple[Reception, list[tuple[Any, ...]]]]:
        """Each reception with its deliveries, routed before the next one is judged."""
        reader = self._configured.readers.get(source)
        if reader is None:
            known = ", ".join(sorted(self._configured.readers))
            raise ConfigError(
                f"there is no listener '{source}' whose messages can be tried (there are: {known})"
            )
        for reception in _judged(reader, raw, self._clock()):
            yield reception, self._take(reception)

    def _take(self, reception: Reception) -> list[tuple[Any, ...]]:
        """Journals and routes it; its deliveries."""
        self._views.clear()
        before = self._tx.one("SELECT coalesce(max(id), 0) FROM delivery") or (0,)
        intake.append(self._tx, reception)
        for logged in journal.unrouted(self._tx, max(1, len(reception.events))):
            self._pipeline.route(self._tx, logged)
        deliveries = self._tx.rows(
            "SELECT route, destination, kind, place, state, id, day, summary, detail FROM delivery"
            " WHERE id>? ORDER BY id",
            before,
        )
        return [(*row[:5], stored.payload(self._tx, row[5], row[6]), *row[7:]) for row in deliveries]


def _outcome(found: Sequence[tuple[Reception, list[tuple[Any, ...]]]], raw: bytes) -> Outcome:
    return Outcome(
        ack=" ".join(reception.answer_code for reception, _ in found if reception.answer_code),
        events=tuple(event.type for reception, _ in found for event in reception.events),
        outputs=tuple(_output(row, raw) for _, deliveries in found for row in deliveries),
    )


def _judged(reader: Reader, raw: bytes, now: datetime) -> Iterator[Reception]:
    """The one message, or the envelope of a batch and its members."""
    if isinstance(reader, Hl7Reader) and is_batch(raw):
        yield from reader.receive_batch(raw, new_id=partial(message_id, now), now=now).receptions
    else:
        yield reader.receive(raw, message_id=message_id(now), now=now)


def instance(attributes: Mapping[str, Any]) -> bytes:
    """A DICOM file with these attributes, explicit VR little endian, without pixels."""
    dataset = to_dataset(attributes)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", SecondaryCaptureImageStorage)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "")
    written = BytesIO()
    dcmwrite(written, dataset, enforce_file_format=True)
    return written.getvalue()


def _described(reception: Reception) -> dict[str, Any]:
    return {
        "message": reception.message_type,
        "control_id": reception.control_id,
        "verdict": reception.verdict.value,
        "reason": reception.reason,
        "answer": reception.answer_code,
        "answers": [answer.decode(errors="replace").replace("\r", "\n") for answer in reception.answers],
        "charset": reception.charset,
        "flags": list(reception.flags),
        "events": [event.to_cloudevent() for event in reception.events],
    }


def _delivery(row: tuple[Any, ...]) -> dict[str, Any]:
    route, destination, kind, place, state, payload, summary, detail = row
    shown: Any = payload.decode(errors="replace").replace("\r", "\n") if kind == "hl7" else None
    if kind != "hl7" and payload:
        shown = json.loads(payload)
    return {
        "route": route,
        "place": place,
        "destination": destination,
        "kind": kind,
        "state": state,
        "summary": summary,
        "detail": detail,
        "rendered": shown,
    }


def _output(row: tuple[Any, ...], received: bytes) -> Output:
    route, destination, kind, _place, state, payload, _summary, detail = row
    if kind == "hl7":
        message = Message.parse(payload) if payload else None
        return Output(
            route=route,
            destination=destination,
            kind=kind,
            read=lambda path: _hl7_field(message, path),
            payload=payload or b"",
            kept="" if payload else f"{state}: {detail}",
        )
    attributes: Mapping[str, Any] = from_json(payload.decode()) if payload and kind == "worklist" else {}
    if kind == "dicom" and payload and not received:
        attributes = from_json(payload.decode())  # of a study: the attributes that will be sent
    elif kind == "dicom" and payload:
        # What leaves is the received object with what PAS says on top.
        sent = from_dataset(dcmread(BytesIO(received), stop_before_pixels=True))
        attributes = {**sent, **(json.loads(payload)["coerce"] or {})}
    return Output(
        route=route,
        destination=destination,
        kind=kind,
        read=lambda path: _attribute(attributes, path),
        payload=payload or b"",
    )


def _hl7_field(message: Message | None, path: str) -> Field:
    """What stands at a path: a whole field with its separators, a component as text."""
    if message is None:
        return None
    return message.text(path) if parse_path(path).component is None else message[path]


def _attribute(attributes: Mapping[str, Any], keyword: str) -> Field:
    """An attribute of a row, or of its one scheduled procedure step."""
    if keyword in attributes:
        value = attributes[keyword]
    else:
        value = attributes.get("ScheduledProcedureStepSequence", ({},))[0].get(keyword)
    return value if isinstance(value, str | tuple) or value is None else str(value)
