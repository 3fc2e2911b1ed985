"""The systems of a drill, thin: PAS, RIS and LAB speak, devices ask and store, EPJ and PACS listen, and questions.

What is done in which order is `stage.py`'s.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from broker.dicom import uid
from broker.dicom.attributes import Attributes
from broker.dicom.encode import encode
from broker.errors import BrokerError
from broker.hl7.edit import Verbatim, build, components
from broker.hl7.er7 import Message
from broker.net.find_scu import FindScu
from broker.net.mllp_client import MllpClient
from broker.net.object_scu import ObjectScu
from broker.simulate.drills.archive import Archive
from broker.simulate.drills.ending import Answered
from broker.simulate.drills.script import Number
from broker.simulate.messages import Flow
from broker.simulate.modality import Modalities
from broker.simulate.pacs import Pacs
from broker.simulate.records import ImageArrival, Records
from broker.simulate.region import Places
from broker.simulate.senders import Sender
from broker.simulate.sink import Sink

Command = Callable[[Sequence[str]], tuple[int, str]]
"""Runs `broker <arguments>` with the settings of the drill: exit code and standard output."""

ASKER = "DRILL"
"""AE title of Patient Root queries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillPlaces:
    """Where the broker listens, and where it sends to."""

    region: Places
    demographics: int
    pacs_hl7_host: str
    pacs_hl7: int


class Peers:
    """Everybody but the broker. One thread, but for what listens."""

    def __init__(self, places: DrillPlaces, folder: Path) -> None:
        self.places, self._folder = places, folder
        self.records, self.archive = Records(), Archive()
        self._lock, never = threading.Lock(), threading.Event()
        region = places.region
        ports: dict[Flow, int] = {"pas": region.pas, "orders": region.orders, "results": region.results}
        self.senders = {flow: Sender(region.host, port, self.records, never) for flow, port in ports.items()}
        self.devices = Modalities(region.host, region.dicom, region.dicom_aet, folder, self.records)
        self._pdq = MllpClient(region.host, places.demographics)
        self._root = FindScu(
            region.host,
            region.dicom,
            called_aet=region.dicom_aet,
            calling_aet=ASKER,
            sop_class_uid=uid.PATIENT_ROOT_FIND,
        )
        self._performing: dict[str, ObjectScu] = {}
        self._asked = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """EPJ and PACS listen. `OSError` when a port cannot be had."""
        region, records = self.places.region, self.records
        epj = Sink(region.epj_host, region.epj, lambda *_: "AA", records.arrivals.append)
        hl7 = Sink(
            self.places.pacs_hl7_host, self.places.pacs_hl7, lambda *_: "AA", lambda _: None, hear=self._heard
        )
        pacs = Pacs(
            region.pacs_host,
            region.pacs,
            region.pacs_aet,
            self._folder / "pacs",
            self._stored,
            lambda *_: False,
        )
        with _started(epj), _started(hl7), _started(pacs):
            yield

    def close(self) -> None:
        """Releases every connection."""
        for sender in self.senders.values():
            sender.close()
        for scu in self._performing.values():
            scu.close()
        self.devices.close()
        self._pdq.close()
        self._root.close()

    def perform(
        self, operation: Literal["N-CREATE", "N-SET"], aet: str, instance: str, attributes: Attributes
    ) -> int:
        """The status of the answer. Raises `TransientDeliveryError` or `PermanentDeliveryError`."""
        region = self.places.region
        if aet not in self._performing:
            self._performing[aet] = ObjectScu(
                region.host,
                region.dicom,
                sop_class_uid=uid.PERFORMED_STEP,
                called_aet=region.dicom_aet,
                calling_aet=aet,
            )
        scu = self._performing[aet]
        explicit = scu.syntax() == uid.EXPLICIT_LITTLE_ENDIAN
        return scu.send(operation, instance, encode(attributes, explicit=explicit)).status

    def pdq(self, number: Number) -> tuple[Answered, ...]:
        """Whom PDQ (ITI-21) answers for an identifier. Raises `BrokerError`."""
        self._asked += 1
        control_id = f"Q{time.time_ns():x}{self._asked}"[-20:]
        now = time.strftime("%Y%m%d%H%M%S")
        wanted = (
            components("@PID.3.1", number.value),
            components("@PID.3.4", Verbatim(number.issuer.partition("&")[0])),
        )
        raw = build(
            [
                ("MSH", {3: "EPJ", 4: "STO", 5: "BROKER", 6: "STO", 7: now, 9: components("QBP", "Q22", "QBP_Q21"),
                         10: control_id, 11: "T"}),
                ("QPD", {1: "IHE PDQ Query", 2: control_id, 3: wanted}),
                ("RCP", {1: "I", 2: components("10", "RD")}),
            ]
        )  # fmt: skip
        answer = Message.parse(self._pdq.send(raw))
        if answer["MSA-1"] != "AA":
            raise BrokerError(f"PDQ answered {answer['MSA-1']}")
        return tuple(
            Answered(
                current=frozenset(one.get(1) for one in pid.repetitions(3)),
                name="^".join((pid.get(5, 1), pid.get(5, 2), pid.get(5, 3))).rstrip("^"),
            )
            for pid in answer.all("PID")
        )

    def root(self, number: Number) -> tuple[str, ...]:
        """Patient IDs that Patient Root C-FIND answers for an identifier. Raises `BrokerError`."""
        namespace, oid, kind = number.issuer.split("&")
        found = self._root.find(
            {
                "QueryRetrieveLevel": "PATIENT",
                "PatientName": "",
                "PatientID": number.value,
                "IssuerOfPatientID": namespace,
                "IssuerOfPatientIDQualifiersSequence": (
                    {"UniversalEntityID": oid, "UniversalEntityIDType": kind},
                ),
            }
        )
        return tuple(str(row.get("PatientID", "")) for row in found)

    def status(self) -> dict[str, Any]:
        """What `/api/status` says. `BrokerError` when it does not answer."""
        region = self.places.region
        connection = http.client.HTTPConnection(region.host, region.http, timeout=10)
        try:
            connection.request("GET", "/api/status")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == http.client.OK:
                found: dict[str, Any] = json.loads(body)
                return found
        except (OSError, http.client.HTTPException, ValueError):
            pass
        finally:
            connection.close()
        raise BrokerError(
            f"http://{region.host}:{region.http}/api/status does not answer: start it with `broker run`"
        )

    def _stored(self, image: ImageArrival) -> None:
        with self._lock:
            self.records.images.append(image)
            self.archive.stored(image)

    def _heard(self, raw: bytes) -> None:
        with self._lock:
            self.archive.heard(raw)


@contextmanager
def _started(peer: Sink | Pacs) -> Iterator[None]:
    peer.start()
    try:
        yield
    finally:
        peer.stop()
