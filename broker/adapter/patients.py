"""The patient register as an adapter sees it: who is looked for, and who is told. Nobody changes a patient here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.event import Identifier, Patient


@dataclass(frozen=True, slots=True, kw_only=True)
class NamePart:
    """What one part of a name must be; case and accents do not count."""

    text: str
    prefix: bool = False
    """Anything may follow the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientWanted:
    """Whom somebody looks for. All of it must be true; what is None or empty is not looked at."""

    identifiers: tuple[Identifier, ...] = ()
    """Each leads to the patient, an ended one too; one without an issuer is the value under any issuer."""
    family: NamePart | None = None
    given: NamePart | None = None
    birth_date: tuple[str, str] | None = None
    """First and last `YYYYMMDD`; an empty end is open."""
    sex: str = ""
    """`M`, `F` or `O`."""
    issuers: tuple[str, ...] = ()
    """The patient has a current identifier of one of these issuers (`Identifier.issuer`)."""


class PatientDirectory(Protocol):
    """Read side of the patient register, for those who ask who a patient is. Blocks: not for the event loop.

    Only patients that PAS has spoken of; whoever was merged away is answered as the survivor.
    """

    def find(self, wanted: PatientWanted, most: int) -> Sequence[str]:
        """Keys of the patients, ordered, each once; one more than `most` where there are more than that."""

    def get(self, key: str) -> Patient:
        """The patient under a key, with current identifiers only."""

    def linked(self, key: str) -> Sequence[str]:
        """Keys of the patients that PAS linked with this one (A24), ordered."""

    def disclose(self, *, who: str, what: str, detail: Mapping[str, str | int], keys: Sequence[str]) -> None:
        """Writes to the audit who is about to be told of whom. Returns when that is on disk, so that the answer may
        leave; raises `StoreError` when it cannot be. `what` is the service; `detail` holds no patient's value."""


class Nobody:
    """A directory without patients: where no register stands behind an adapter (its own tests)."""

    def find(self, wanted: PatientWanted, most: int) -> Sequence[str]:  # noqa: ARG002
        return ()

    def get(self, key: str) -> Patient:
        raise KeyError(key)

    def linked(self, key: str) -> Sequence[str]:  # noqa: ARG002
        return ()

    def disclose(self, *, who: str, what: str, detail: Mapping[str, str | int], keys: Sequence[str]) -> None:
        """Nobody is told of anybody."""
