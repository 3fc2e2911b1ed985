"""One OBR with its IPC or TQ1 segments to scheduled steps: which field becomes what (IHE RAD-4 table 4.4-6). Pure.

The derivations for missing ids are documented in docs/worklist.md. Over-long identifiers are refused naming the
field, never cut; descriptions are for reading and are shortened to what DICOM holds when they are rendered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from broker.dicom import uid
from broker.errors import DATA_TYPE_ERROR, REQUIRED_FIELD_MISSING, UnmappableError
from broker.event import Code, Identifier, Order, Step, StepStatus
from broker.hl7 import demographics
from broker.hl7.er7 import NULL, Segment
from broker.reception import Profile

SH: Final = 16  # PS3.5 6.2: VR SH and AE
MODALITY_TABLE: Final = "modality"
_CS: Final = re.compile(r"[A-Z0-9 _]{1,16}")
_UID_LIKE: Final = re.compile(r"[0-9]+(\.[0-9]+){2,}")
_PRIORITY: Final = {"S": "STAT", "A": "HIGH", "P": "HIGH", "C": "HIGH", "R": "ROUTINE", "T": "MEDIUM"}
"""TQ1-9, ORC-7.6 (table 0485, 0027) to (0040,1003)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The segments one request is read from."""

    orc: Segment
    obr: Segment
    tq1: Sequence[Segment]
    ipc: Sequence[Segment]
    zds: Segment | None
    unnamed: Counter[str]
    """How often a step without an id of its own was given each key, in the whole message."""


def named(obr: Segment, ipc: Sequence[Segment]) -> bool:
    """Whether the sender names the step it means: IPC-4, without IPC OBR-20."""
    return any(_stated(segment, 4) for segment in ipc) if ipc else bool(_stated(obr, 20))


def steps(source: Source, order: Order, status: StepStatus | None, profile: Profile) -> Iterator[Step]:
    """The steps of a request: one for each IPC; without IPC one, or one for each TQ1 where there are several."""
    if source.ipc:
        for number, ipc in enumerate(source.ipc):
            timing = source.tq1[number] if len(source.tq1) == len(source.ipc) else _first(source.tq1)
            yield _step(source, order, status, profile, ipc=ipc, timing=timing)
        return
    timings: Sequence[Segment | None] = source.tq1 or [None]
    for timing in timings:
        yield _step(source, order, status, profile, ipc=None, timing=timing)


def _step(
    source: Source,
    order: Order,
    status: StepStatus | None,
    profile: Profile,
    *,
    ipc: Segment | None,
    timing: Segment | None,
) -> Step:
    obr = source.obr
    number = order.filler_number or order.placer_number
    assert number is not None, "an order without a number was refused before"
    accession = _accession(ipc, obr, number)
    requested = _short(ipc, 2) or _short(obr, 19) or _fitting(number.value) or accession
    issuer = number.issuer or profile.site
    step_id = _step_id(source, ipc, requested, f"{issuer}|{number.value}")
    study_uid, derived = _study_uid(source, ipc, profile, accession or requested or number.value, number)
    start = _start(source, timing)
    stations = _stations(source, ipc)
    modality = _modality(ipc, obr, profile)
    return Step(
        key="|".join((issuer, number.value, step_id)),
        status=status,
        step_id=step_id,
        accession_number=accession,
        accession_issuer=_stated(ipc, 1, 2) if ipc is not None else "",
        requested_procedure_id=requested or step_id,
        study_uid=study_uid,
        study_uid_derived=derived,
        modality=modality,
        station_aets=_aets(ipc),
        # An order without IPC has no field for the station (RAD-4 ORM^O01): the site's pool for the modality is
        # the last resort. A RIS that sends IPC and leaves IPC-9 empty has not decided: the row waits.
        station_codes=(*stations, f"modality:{modality}") if ipc is None and modality else stations,
        station_name=_short(ipc, 7),
        location=_short(ipc, 8),
        start_date=start[0],
        start_time=start[1],
        description=_text(ipc, 6) or _text(obr, 4),
        protocol=(demographics.code(ipc, 6) if ipc is not None else None) or demographics.code(obr, 4),
        procedure=demographics.code(obr, 44) or order.procedure,
        performing_physician=demographics.person(obr, 34),
        priority=_priority(source.orc, obr, timing),
    )


def _step_id(source: Source, ipc: Segment | None, requested: str, order: str) -> str:
    """IPC-4, without IPC OBR-20, else the requested procedure's, numbered from its second step on."""
    segment, field = (ipc, 4) if ipc is not None else (source.obr, 20)
    if own := _short(segment, field):
        return own
    key = f"{order}|{requested}"
    source.unnamed[key] += 1
    count = source.unnamed[key]
    step_id = requested if count == 1 else f"{requested}.{count}"
    if not requested or len(step_id) > SH:
        raise UnmappableError(
            f"{segment.name}-{field} is empty, and no shorter id can stand in for it",
            error_code=REQUIRED_FIELD_MISSING,
            location=segment.location(field),
        )
    return step_id


def _accession(ipc: Segment | None, obr: Segment, number: Identifier) -> str:
    """IPC-1, else OBR-18, else the order number where it fits: senders use it as accession number."""
    return _short(ipc, 1) or _short(obr, 18) or _fitting(number.value)


