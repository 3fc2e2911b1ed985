"""What is encrypted between systems, and how long the certificates for it hold. Pure: nothing is opened here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from broker.doctor.finding import Finding, fault, ok, warning
from broker.net.certificate import Validity

NAME: Final = "certificates"
SOON: Final = timedelta(days=30)
"""A certificate that ends within it is to be renewed: hospitals order them from others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pem:
    """A file that the settings name."""

    option: str
    """Where: `dicom.tls.certificate_file`."""
    path: str
    kind: Literal["certificate", "authorities", "key"]
    mode: int
    """As `st_mode`."""
    validities: Sequence[Validity] = ()
    """Of its certificates; a key has none."""


def transport(*, loopback: bool, dicom: Literal["plain", "both", "tls"]) -> Finding:
    """What can be read on the way depends on who can listen. `dicom`: how associations are accepted."""
    if loopback:
        said = {"plain": "MLLP and DICOM have no TLS", "both": "MLLP has no TLS", "tls": "MLLP has no TLS"}[
            dicom
        ]
        return ok(NAME, f"{said}; every listener is bound to loopback")
    away = "keep it on a network of its own, or put a TLS tunnel in front"
    if dicom == "plain":
        found = "MLLP and DICOM are taken without TLS: what they carry can be read on the way"
        return warning(
            NAME, found, f"set `dicom.tls` (docs/tls.md) for devices that can, and for the rest {away}"
        )
    if dicom == "both":
        found = "MLLP, and DICOM on its port without TLS: what they carry can be read on the way"
        return warning(
            NAME, found, f"set `dicom.tls.only` once every device can; until then, and for MLLP, {away}"
        )
    return warning(NAME, "MLLP has no TLS yet: what it carries can be read on the way", away)


def files(found: Sequence[Pem], now: datetime) -> list[Finding]:
    """A finding for each file. `now` is aware."""
    return [_key(one) if one.kind == "key" else _certificates(one, now) for one in found]


def _key(file: Pem) -> Finding:
    if file.mode & 0o007:
        return warning(
            NAME, f"{file.option}: {file.path} is open to every user of this machine", f"chmod o= {file.path}"
        )
    return ok(NAME, f"{file.option}: {file.path}")


def _certificates(file: Pem, now: datetime) -> Finding:
    """A chain holds as long as each of it does; of authorities one is enough."""
    ends = [one.end for one in file.validities]
    end, begin = (
        (min(ends), max(one.begin for one in file.validities))
        if file.kind == "certificate"
        else (max(ends), now)
    )
    said = f"{file.option}: {file.path} is valid until {end:%Y-%m-%d %H:%M} UTC"
    do = "renew it: the file is read anew for the next connection"
    if end <= now:
        return fault(NAME, f"{file.option}: {file.path} has expired, {end:%Y-%m-%d %H:%M} UTC", do)
    if begin > now:
        return fault(
            NAME,
            f"{file.option}: {file.path} is valid from {begin:%Y-%m-%d %H:%M} UTC on",
            "look at the clock",
        )
    if end - now < SOON:
        return warning(NAME, f"{said}, {(end - now).days} days", do)
    return ok(NAME, said)
