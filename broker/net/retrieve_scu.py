"""Asks an archive what it keeps (C-FIND), and has it send that elsewhere (C-MOVE) or here (C-GET): the study root.

Objects that come here pass from socket to file, in the transfer syntax that the archive chose; none is decoded or held
in memory. What becomes of them, and trying again, is the caller's. One `RetrieveScu` serves one thread. No relational
queries: each level is asked for by the unique keys above it, which every archive supports.

PS3.4 C.4.1 to C.4.3, C.6.2; PS3.7 9.1.2 to 9.1.4. What a final status comes to:

====================  =========  ==================================================================
status                           reason
====================  =========  ==================================================================
0000 B000 FE00        returned   with the counts: all, some, or what was done before it was cancelled
A801                  a person   the archive does not know the AE title that it shall send to
A9xx, 01xx and 02xx   permanent  as `broker.net.store_scu` has them
A7xx Cxxx, any other  transient  out of resources, "unable to process": states of the archive
====================  =========  ==================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from broker.dicom import attributes as dicom
from broker.dicom import pdu, status, uid
from broker.dicom.attributes import Attributes
from broker.dicom.encode import encode
from broker.dicom.pdu import SubOperations
from broker.errors import AskPersonError, PermanentDeliveryError, TransientDeliveryError
from broker.net.find_scu import FindScu, decoded
from broker.net.kept import KeptAssociation
from broker.net.requestor import MAX_CONTEXTS
from broker.net.retrieved import Receiver, Take, proposed
from broker.net.store_scu import PERMANENT
from broker.net.tls import PeerTls

Level = Literal["STUDY", "SERIES", "IMAGE"]

_FINAL: Final = frozenset({status.SUCCESS, status.COERCED, status.CANCEL})
_OWN_CONTEXTS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A study, one of its series, or one instance of that: what is to be retrieved."""

    study_uid: str
    series_uid: str = ""
    sop_instance_uid: str = ""
    """Needs the series."""

    @property
    def level(self) -> Level:
        """The level at which it stands."""
        return "IMAGE" if self.sop_instance_uid else "SERIES" if self.series_uid else "STUDY"

    @property
    def keys(self) -> Attributes:
        """The identifier of its retrieval (PS3.4 C.4.2.1.4)."""
        named = {
            "StudyInstanceUID": self.study_uid,
            "SeriesInstanceUID": self.series_uid,
            "SOPInstanceUID": self.sop_instance_uid,
        }
        return {"QueryRetrieveLevel": self.level, **{key: value for key, value in named.items() if value}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An instance that the archive has."""

    sop_instance_uid: str
    sop_class_uid: str
    """Empty: the archive does not say."""
    series_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a retrieval ended."""

    status: int
    sub_operations: SubOperations
    failed: tuple[str, ...] = ()
    """SOP Instance UIDs that did not arrive: of a C-MOVE as far as the archive lists them (0008,0058)."""
    received: int = 0
    """Of a C-GET: objects that were taken here."""

    @property
    def whole(self) -> bool:
        """Everything that the archive had was taken. Counts go before the status, which some archives call a success
        whatever failed; B000 also stands for warnings of the receiver alone."""
        failed = self.sub_operations.failed
        if failed is None:
            return status.is_success(self.status) and not self.failed
        return not failed and not self.failed and self.status != status.CANCEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who looks on while it goes: is told of each answer, and asked whether it shall end (C-CANCEL)."""

    progress: Callable[[SubOperations], None] = lambda _counts: None
    cancelled: Callable[[], bool] = lambda: False


@dataclass
class RetrieveScu:
    """An SCU of one archive. Opens nothing before the first request.

    Times in seconds: `response_timeout` bounds the wait for each answer to a query and for each PDU of an object,
    `patience` the silence of a C-MOVE or C-GET between two answers or objects: archives fetch from tape meanwhile.

    Every method raises `TransientDeliveryError`, `PermanentDeliveryError` or `AskPersonError`, as above; no association
    is the first, a refused SOP class the second.
    """

    host: str
    port: int
    called_aet: str
    calling_aet: str
    connect_timeout: float = 5.0
    response_timeout: float = 60.0
    patience: float = 300.0
    tls: PeerTls | None = None
    _find: FindScu = field(init=False, repr=False)
    _move: KeptAssociation = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._find = FindScu(
            self.host,
            self.port,
            called_aet=self.called_aet,
            calling_aet=self.calling_aet,
            sop_class_uid=uid.STUDY_ROOT_FIND,
            connect_timeout=self.connect_timeout,
            response_timeout=self.response_timeout,
            tls=self.tls,
        )
        self._move = self._association(uid.STUDY_ROOT_MOVE)

    def find(self, level: Level, keys: Attributes, *, most: int | None = None) -> list[Attributes]:
        """What matches at a level, `most` answers at most: the rest is cancelled. `keys` names the unique keys of the
        levels above (PS3.4 C.4.1.2.1)."""
        return self._find.find({**keys, "QueryRetrieveLevel": level}, most=most)

    def kept(self, study_uid: str, series_uid: str = "") -> list[Kept]:
        """Every instance of a study, or of one of its series, that the archive has."""
        series = [series_uid] if series_uid else self._series(study_uid)
        return [one for number in series for one in self._instances(study_uid, number)]

    def instances_of(self, study_uid: str) -> frozenset[str]:
        """SOP Instance UIDs of a study that the archive has (`broker.adapter.Archive`)."""
        return frozenset(one.sop_instance_uid for one in self.kept(study_uid))

    def move(self, entity: Entity, destination: str, watch: Watch | None = None) -> Outcome:
        """Has it sent to an AE title, whose address the archive must know."""
        with self._move.request() as (association, context):
            context_id = association.accepted[context]
            explicit = context.transfer_syntax == uid.EXPLICIT_LITTLE_ENDIAN
            responses = association.move(
                encode(entity.keys, explicit=explicit),
                context_id=context_id,
                sop_class_uid=uid.STUDY_ROOT_MOVE,
                destination=destination,
                patience=self.patience,
            )
            final = _followed(responses, watch or Watch(), lambda: association.cancel(context_id))
        return _outcome(final, explicit, destination)

    def get(
        self,
        entity: Entity,
        folder: Path,
        take: Take,
        watch: Watch | None = None,
    ) -> Outcome:
        """Has it sent here: each object stands complete in a `.part` file of the folder when `take` is asked. Where the
        archive has nothing of it, nothing is asked for. What it sends besides may be another patient's: that is refused
        and left nowhere."""
        wanted = self._wanted(entity)
        if not wanted:
            return Outcome(status=status.SUCCESS, sub_operations=SubOperations(0, 0, 0, 0))
        storing = proposed([one.sop_class_uid for one in wanted], MAX_CONTEXTS - _OWN_CONTEXTS)
        kept = self._association(uid.STUDY_ROOT_GET, storing)
        receiver = None
        try:
            with kept.request() as (association, context):
                context_id = association.accepted[context]
                explicit = context.transfer_syntax == uid.EXPLICIT_LITTLE_ENDIAN
                numbers = {number: one for one, number in association.accepted.items()}
                receiver = Receiver(folder, self.called_aet, numbers, _only(wanted, take))
                responses = association.get(
                    encode(entity.keys, explicit=explicit),
                    context_id=context_id,
                    sop_class_uid=uid.STUDY_ROOT_GET,
                    receiver=receiver,
                    patience=self.patience,
                )
                final = _followed(responses, watch or Watch(), lambda: association.cancel(context_id))
        finally:
            if receiver is not None:
                receiver.close()
            kept.close()
        done = _outcome(final, explicit, self.calling_aet)
        missing = tuple(one.sop_instance_uid for one in wanted if one.sop_instance_uid not in receiver.taken)
        return replace(done, failed=missing, received=len(receiver.taken))

    def close(self) -> None:
        """Releases its associations. Idempotent."""
        self._find.close()
        self._move.close()

    def _wanted(self, entity: Entity) -> list[Kept]:
        found = self.kept(entity.study_uid, entity.series_uid)
        if not entity.sop_instance_uid:
            return found
        return [one for one in found if one.sop_instance_uid == entity.sop_instance_uid]

    def _series(self, study_uid: str) -> list[str]:
        found = self.find("SERIES", {"StudyInstanceUID": study_uid, "SeriesInstanceUID": ""})
        return list(dict.fromkeys(filter(None, (dicom.text_of(one, "SeriesInstanceUID") for one in found))))

    def _instances(self, study_uid: str, series_uid: str) -> Iterator[Kept]:
        keys = {
            "StudyInstanceUID": study_uid,
            "SeriesInstanceUID": series_uid,
            "SOPInstanceUID": "",
            "SOPClassUID": "",
        }
        for one in self.find("IMAGE", keys):
            yield Kept(
                sop_instance_uid=dicom.text_of(one, "SOPInstanceUID"),
                sop_class_uid=dicom.text_of(one, "SOPClassUID"),
                series_uid=series_uid,
            )

    def _association(self, sop_class_uid: str, storing: Sequence[pdu.Context] = ()) -> KeptAssociation:
        return KeptAssociation(
            self.host,
            self.port,
            sop_class_uid=sop_class_uid,
            called_aet=self.called_aet,
            calling_aet=self.calling_aet,
            connect_timeout=self.connect_timeout,
            response_timeout=self.response_timeout,
            storing=storing,
            tls=self.tls,
        )


def _only(wanted: Sequence[Kept], take: Take) -> Take:
    """Takes what was asked for."""
    uids = frozenset(one.sop_instance_uid for one in wanted)
    return lambda request: take(request) if request.sop_instance_uid in uids else status.CANNOT_UNDERSTAND


def _followed(responses: Iterator[pdu.Response], watch: Watch, cancel: Callable[[], None]) -> pdu.Response:
    """The final answer; cancelled on the way where the onlooker wants that."""
    cancelled = False
    for response in responses:
        if not status.is_pending(response.status):
            return response
        watch.progress(response.sub_operations)
        if not cancelled and watch.cancelled():
            cancel()
            cancelled = True
    raise TransientDeliveryError("the archive's answers ended without a last one")


def _outcome(final: pdu.Response, explicit: bool, destination: str) -> Outcome:
    code = final.status
    if code in _FINAL:
        failed = decoded(final.dataset, explicit).get("FailedSOPInstanceUIDList", ()) if final.dataset else ()
        listed = (failed,) if isinstance(failed, str) else failed
        return Outcome(
            status=code,
            sub_operations=final.sub_operations,
            failed=tuple(one for one in listed if isinstance(one, str) and one),
        )
    text = f"retrieval answered with status {status.describe(code)}"
    if code == status.MOVE_DESTINATION_UNKNOWN:
        raise AskPersonError(f"{text}: the archive must be told where {destination} is")
    if code in PERMANENT or code >> 8 == 0xA9:
        raise PermanentDeliveryError(text)
    # Orthanc says C000 where it does not know the destination, too.
    raise TransientDeliveryError(f"{text}: try again; if it stays so, look whether it knows {destination}")
