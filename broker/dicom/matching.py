"""C-FIND matching: which rows a query wants, and what each row's answer holds. Pure: no network, no store.

How one key is matched is `broker.dicom.keys`'s. Reads whatever modalities send: group lengths, private keys,
zero-length sequences, one empty item. Private and unknown keys are not supported for matching: they are named in
`Query.unsupported` so that the service can answer FF01 (PS3.4 K.4.1.1.4). No relational, fuzzy or time-zone matching.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from pydicom.dataset import Dataset

from broker.dicom import ranges, uid, wildcard
from broker.dicom.attributes import Attributes, Value, items_of, tag_of, vr_of
from broker.dicom.dataset import from_dataset
from broker.dicom.keys import Item, KeyVerdict, first_item, narrows, values_of

STEPS = "ScheduledProcedureStepSequence"
STUDY_UID = "StudyInstanceUID"
# Stable names of what is ordered, should a row ever come without its Study Instance UID.
_STUDY_SEED = ("PatientID", "IssuerOfPatientID", "AccessionNumber", "RequestedProcedureID")
_NUMBERS = (
    *("PatientID", "AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID", "StudyInstanceUID"),
    *("AdmissionID", "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest"),
)


@dataclass(frozen=True)
class Query:
    """A query identifier, read once, matched against many rows."""

    attributes: Attributes
    """What the identifier holds, unknown keys of even groups left out."""
    unsupported: tuple[str, ...] = ()
    """Private and unknown keys with a value; a service that has any answers FF01 instead of FF00."""

    @classmethod
    def read(cls, identifier: Dataset, *, charset: str = "") -> Query:
        """Reads any data set that a peer may send. `charset`: the defined term where it declares none."""
        dropped: list[str] = []
        attributes = _known(from_dataset(identifier, charset=charset), "", dropped)
        return cls(attributes, tuple(dropped))

    def matches(self, attributes: Attributes) -> bool:
        """Whether the row is an answer."""
        return not self.excluded_by(attributes)

    def excluded_by(self, attributes: Attributes) -> str:
        """Path of the first key that the row does not match, empty when it matches.

        A key with a value excludes a row that has no such attribute, or has it empty.
        """
        return self._item.excluded_by(attributes)

    def verdicts(self, attributes: Attributes) -> tuple[KeyVerdict, ...]:
        """What each key that narrows the query says to the row; those that any row passes are left out.

        Of several items of a sequence the one that passes most keys is judged.
        """
        return tuple(self._item.verdicts(attributes))

    def answer(self, attributes: Attributes) -> Attributes:
        """The row as the peer asked for it: every requested key, empty where the row knows nothing.

        A zero-length requested sequence gives the row's whole items (PS3.4 K.6.1.2), a sequence that the
        row has not is zero-length. The Study Instance UID is always there and well-formed: devices drop
        rows without one.
        """
        answer = self._item.answer(attributes)
        study = attributes.get(STUDY_UID, "")
        if not isinstance(study, str) or not uid.valid(study):
            study = uid.derive("\n".join(str(attributes.get(key, "")) for key in _STUDY_SEED))
        return dict(sorted({**answer, STUDY_UID: study}.items(), key=lambda pair: tag_of(pair[0])))

    def of_one_device(self, titles: tuple[str, ...]) -> Query:
        """The query of a device that has several AE titles: who asks for one of them asks for all."""
        asked = self.stations
        if not set(asked) & set(titles):
            return self
        step = {**self._step, "ScheduledStationAETitle": tuple(dict.fromkeys((*asked, *titles)))}
        return Query({**self.attributes, STEPS: (step,)}, self.unsupported)

    def also_asking(self, keys: Iterable[str], step_keys: Iterable[str]) -> Query:
        """The query with more return keys, beside the step and in it, where it does not ask for them itself."""
        whole = dict.fromkeys(keys, "") | dict(self.attributes)
        if not (STEPS in self.attributes and not self._step):  # the step is not asked for whole
            step = dict.fromkeys(step_keys, "") | dict(self._step)
            if step:
                whole[STEPS] = (step,)
        return Query(whole, self.unsupported)

    @property
    def numbered(self) -> bool:
        """Whether it names a patient, an order, a step or a visit by number: whoever scans a barcode means that one."""
        asked = {**self._step, **self.attributes}
        return any(narrows(key, asked.get(key, "")) for key in _NUMBERS)

    @property
    def dated(self) -> bool:
        """Whether it names a day or a time for the step to start."""
        return any(
            narrows(key, self._step.get(key, ""))
            for key in ("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime")
        )

    @property
    def asked(self) -> tuple[str, ...]:
        """Path of every key that it asks for, those that are not supported too; no value."""
        return tuple(sorted({*_paths(self.attributes), *self.unsupported}))

    @property
    def stations(self) -> tuple[str, ...]:
        """The scheduled station AE titles, when the query names exact ones; else none."""
        values = values_of(self._step.get("ScheduledStationAETitle", ""))
        return () if any(map(wildcard.stands_in, values)) else values

    @property
    def patient_id(self) -> str:
        """The one exact patient id that the query names, else empty."""
        values = values_of(self.attributes.get("PatientID", ""))
        return values[0] if len(values) == 1 and not wildcard.stands_in(values[0]) else ""

    @property
    def patient_name(self) -> str:
        """The one patient's name that the query wants, with its wildcards, else empty."""
        values = values_of(self.attributes.get("PatientName", ""))
        return values[0] if len(values) == 1 else ""

    @property
    def dates(self) -> tuple[str, str]:
        """First and last scheduled start date (`YYYYMMDD`); empty where the query sets no such end."""
        values = values_of(self._step.get("ScheduledProcedureStepStartDate", ""))
        if len(values) != 1 or not values[0].strip("*"):
            return ("", "")
        low, high = ranges.ends(ranges.plain_date(values[0]))
        return (ranges.whole_date(low), ranges.whole_date(high))

    @property
    def _step(self) -> Attributes:
        return first_item(self.attributes.get(STEPS, ""))

    @cached_property
    def _item(self) -> Item:
        return Item.read(self.attributes)


def _paths(keys: Attributes) -> Iterator[str]:
    for key, value in keys.items():
        yield key
        for item in items_of(value):
            yield from (f"{key}.{path}" for path in _paths(item))


def _known(keys: Attributes, prefix: str, dropped: list[str]) -> Attributes:
    """The keys that the broker supports; those with a value that it does not are added to `dropped`."""
    known: dict[str, Value] = {}
    for key, value in keys.items():
        if "," in key:  # no keyword: private, or not in the dictionary
            private, creator = tag_of(key) >> 16 & 1, tag_of(key) & 0xFFFF <= 0xFF
            if value and not (private and creator):
                dropped.append(prefix + key)
            if private and isinstance(value, str):
                known[key] = value
        elif vr_of(key) == "SQ":
            known[key] = tuple(_known(item, f"{prefix}{key}.", dropped) for item in items_of(value))
        else:
            known[key] = value
    return known
