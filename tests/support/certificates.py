"""Certificates by OpenSSL: a local authority, what it issues, and one that signs itself. All for this machine only."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.needs import needs

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_HERE = "DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Its own certificate is `file`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.file, self._key = folder / "authority.pem", folder / "authority.key"
        _openssl(
            "req",
            "-x509",
            *_KEY,
            "-days",
            "2",
            "-subj",
            "/CN=Test Authority",
            "-keyout",
            self._key,
            "-out",
            self.file,
        )

    def issue(self, name: str = "localhost", *, names: str = _HERE, days: int = 2) -> Issued:
        """A certificate for a server or a client. `names`: its subjectAltName; `days`: how long it is valid."""
        issued = Issued(certificate=self._folder / f"{name}.pem", key=self._folder / f"{name}.key")
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        _openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", issued.key, "-out", request)
        signed = (
            "-CA",
            self.file,
            "-CAkey",
            self._key,
            "-CAcreateserial",
            "-days",
            days,
            "-extfile",
            extensions,
        )
        _openssl("x509", "-req", "-in", request, *signed, "-out", issued.certificate)
        return issued


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context for `localhost`, and the file that makes a client trust it."""
    key, file = folder / "key.pem", folder / "certificate.pem"
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    _openssl("req", "-x509", *_KEY, "-days", "2", *name, "-keyout", key, "-out", file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return context, file


def _openssl(*words: object) -> None:
    subprocess.run([needs("openssl"), *map(str, words)], check=True, capture_output=True)
