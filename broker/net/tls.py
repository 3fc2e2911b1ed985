"""DICOM over TLS: the files that the settings name, as contexts of `ssl`. Opens no connection.

TLS 1.2 and 1.3 with forward secrecy and authenticated encryption, nothing older and no way down to it. A context is
made anew when one of its files has changed on disk. PS3.15 B.12 (BCP 195: RFC 8996, RFC 9325 4.2).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import ssl
import time
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from broker.adapter import Options
from broker.net import certificate
from broker.net.heard import reason
from broker.scalars import FileName, Switch, Text

logger = logging.getLogger(__name__)

PROFILE = "BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12)"
VERSIONS = ("TLS 1.2", "TLS 1.3")
SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of TLS 1.3 are all of this kind."""

Stamps = tuple[tuple[int, int, int], ...]
"""Of each file: inode, time of its last change, size."""


_READABLE = "The user that runs the broker must be able to read it."
_PEM = "It must be in PEM: each certificate between its BEGIN and END lines."
_KEY = "It must be in PEM, without a password, and readable by nobody but the user that runs the broker."


class _LockedError(OSError):
    """The key has a password."""


def _locked() -> NoReturn:
    """Else OpenSSL would ask for it at the terminal."""
    raise _LockedError(errno.EACCES, "the key has a password")


def _certificates(value: str) -> str:
    if value:
        try:
            certificate.validities(Path(value).read_text(encoding="ascii", errors="replace"))
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
        except ssl.SSLError as error:
            raise ValueError(f"the file cannot be used{_why(error)}\n{_PEM}") from None
        except OSError as error:
            raise ValueError(f"the file cannot be read: {reason(error)}\n{_READABLE}") from None
        except ValueError as error:
            raise ValueError(f"{error}\n{_PEM}") from None
    return value


def _key(value: str, info: ValidationInfo) -> str:
    """The key of `certificate_file`, which stands before it."""
    chain = info.data.get("certificate_file")
    if chain and value:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, value, password=_locked)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                what = "the key is not that of the certificate"
                raise ValueError(f"{what}\nName the one that the certificate was made for.") from None
            raise ValueError(f"the key cannot be used{_why(error)}\n{_KEY}") from None
        except OSError as error:
            raise ValueError(f"the key cannot be read: {reason(error)}\n{_KEY}") from None
    return value


def _server_name(value: str) -> str:
    if value:
        try:  # as for a connection: there it would be no `OSError`, and no fault of the peer's
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=value)
        except ValueError:
            raise ValueError("must be a name or an address, as the certificate has it") from None
    return value


def _why(error: ssl.SSLError) -> str:
    """Where OpenSSL says more than that it failed."""
    return f": {reason(error)}" if error.reason else ""


CertificateFile = Annotated[FileName, AfterValidator(_certificates)]
KeyFile = Annotated[FileName, AfterValidator(_key)]
ServerName = Annotated[Text, AfterValidator(_server_name)]


class ListenerTls(Options):
    """Options of the port of DICOM over TLS."""

    port: int = Field(default=2762, ge=0, le=65535, description="TCP port of DICOM over TLS, beside `port`.")
    certificate_file: CertificateFile = Field(
        min_length=1,
        description="PEM file of the broker's certificate, with those of the authorities between; relative to this"
        " file. Renewed on disk it counts from the next connection.",
    )
    key_file: KeyFile = Field(min_length=1, description="PEM file of its key, without a password.")
    client_ca_file: CertificateFile = Field(
        default="",
        description="PEM file of the authorities that sign devices' certificates: who has none of theirs is not let in."
        " Empty: any client is, as on the port without TLS.",
    )
    only: Switch = Field(
        default=False,
        description="The port without TLS is then bound to loopback, for the broker's own commands.",
    )

    @property
    def files(self) -> tuple[str, ...]:
        """Files that it is made of."""
        return tuple(filter(None, (self.certificate_file, self.key_file, self.client_ca_file)))

    def context(self) -> ssl.SSLContext:
        """Of the files as they are now. Raises `OSError`."""
        return _of_listener(self, _stamps(self.files))


