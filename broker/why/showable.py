"""What each peer can show: its character sets held against the worklist and the patient register. Writes nothing.

A value counts as shown when one of the peer's sets has all of its letters and it is not too long. Which names they are
is told by `names` only, for callers that have asked who may see them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from broker.dicom import attributes as dicom
from broker.dicom import charset as dicom_charset
from broker.dicom.attributes import Attributes
from broker.dicom.fit import PN_GROUP, with_short_names
from broker.hl7 import charset as hl7_charset
from broker.registers import patients
from broker.registers.worklist import Reader
from broker.settings import Settings
from broker.store import tally
from broker.store.transaction import Transaction
from broker.text import encodable
from broker.why.facts import Device
from broker.why.reading import stations

Asked = Callable[[str], Iterable[Device]]
"""What a device asked last, by its AE title."""

_PATTERN: Final = ("*", "?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A device that is answered, or a destination, and what does not reach it as it is."""

    name: str
    kind: Literal["device", "hl7", "dicom"]
    charsets: tuple[str, ...]
    """The best first."""
    declared: bool
    """The settings say so; else it is the listener's default."""
    name_length: int | None = None
    """None: no limit."""
    rows: int | None = None
    """On its worklist at present."""
    rows_unshown: int | None = None
    patients: int | None = None
    """In the register; None: not looked through."""
    patients_unshown: int | None = None
    asked: tuple[str, ...] = ()
    """(0008,0005) of its last queries, as far as the running broker remembers."""
    lossy: int = 0
    """Answers to those queries, or deliveries of the last days, that were transliterated or cut."""
    codecs: tuple[str, ...] = field(default=(), repr=False)

    def shows(self, texts: Iterable[str]) -> bool:
        """Whether one of its sets has all the letters."""
        beyond = [text for text in texts if not text.isascii()]
        return not beyond or any(all(encodable(text, codec) for text in beyond) for codec in self.codecs)

    def shows_row(self, row: Attributes) -> bool:
        """Whether it gets the row as it is."""
        return self.shows(dicom.texts(row)) and not with_short_names(row, self._limit)[1]

    def shows_name(self, name: str) -> bool:
        """Whether it gets the name as it is."""
        return self.shows((name,)) and (self.name_length is None or len(name) <= self.name_length)

    @property
    def _limit(self) -> int:
        return self.name_length or PN_GROUP


def peers(tx: Transaction, settings: Settings, asked: Asked, *, since: str, scan: bool) -> list[Peer]:
    """Every peer, devices first. `since`: the first day whose deliveries count; `scan`: hold patients against them."""
    rows = [row.attributes for row in Reader(lambda: tx).listed()]
    lossy = tally.lossy(tx, since)
    found = [_with_rows(one, rows, tuple(asked(one.name))) for one in _devices(settings, rows)]
    found += [replace(one, lossy=lossy.get(one.name, 0)) for one in _destinations(settings)]
    return _scanned(tx, found) if scan else found


def names(tx: Transaction, peer: Peer, *, scan: bool) -> list[str]:
    """The patients' names that the peer does not get as they are: of its rows, with `scan` of the whole register."""
    rows = [row.attributes for row in Reader(lambda: tx).listed() if peer.name in stations(row.attributes)]
    found = [str(row.get("PatientName", "")) for row in rows]
    found += _names_of_all(tx) if scan else ()
    return sorted({name for name in found if not peer.shows_name(name)})


def _devices(settings: Settings, rows: Sequence[Attributes]) -> Iterator[Peer]:
    listeners = (setting.config for setting in settings.inbound)
    default: tuple[str, ...] = next((c.charsets for c in listeners if hasattr(c, "charsets")), ())
    named = [title for title in settings.broker.devices if not any(sign in title for sign in _PATTERN)]
    on_lists = sorted({aet for row in rows for aet in stations(row)})
    for aet in dict.fromkeys([*settings.broker.dicom.peers, *named, *on_lists]):
        device = settings.device(aet)
        terms = (device.charsets if device is not None else ()) or default
        yield Peer(
            name=aet,
            kind="device",
            charsets=terms,
            declared=device is not None and bool(device.charsets),
            name_length=device.name_length if device is not None else PN_GROUP,
            codecs=tuple(dicom_charset.codec(term) for term in terms),
        )


def _destinations(settings: Settings) -> Iterator[Peer]:
    """Those whose adapter has the option `charsets`; an HL7 one that declares none gets what its senders wrote."""
    for setting in settings.outbound:
        terms: tuple[str, ...] | None = getattr(setting.config, "charsets", None)
        if terms is None or not setting.entry.enabled or setting.spec.kind == "worklist":
            continue
        hl7 = setting.spec.kind == "hl7"
        codec_of = hl7_charset.codec if hl7 else dicom_charset.codec
        yield Peer(
            name=setting.name,
            kind="hl7" if hl7 else "dicom",
            charsets=terms,
            declared="charsets" in _written(settings, setting.name),
            name_length=None if hl7 else PN_GROUP,
            codecs=tuple(codec_of(term) for term in terms) or ("utf-8",),
        )


def _written(settings: Settings, destination: str) -> Iterable[str]:
    entry = settings.broker.outbound[destination]
    return entry if isinstance(entry, dict) else ()


def _with_rows(peer: Peer, rows: Sequence[Attributes], asked: tuple[Device, ...]) -> Peer:
    mine = [row for row in rows if peer.name in stations(row)]
    return replace(
        peer,
        rows=len(mine),
        rows_unshown=sum(not peer.shows_row(row) for row in mine),
        asked=tuple(dict.fromkeys(one.charset for one in asked)),
        lossy=sum(one.lossy for one in asked),
    )


def _scanned(tx: Transaction, found: Sequence[Peer]) -> list[Peer]:
    number, unshown = 0, [0] * len(found)
    for name in _names_of_all(tx):
        number += 1
        for place, peer in enumerate(found):
            unshown[place] += not peer.shows_name(name)
    return [
        replace(peer, patients=number, patients_unshown=lost)
        for peer, lost in zip(found, unshown, strict=True)
    ]


def _names_of_all(tx: Transaction) -> Iterator[str]:
    for patient in patients.everybody(tx):
        yield dicom.person_name(patient.name) if patient.name else ""
