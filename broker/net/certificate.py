"""When certificates are valid, read from their bytes: the one thing of them that `ssl` does not tell. Trusts nobody.

RFC 7468 (PEM), RFC 5280 4.1 (Certificate), X.690 8 (DER).
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


@dataclass(frozen=True, slots=True)
class Validity:
    """Aware, UTC."""

    begin: datetime
    end: datetime


def validities(text: str) -> tuple[Validity, ...]:
    """Of each certificate of a PEM file, in its order. Raises `ValueError`: there is none, or one cannot be read."""
    found = tuple(_validity(one) for one in _PEM.findall(text))
    if not found:
        raise ValueError("the file holds no certificate")
    return found


def _validity(pem: str) -> Validity:
    try:
        certificate, _ = _element(ssl.PEM_cert_to_DER_cert(pem), _SEQUENCE)
        fields, _ = _element(certificate, _SEQUENCE)
        if fields[0] == _VERSION:
            _, fields = _element(fields)
        for _ in ("serialNumber", "signature", "issuer"):
            _, fields = _element(fields)
        validity, _ = _element(fields, _SEQUENCE)
        begin, rest = _time(validity)
        return Validity(begin, _time(rest)[0])
    except (IndexError, UnicodeDecodeError, ValueError):
        raise ValueError("a certificate of the file cannot be read") from None


def _element(data: bytes, tag: int | None = None) -> tuple[bytes, bytes]:
    """Content of the element that begins here, and what follows it."""
    if tag is not None and data[0] != tag:
        raise ValueError("another element was due")
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise ValueError("it ends early")
    return data[start : start + length], data[start + length :]


def _time(data: bytes) -> tuple[datetime, bytes]:
    """RFC 5280 4.1.2.5: to the second, in UTC; two digits of a year are of 1950 to 2049."""
    content, rest = _element(data)
    text = content.decode("ascii")
    if data[0] == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif data[0] != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC), rest
