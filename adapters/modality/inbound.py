"""The Modality Worklist SCP (PS3.4 K.4): a thin face of the worklist register.

Matching and the answer's shape are `broker.dicom.matching`'s; associations are `broker.net`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import Field

from adapters.modality.asking import Asking, nearest
from adapters.modality.repeats import Key, Made, Repeated, Repeats
from broker.adapter import InboundContext, InboundSpec, Options, WorklistQuery, WorklistRow
from broker.device import Device
from broker.dicom import attributes as dicom
from broker.dicom import charset, status
from broker.dicom.encode import encode
from broker.dicom.fit import transliterated
from broker.dicom.matching import Query
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN, WORKLIST_FIND
from broker.net.dicom_listener import DicomListener
from broker.net.service import Answer, FindRequest, Peer
from broker.scalars import Switch
from broker.statement import DicomService, IheClaim, Statement

_LOOK: Final = 64
"""Candidates between two looks whether the device cancels; the server looks between answers too."""


class WorklistService(Options):
    """Options of the worklist SCP."""

    charsets: tuple[charset.Term, ...] = Field(
        default=("ISO_IR 100", "ISO_IR 192"),
        min_length=1,
        description="Specific Character Sets to answer in where `devices` says nothing of the device: the first that"
        " shows the whole row.",
    )
    started: Switch = Field(
        default=False,
        description="Whether a device is also shown the steps that it has in progress itself (MPPS); others never are.",
    )


class WorklistScp:
    """Answers C-FIND from the register (`broker.net.service.FindService`)."""

    sop_classes = (WORKLIST_FIND,)

    def __init__(self, config: WorklistService, context: InboundContext) -> None:
        self._charsets = config.charsets
        self._started = config.started
        self._context = context
        self._repeats = Repeats()

    def find(self, request: FindRequest, peer: Peer) -> Iterator[Answer]:
        """Every row that matches and that the device may see, narrowed by index first."""
        device = self._context.device(peer.calling_aet) or Device()
        now = self._context.clock().astimezone(ZoneInfo(self._context.time_zone))
        key = Key(peer.calling_aet, request.transfer_syntax_uid, request.encoded, now.date())
        repeated = self._repeats.get(key)
        if repeated is None or repeated.asking.device != device:
            repeated = self._read(request, device, peer)
        asking = repeated.asking.at(now)
        explicit = request.transfer_syntax_uid == EXPLICIT_LITTLE_ENDIAN
        self._context.count("broker_worklist_queries_total", {"calling_aet": self._known(peer)})
        given: dict[int, Made] = {}
        answers, lossy, whole, limited = 0, 0, False, False
        matching = _Matching(self._candidates(asking, repeated, peer), asking, repeated, request)
        rows: Iterable[WorklistRow] = matching
        try:
            if device.max_answers is not None:
                rows, limited = nearest(rows, device.max_answers, now)
            for row in rows:
                made = repeated.answers.get(row.number) or _made(asking, row, repeated, explicit=explicit)
                given[row.number] = made
                yield made.answer
                answers += 1
                lossy += made.lossy
            if matching.cancelled:
                yield Answer(status=status.CANCEL)
                return
            whole = not limited
            if limited and not device.hide_limit:
                yield Answer(
                    status=status.OUT_OF_RESOURCES, comment=f"more than {answers} rows match: ask for less"
                )
        finally:  # also where the device cancels or goes
            if lossy:
                self._context.count("broker_worklist_lossy_total", {"calling_aet": self._known(peer)}, lossy)
            if limited:
                self._context.count("broker_worklist_limited_total", {"calling_aet": self._known(peer)})
            self._context.note_query(
                WorklistQuery(
                    calling_aet=peer.calling_aet,
                    at=self._context.clock(),
                    query=asking.query,
                    answers=answers,
                    whole=whole,
                    lossy=lossy,
                    narrowed=asking.narrowed,
                    limited=limited,
                )
            )
            if whole or limited:
                given.pop(0, None)
                repeated.answers = given
            if request.encoded:
                self._repeats.keep(key, repeated)

    def _read(self, request: FindRequest, device: Device, peer: Peer) -> Repeated:
        query = Query.read(request.identifier, charset=device.charsets[0] if device.charsets else "")
        asked = query.attributes.get(dicom.SPECIFIC_CHARACTER_SET, "")
        unsupported = query.unsupported and not device.hide_unsupported
        return Repeated(
            asking=Asking.read(device, peer.calling_aet, query),
            terms=charset.ladder(asked if isinstance(asked, str) else "", device.charsets, self._charsets),
            pending=status.PENDING_UNSUPPORTED_KEYS if unsupported else status.PENDING,
        )

    def _candidates(self, asking: Asking, repeated: Repeated, peer: Peer) -> Iterable[WorklistRow]:
        if asking.nobody:
            return ()
        return self._context.worklist.candidates(
            stations=asking.stations,
            patient_id=asking.query.patient_id,
            patient_name=asking.query.patient_name,
            dates=asking.dates,
            started_by=peer.calling_aet if self._started else "",
            unwanted=repeated.unwanted,
        )

    def _known(self, peer: Peer) -> str:
        return peer.calling_aet if peer.calling_aet in self._context.known_aets else "other"


class _Matching:
    """The rows that are answers, until the device cancels."""

    def __init__(
        self, candidates: Iterable[WorklistRow], asking: Asking, repeated: Repeated, request: FindRequest
    ) -> None:
        self._candidates, self._asking, self._repeated, self._request = candidates, asking, repeated, request
        self.cancelled = False

    def __iter__(self) -> Iterator[WorklistRow]:
        asking, answers, unwanted = self._asking, self._repeated.answers, self._repeated.unwanted
        for count, row in enumerate(self._candidates, start=1):
            if not count % _LOOK and self._request.cancelled():
                self.cancelled = True
                return
            if row.number not in answers and not asking.query.matches(row.attributes):
                if row.number:
                    unwanted.add(row.number)
            elif asking.narrowed is None or asking.narrowed.matches(row.attributes):
                yield row


def _made(asking: Asking, row: WorklistRow, repeated: Repeated, *, explicit: bool) -> Made:
    answer = asking.answer(row.attributes)
    term = charset.choose(dicom.texts(answer), repeated.terms)
    shown, replaced = transliterated(answer, term)
    shown, cut = asking.fitted(shown)
    identifier = encode(shown, charset=term, explicit=explicit)
    return Made(Answer(status=repeated.pending, identifier=identifier), bool(replaced or cut))


def statement(config: WorklistService) -> Statement:
    """What a worklist SCP with these options claims."""
    shown = (
        "also those that it has in progress itself"
        if config.started
        else "those that have begun are not shown"
    )
    service = DicomService(
        name="Modality Worklist",
        role="SCP",
        sop_classes=WorklistScp.sop_classes,
        operations=("C-FIND",),
        statuses={
            status.PENDING: "a row; every key was supported",
            status.PENDING_UNSUPPORTED_KEYS: "a row; a key with a value is private or unknown, and narrowed nothing",
        },
        remarks=(
            f"A device is shown steps that are scheduled or have arrived; {shown}.",
            "Rows without a station, a time or a modality are held, and shown to nobody.",
            "Letter case and accents do not count in names (PN), and in nothing else. No fuzzy matching by sound, no"
            " relational queries, no matching by time zone.",
            "Zero as a binary number (Pregnancy Status) is an empty key: programs write that which cannot write none.",
            "A requested sequence without keys gives its whole items; every requested key is returned, empty where it"
            " is not known. Study Instance UID is always returned.",
            "A C-CANCEL is seen between two answers. The number of answers is limited where `devices` says so"
            " (`max_answers`): A700.",
        ),
    )
    claim = IheClaim(
        transaction="RAD-5",
        name="Query Modality Worklist",
        profile="SWF.b",
        actor="Department System Scheduler/Order Filler",
        limits="the worklist part: rows come from orders of another Order Filler, or from visits",
    )
    return Statement(services=(service,), claims=(claim,))


INBOUND = InboundSpec(
    name="modality",
    summary="Modality Worklist SCP",
    config=WorklistService,
    factory=lambda config, context: DicomListener(context, WorklistScp(config, context)),
    role="worklist",
    makes={},
    statement=statement,
)
