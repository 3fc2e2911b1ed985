"""What an adapter says of itself for the conformance statements (`broker conformance`). Values: nothing is read here.

Only what its options, its `makes` and the tests of routes do not tell already; `broker.conformance` joins all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["DicomService", "IheClaim", "Statement", "WebService"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomService:
    """One DICOM service, as its SCP or its SCU. The SCP that opens the association itself is it by role selection."""

    name: str
    """`Modality Worklist`."""
    role: Literal["SCP", "SCU"]
    sop_classes: tuple[str, ...]
    operations: tuple[str, ...]
    """DIMSE services: `C-FIND`, `N-CREATE`."""
    statuses: Mapping[int, str]
    """SCP: what is answered, and when. SCU: what becomes of what was sent, by the status that came back."""
    returns: tuple[str, ...] = ()
    """Keywords that an answer to a query may hold. Empty: those of the rows that routes make."""
    looked_up: tuple[str, ...] = ()
    """Keywords among them that are looked up whole, and not matched as others are."""
    required: tuple[str, ...] = ()
    """Keywords without a value of which a request is refused."""
    remarks: tuple[str, ...] = ()
    """Sentences about its behaviour and its limits."""
    on_demand: bool = False
    """SCU: it is used when somebody asks, and not by deliveries, which are tried again."""
    kept: bool = True
    """Of a destination: its association is used again; else it is released after each answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebService:
    """One DICOMweb transaction, as its user agent (PS3.18 8.2)."""

    name: str
    """`Store (STOW-RS)`."""
    requests: tuple[str, ...]
    """Methods and resources: `POST {url}/studies`."""
    payload: str
    """What is sent with it."""
    accepts: str
    """Media types that may be answered."""
    statuses: Mapping[str, str]
    """What becomes of it, by the HTTP statuses that come back."""
    remarks: tuple[str, ...] = ()
    """Sentences about its behaviour and its limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IheClaim:
    """One IHE transaction that the adapter takes part in."""

    transaction: str
    """`ITI-30`."""
    name: str
    profile: str
    """`PAM`; the supplement's state where it is not final text."""
    actor: str
    how: Literal["claimed", "relayed"] = "claimed"
    """`relayed`: it passes through, and the actor's whole part is not played."""
    limits: str
    """What a reader must know before relying on it. Never empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """All of it, for one listener or destination with its options."""

    services: tuple[DicomService, ...] = ()
    web: tuple[WebService, ...] = ()
    means: Mapping[str, str] = field(default_factory=dict)
    """HL7 message type to what it is taken to mean."""
    refuses: Mapping[str, str] = field(default_factory=dict)
    """HL7 message type that is known and refused, to why."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """HL7 query to the message that answers it."""
    remarks: tuple[str, ...] = ()
    """Sentences about HL7."""
    claims: tuple[IheClaim, ...] = ()
