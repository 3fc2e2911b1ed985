"""Patient Root C-FIND at PATIENT level from the patient register (PS3.4 C.6.1.1): who a patient is, as PAS has it.

Studies, series and images are the archive's to list: those levels are refused. Nothing is moved or fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import Field

from broker.adapter import InboundContext, InboundSpec, NamePart, Options, PatientWanted
from broker.dicom import attributes as dicom
from broker.dicom import charset, status
from broker.dicom.attributes import Attributes, Value, text_of
from broker.dicom.encode import encode
from broker.dicom.matching import STUDY_UID, Query
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN, PATIENT_ROOT_FIND
from broker.errors import StoreError
from broker.event import Identifier, Patient, PersonName
from broker.hl7.demographics import read_issuer
from broker.net.dicom_listener import DicomListener
from broker.net.hl7_listener import Issuer
from broker.net.service import Answer, FindRequest, Peer
from broker.scalars import Text
from broker.statement import DicomService, Statement

_WILD: Final = re.compile(r"[*?]")
_NAMED: Final = (
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
)
"""Keys that are looked up in the register, aliases too, and so not held against the answer once more."""


class PatientRoot(Options):
    """Options of the Patient Root SCP."""

    issuers: tuple[Issuer, ...] = Field(
        min_length=1,
        description="Domains that (0010,0021) and (0010,0024) may name, namespace&oid&ISO each.",
    )
    askers: tuple[Text, ...] | None = Field(
        default=None, description="Calling AE titles that may ask; unset: all that `dicom` lets in."
    )
    charsets: tuple[Text, ...] = Field(
        default=("ISO_IR 100", "ISO_IR 192"),
        min_length=1,
        description="Specific Character Sets to answer in: the first that shows the whole answer.",
    )
    min_letters: int = Field(
        default=3, ge=1, description="Letters that a name needs before its first wildcard."
    )
    max_hits: int = Field(
        default=500, ge=1, le=10_000, description="At most so many answers; then the status is B001."
    )


class _NotAnsweredError(Exception):
    """A query that is refused; its text is the Error Comment."""

    def __init__(self, code: int, comment: str) -> None:
        super().__init__(comment)
        self.code = code


class PatientRootScp:
    """Answers C-FIND from the register (`broker.net.service.FindService`)."""

    sop_classes = (PATIENT_ROOT_FIND,)

    def __init__(self, config: PatientRoot, context: InboundContext) -> None:
        self._config, self._context = config, context
        self._issuers = tuple(map(read_issuer, config.issuers))

    def find(self, request: FindRequest, peer: Peer) -> Iterator[Answer]:
        """Every patient that matches; none is named before the audit has it."""
        query = Query.read(request.identifier)
        try:
            if self._config.askers is not None and peer.calling_aet not in self._config.askers:
                raise _NotAnsweredError(status.NOT_AUTHORISED, "this AE title may not ask (askers)")
            wanted = self._wanted(query.attributes)
        except _NotAnsweredError as exc:
            self._count("refused")
            yield Answer(status=exc.code, comment=str(exc))
            return
        try:
            keys, found, whole = self._found(query, wanted)
            self._disclose(peer, keys)
        except StoreError:
            self._count("refused")
            raise
        self._count("found" if found else "none")
        pending = status.PENDING_UNSUPPORTED_KEYS if query.unsupported else status.PENDING
        explicit = request.transfer_syntax_uid == EXPLICIT_LITTLE_ENDIAN
        terms = self._terms(query)
        for row in found:
            shown = {key: value for key, value in query.answer(row).items() if key != STUDY_UID}
            texts = list(dicom.texts(shown))
            term = charset.choose(texts, terms)
            if not all(charset.encodable(text, term) for text in texts):
                self._context.count("broker_patient_answers_lossy_total", {"source": self._context.name})
            yield Answer(status=pending, identifier=encode(shown, charset=term, explicit=explicit))
        if not whole:
            yield Answer(status=status.RESPONSE_LIMIT, comment="more patients match; say more")

    def _wanted(self, keys: Attributes) -> PatientWanted | None:
        """What the register is asked; None: it names an issuer that nobody knows. Raises `_NotAnsweredError`."""
        if keys.get("QueryRetrieveLevel") != "PATIENT":
            raise _NotAnsweredError(status.DATA_SET_MISMATCH, "only the PATIENT level is answered")
        items = keys.get("OtherPatientIDsSequence", ())
        others = [item for item in items if isinstance(item, Mapping) and text_of(item, "PatientID")]
        named = [item for item in (keys, *others) if text_of(item, "PatientID").strip("*")]
        identifiers = [self._identifier(item) for item in named]
        family, given = self._names(text_of(keys, "PatientName"))
        born = _born(text_of(keys, "PatientBirthDate"))
        sex = text_of(keys, "PatientSex")
        if not (identifiers or family or (born and born[0] == born[1])):
            raise _NotAnsweredError(status.CANNOT_UNDERSTAND, "needs an id, a family name or a birth date")
        if None in identifiers:
            return None
        return PatientWanted(
            identifiers=tuple(filter(None, identifiers)),
            family=family,
            given=given,
            birth_date=born,
            sex=sex if sex in ("M", "F", "O") else "",
        )

    def _identifier(self, item: Attributes) -> Identifier | None:
        value = text_of(item, "PatientID")
        if _WILD.search(value):
            raise _NotAnsweredError(status.CANNOT_UNDERSTAND, "PatientID takes no wildcard")
        qualifiers = item.get("IssuerOfPatientIDQualifiersSequence", ())
        oid = next((text_of(q, "UniversalEntityID") for q in qualifiers if isinstance(q, Mapping)), "")
        namespace = text_of(item, "IssuerOfPatientID")
        if not oid and not namespace:
            return Identifier(value=value)
        for issuer in self._issuers:
            if oid == issuer.oid if oid else namespace in (issuer.namespace, issuer.oid):
                return issuer.model_copy(update={"value": value})
        return None

    def _names(self, name: str) -> tuple[NamePart | None, NamePart | None]:
        """Family and given name as far as they are literal: what the index is asked; all of it is matched later."""
        family, given, *_ = [*name.partition("=")[0].split("^"), ""]
        if _WILD.search(family):
            literal = _WILD.split(family)[0]
            if family.strip("*") and sum(map(str.isalnum, literal)) < self._config.min_letters:
                comment = f"a name needs {self._config.min_letters} letters before a wildcard"
                raise _NotAnsweredError(status.CANNOT_UNDERSTAND, comment)
        return _part(family), _part(given)

    def _found(self, query: Query, wanted: PatientWanted | None) -> tuple[list[str], list[Attributes], bool]:
        """Keys and attributes of the patients that match, and whether that is all of them."""
        if wanted is None:
            return [], [], True
        most = self._config.max_hits
        candidates = self._context.patients.find(wanted, most)
        matching = Query({key: value for key, value in query.attributes.items() if key not in _NAMED})
        rows = {key: _row(self._context.patients.get(key), wanted.identifiers) for key in candidates[:most]}
        rows = {key: row for key, row in rows.items() if matching.matches(row)}
        return list(rows), list(rows.values()), len(candidates) <= most

    def _disclose(self, peer: Peer, keys: list[str]) -> None:
        detail: dict[str, str | int] = {
            "listener": self._context.name,
            "peer": peer.host,
            "answers": len(keys),
        }
        self._context.patients.disclose(who=peer.calling_aet, what="C-FIND PATIENT", detail=detail, keys=keys)

    def _terms(self, query: Query) -> tuple[str, ...]:
        """What the peer names in (0008,0005) is tried first, as the worklist does."""
        asked = text_of(query.attributes, "SpecificCharacterSet")
        return (asked, *self._config.charsets) if charset.known(asked) else self._config.charsets

    def _count(self, outcome: str) -> None:
        labels = {"source": self._context.name, "outcome": outcome}
        self._context.count("broker_patient_queries_total", labels)


def _row(patient: Patient, asked: tuple[Identifier, ...]) -> Attributes:
    """The Patient module. The first identifier that was asked for is Patient ID, where it still is one."""
    order = {identifier.value: place for place, identifier in reversed(list(enumerate(asked)))}
    first, *others = sorted(patient.identifiers, key=lambda i: order.get(i.value, len(asked)))
    birth_date = patient.birth_date or ""
    row: dict[str, Value] = {
        "QueryRetrieveLevel": "PATIENT",
        "PatientName": dicom.person_name(patient.name or PersonName()),
        "PatientBirthDate": birth_date if len(birth_date) == 8 else "",
        "PatientSex": patient.sex or "",
        **dicom.patient_id(first),
    }
    if others:
        row["OtherPatientIDsSequence"] = tuple(
            {**dicom.patient_id(other), "TypeOfPatientID": "TEXT"} for other in others
        )
    return row


def _part(text: str) -> NamePart | None:
    literal = _WILD.split(text)[0].strip()
    return NamePart(text=literal, prefix=literal != text.strip()) if literal else None


def _born(text: str) -> tuple[str, str] | None:
    """A birth date or a range of them, for the index; `matching` judges what is odd."""
    low, dash, high = text.strip().replace(".", "").partition("-")
    if not low and not high:
        return None
    return low, (high if dash else low)


_ANYBODY: Final = Patient(
    identifiers=(Identifier(value="1", namespace="A", oid="2.999"), Identifier(value="2"))
)


def statement(config: PatientRoot) -> Statement:
    """What a Patient Root SCP with these options claims."""
    who = "every calling AE title that is let in" if config.askers is None else ", ".join(config.askers)
    service = DicomService(
        name="Patient Root Query",
        role="SCP",
        sop_classes=PatientRootScp.sop_classes,
        operations=("C-FIND",),
        statuses={
            status.PENDING: "a patient; every key was supported",
            status.PENDING_UNSUPPORTED_KEYS: "a patient; a key with a value is private or unknown, it narrowed nothing",
            status.NOT_AUTHORISED: "the calling AE title may not ask",
            status.DATA_SET_MISMATCH: "the level is not PATIENT",
            status.CANNOT_UNDERSTAND: "it names no id, family name or birth date; or a wildcard stands where none may",
            status.RESPONSE_LIMIT: f"more than {config.max_hits} patients match: these are the first",
        },
        returns=tuple(_row(_ANYBODY, ())),
        looked_up=_NAMED,
        remarks=(
            f"May ask: {who}. Who was told of whom is in the audit before the answer leaves.",
            f"A name needs {config.min_letters} letters before its first wildcard; Patient ID takes none, and finds by"
            " every number that the patient ever had.",
            "Only the PATIENT level is answered. C-MOVE and C-GET are not supported.",
        ),
    )
    return Statement(services=(service,))


FIND = InboundSpec(
    name="patient-root",
    summary="Patient Root C-FIND at PATIENT level",
    config=PatientRoot,
    factory=lambda config, context: DicomListener(context, PatientRootScp(config, context)),
    role="worklist",
    makes={},
    statement=statement,
)
