"""The Modality Worklist SCP (PS3.4 K.4): a thin face of the worklist register.

Matching and the answer's shape are `broker.dicom.matching`'s; associations are `broker.net`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo

from pydantic import Field

from adapters.modality.asking import Asking, nearest
from broker.adapter import InboundContext, InboundSpec, Options, WorklistQuery, WorklistRow
from broker.device import Device
from broker.dicom import attributes as dicom
from broker.dicom import charset, status
from broker.dicom.encode import encode
from broker.dicom.matching import Query
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN, WORKLIST_FIND
from broker.net.service import Answer, FindRequest, Peer
from broker.scalars import Switch
from broker.statement import DicomService, IheClaim, Statement


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

    def find(self, request: FindRequest, peer: Peer) -> Iterator[Answer]:
        """Every row that matches and that the device may see, narrowed by index first."""
        device = self._context.device(peer.calling_aet) or Device()
        query = Query.read(request.identifier, charset=device.charsets[0] if device.charsets else "")
        now = self._context.clock().astimezone(ZoneInfo(self._context.time_zone))
        asking = Asking.read(device, peer.calling_aet, query, now)
        asked = query.attributes.get(dicom.SPECIFIC_CHARACTER_SET, "")
        terms = charset.ladder(asked if isinstance(asked, str) else "", device.charsets, self._charsets)
        unsupported = query.unsupported and not device.hide_unsupported
        pending = status.PENDING_UNSUPPORTED_KEYS if unsupported else status.PENDING
        explicit = request.transfer_syntax_uid == EXPLICIT_LITTLE_ENDIAN
        self._context.count("broker_worklist_queries_total", {"calling_aet": self._known(peer)})
        answers, lossy, whole, limited = 0, 0, False, False
        rows = self._matching(asking, request, peer)
        try:
            if device.max_answers is not None:
                rows, limited = nearest(rows, device.max_answers, now)
            for row in rows:
                answer = asking.answer(row.attributes)
                term = charset.choose(dicom.texts(answer), terms)
                shown, replaced = dicom.transliterated(answer, term)
                shown, cut = asking.fitted(shown)
                yield Answer(status=pending, identifier=encode(shown, charset=term, explicit=explicit))
                answers += 1
                lossy += bool(replaced or cut)
            if request.cancelled():
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

    def _matching(self, asking: Asking, request: FindRequest, peer: Peer) -> Iterable[WorklistRow]:
        if asking.nobody:
            return
        for row in self._context.worklist.candidates(
            stations=asking.stations,
            patient_id=asking.query.patient_id,
            dates=asking.dates,
            started_by=peer.calling_aet if self._started else "",
        ):
            if request.cancelled():
                return
            if asking.matches(row.attributes):
                yield row

    def _known(self, peer: Peer) -> str:
        return peer.calling_aet if peer.calling_aet in self._context.known_aets else "other"


class _Worklist:
    """The listener's life: it lives on the shared association server (`broker.adapter.Inbound`)."""

    addresses: tuple[str, ...] = ()

    def __init__(self, config: WorklistService, context: InboundContext) -> None:
        context.register_dicom(WorklistScp(config, context))

    async def start(self) -> None:
        """The association server starts with the broker."""

    async def stop(self) -> None:
        """The association server stops with the broker."""


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
    factory=_Worklist,
    role="worklist",
    makes={},
    statement=statement,
)
