"""The Modality Worklist SCP (PS3.4 K.4): a thin face of the worklist register.

Matching and the answer's shape are `broker.dicom.matching`'s; associations are `broker.net`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from broker.adapter import InboundContext, InboundSpec, Options, WorklistQuery
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
        """Every row that matches, narrowed by index first."""
        device = self._context.device(peer.calling_aet)
        declared = device.charsets if device is not None else ()
        limit = device.name_length if device is not None else dicom.PN_GROUP
        query = Query.read(request.identifier, charset=declared[0] if declared else "")
        asked = query.attributes.get(dicom.SPECIFIC_CHARACTER_SET, "")
        terms = charset.ladder(asked if isinstance(asked, str) else "", declared, self._charsets)
        pending = status.PENDING_UNSUPPORTED_KEYS if query.unsupported else status.PENDING
        explicit = request.transfer_syntax_uid == EXPLICIT_LITTLE_ENDIAN
        self._context.count("broker_worklist_queries_total", {"calling_aet": self._known(peer)})
        answers, lossy, whole = 0, 0, False
        try:
            for row in self._context.worklist.candidates(
                stations=query.stations,
                patient_id=query.patient_id,
                dates=query.dates,
                started_by=peer.calling_aet if self._started else "",
            ):
                if query.matches(row.attributes):
                    answer = query.answer(row.attributes)
                    term = charset.choose(dicom.texts(answer), terms)
                    shown, replaced = dicom.transliterated(answer, term)
                    shown, cut = dicom.with_short_names(shown, limit)
                    yield Answer(status=pending, identifier=encode(shown, charset=term, explicit=explicit))
                    answers += 1
                    lossy += bool(replaced or cut)
            whole = True
        finally:  # also where the device cancels or goes
            if lossy:
                self._context.count("broker_worklist_lossy_total", {"calling_aet": self._known(peer)}, lossy)
            self._context.note_query(
                WorklistQuery(
                    calling_aet=peer.calling_aet,
                    at=self._context.clock(),
                    query=query,
                    answers=answers,
                    whole=whole,
                    lossy=lossy,
                )
            )

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
            "A requested sequence without keys gives its whole items; every requested key is returned, empty where it"
            " is not known. Study Instance UID is always returned.",
            "A C-CANCEL is seen between two answers. The number of answers has no limit.",
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