class PeerTls(Options):
    """Options of a DICOM destination that is called over TLS."""

    ca_file: CertificateFile = Field(
        default="",
        description="PEM file of the authorities that may sign its certificate, relative to this file. Empty: those"
        " that the machine trusts.",
    )
    certificate_file: CertificateFile = Field(
        default="", description="PEM file of our certificate, where it wants one (`client_ca_file`)."
    )
    key_file: KeyFile = Field(default="", description="PEM file of its key, without a password.")
    server_name: ServerName = Field(
        default="", description="Name or address that its certificate must have; empty: `host`."
    )

    @model_validator(mode="after")
    def _both(self) -> PeerTls:
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file: both, or neither")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """Files that it is made of."""
        return tuple(filter(None, (self.ca_file, self.certificate_file, self.key_file)))

    def secured(self, connection: socket.socket, host: str) -> ssl.SSLSocket:
        """The connection once hands are shaken, within its time-out. Raises `OSError`; then it is closed."""
        try:
            context = _of_peer(self, _stamps(self.files))
            return context.wrap_socket(connection, server_hostname=self.server_name or host)
        except BaseException:
            connection.close()
            raise


def _meant(value: object) -> object:
    """`tls:` with nothing under it is nothing to YAML: what was to be encrypted would leave in the clear, unseen."""
    if value is None:
        raise ValueError(
            "nothing stands under it\nWrite its options, `{}` where it needs none, or leave it out."
        )
    return value


ListenerTlsOption = Annotated[ListenerTls | None, BeforeValidator(_meant)]
PeerTlsOption = Annotated[PeerTls | None, BeforeValidator(_meant)]


class Renewed:
    """The context of a listener: of its files as they are now, of those before where these do not do."""

    def __init__(self, options: ListenerTls) -> None:
        self._options = options
        self._last: ssl.SSLContext | None = None
        self._broken = False

    def context(self) -> ssl.SSLContext:
        """For the next connection. Raises `OSError` where files did not do from the beginning."""
        try:
            found = self._options.context()
        except OSError as error:  # a pair that is being renewed is for a moment none
            if self._last is None:
                raise
            if not self._broken:
                logger.error(
                    "certificate of the DICOM port cannot be read, the old one stays: %s", reason(error)
                )
            self._broken = True
            return self._last
        if self._last is not None and found is not self._last:
            logger.info("certificate of the DICOM port read anew")
        self._last, self._broken = found, False
        return found


class _Connection(ssl.SSLSocket):
    """A client's side that keeps to its time-out as a plain socket does."""

    def sendall(self, data: Any, flags: int = 0) -> None:
        """`ssl`'s own counts anew for every record."""
        patience = self.gettimeout()
        deadline = None if patience is None else time.monotonic() + patience
        try:
            with memoryview(data) as view, view.cast("B") as left:
                sent = 0
                while sent < len(left):
                    if deadline is not None:
                        self.settimeout(max(deadline - time.monotonic(), 0.001))
                    sent += self.send(left[sent:], flags)
        finally:
            self.settimeout(patience)


def say_goodbye(connection: socket.socket) -> None:
    """Ends TLS in order before the connection is closed (close_notify, RFC 8446 6.1); the peer's is not awaited."""
    if isinstance(connection, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):
            connection.settimeout(0)
            connection.unwrap()


@lru_cache(maxsize=16)
def _of_listener(options: ListenerTls, _made_of: Stamps) -> ssl.SSLContext:
    context = _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    # An end without close_notify is an end, and no failure after which OpenSSL would not let an A-ABORT out: where an
    # association ends, its PDUs say, so that nobody can cut it short unseen. Before OpenSSL 3 it was so anyway.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context.load_cert_chain(options.certificate_file, options.key_file, password=_locked)
    if options.client_ca_file:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(options.client_ca_file)
    return context


@lru_cache(maxsize=64)
def _of_peer(options: PeerTls, _made_of: Stamps) -> ssl.SSLContext:
    context = _strict(ssl.create_default_context(cafile=options.ca_file or None))
    if options.certificate_file:
        context.load_cert_chain(options.certificate_file, options.key_file, password=_locked)
    context.sslsocket_class = _Connection
    return context


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _stamps(files: tuple[str, ...]) -> Stamps:
    found = (Path(file).stat() for file in files)
    return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)