def _study_uid(
    source: Source, ipc: Segment | None, profile: Profile, seed: str, number: Identifier
) -> tuple[str, bool]:
    """IPC-3, else ZDS-1, else derived from what is stable for the request. A ZDS without a UID means other things."""
    for segment, field in ((ipc, 3), (source.zds, 1)):
        text = segment.get(field).strip() if segment is not None else ""
        if segment is None or not _UID_LIKE.fullmatch(text):
            if text and segment is ipc and segment is not None and text != NULL:
                raise UnmappableError("IPC-3 is no UID", location=segment.location(field))
            continue
        if not uid.valid(text):
            raise UnmappableError(
                f"{segment.name}-{field} is no valid UID (PS3.5 9.1)",
                error_code=DATA_TYPE_ERROR,
                location=segment.location(field),
            )
        return text, False
    return uid.derive(f"study|{profile.site}|{number.issuer}|{seed}"), True


def _start(source: Source, timing: Segment | None) -> tuple[str, str]:
    """TQ1-7, else ORC-7.4, else OBR-27.4, else OBR-36. Empty when none is given; refused when it is no time."""
    places = [(source.orc, 7, 4), (source.obr, 27, 4), (source.obr, 36, 1)]
    if timing is not None:
        places.insert(0, (timing, 7, 1))
    for segment, field, component in places:
        text = segment.get(field, component)
        if not text or text == NULL:
            continue
        found = demographics.date_and_time(text)
        if found is None:
            raise UnmappableError(
                f"{segment.name}-{field} is no time", location=segment.location(field, component)
            )
        return found
    return "", ""


def _aets(ipc: Segment | None) -> tuple[str, ...]:
    """IPC-9: the AE titles that the sender names."""
    if ipc is None:
        return ()
    found = []
    for part in ipc.repetitions(9):
        title = part.get(1).strip()
        if not title or title == NULL:
            continue
        if len(title) > SH or not title.isascii() or not _fits(title):
            raise _unfit(ipc, 9, f"holds no AE title: up to {SH} ASCII characters, no backslash (PS3.5 6.2)")
        found.append(title)
    return tuple(dict.fromkeys(found))


def _stations(source: Source, ipc: Segment | None) -> tuple[str, ...]:
    """Codes of a station or examination room that a station table may know, the most specific first.

    Never the patient's place (PV1-3) or the ward that ordered (ORC-13): where somebody lies says nothing of where the
    examination is.
    """
    places = [(ipc, 7), (ipc, 8)] if ipc is not None else [(source.orc, 18), (source.obr, 21)]
    found = [demographics.stated(segment.get(field)) or "" for segment, field in places]
    return tuple(dict.fromkeys(code for code in found if code))


def _modality(ipc: Segment | None, obr: Segment, profile: Profile) -> str:
    """IPC-5 or OBR-24, through the table of diagnostic service codes; empty when none is given."""
    segment, field = (ipc, 5) if ipc is not None and ipc.text(5) else (obr, 24)
    for component in (1, 2):
        text = segment.get(field, component).strip().upper()
        if text and text != NULL:
            modality = profile.tables.get(MODALITY_TABLE, {}).get(text, text)
            if _CS.fullmatch(modality) is None:
                raise UnmappableError(
                    f"{segment.name}-{field} is no modality (PS3.5 6.2: CS)",
                    location=segment.location(field, component),
                )
            return modality
    return ""


def _priority(orc: Segment, obr: Segment, timing: Segment | None) -> str:
    """TQ1-9, else ORC-7.6, else OBR-27.6, else OBR-5."""
    given = [timing.get(9)] if timing is not None else []
    given += [orc.get(7, 6), obr.get(27, 6), obr.get(5)]
    return next((_PRIORITY[g[0].upper()] for g in given if g and g[0].upper() in _PRIORITY), "")


def _short(segment: Segment | None, field: int) -> str:
    """An identifier of VR SH. Raises `UnmappableError` when it is too long: two cut ids could become one."""
    if segment is None:
        return ""
    text = _stated(segment, field)
    if len(text) > SH:
        raise _unfit(segment, field, f"is longer than the {SH} characters that DICOM holds")
    if not _fits(text):
        raise _unfit(segment, field, "holds a sign that DICOM cannot hold")
    return text


def _fitting(text: str) -> str:
    return text if len(text) <= SH and _fits(text) else ""


def _fits(text: str) -> bool:
    """No backslash, which parts values, and no control character (PS3.5 6.2: SH)."""
    return "\\" not in text and text.isprintable()


def _stated(segment: Segment, field: int, component: int = 1) -> str:
    """The text; empty also where the sender cleared it (HL7 null)."""
    return demographics.stated(segment.get(field, component)) or ""


def _text(segment: Segment | None, field: int) -> str:
    found = demographics.code(segment, field) if segment is not None else None
    return (found or Code()).text


def _first(segments: Sequence[Segment]) -> Segment | None:
    return segments[0] if segments else None


def _unfit(segment: Segment, field: int, why: str) -> UnmappableError:
    return UnmappableError(f"{segment.name}-{field} {why}", location=segment.location(field))
