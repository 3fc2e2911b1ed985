"""Options of TLS: files that do not do are told with their place, renewed ones count; who trusts whom, and in what."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import pytest

from broker.errors import ConfigError, UnreachableError
from broker.net.association import AssociationServer
from broker.net.echo_scu import echo
from broker.net.requestor import Requestor
from broker.net.tls import ListenerTls, PeerTls, Renewed
from broker.yamlfile import reading
from broker.yamlfile.check import validate
from tests.support.certificates import Authority, Issued
from tests.support.needs import needs
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, issued: Issued
) -> Iterator[AssociationServer]:
    """It asks for no certificate."""
    found = AssociationServer(
        *("127.0.0.1", 0), spool=tmp_path_factory.mktemp("spool"), admit=lambda _: True, tls=listener(issued)
    )
    found.start()
    yield found
    found.stop(0)


@pytest.fixture(scope="module")
def mutual(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, issued: Issued
) -> Iterator[AssociationServer]:
    """It does."""
    options = listener(issued, client_ca_file=str(authority.file))
    found = AssociationServer(
        *("127.0.0.1", 0), spool=tmp_path_factory.mktemp("spool"), admit=lambda _: True, tls=options
    )
    found.start()
    yield found
    found.stop(0)


def listener(issued: Issued, **options: Any) -> ListenerTls:
    return ListenerTls(port=0, certificate_file=str(issued.certificate), key_file=str(issued.key), **options)


def said(port: int, tls: PeerTls | None, host: str = "localhost") -> str:
    return echo(host, port, called_aet="BROKER", calling_aet="TESTSCU", patience=10, tls=tls)


# --- files that do not do ---


def fault(folder: Path, text: str) -> str:
    """What is said of these options, as `line:column: what`."""
    document = reading.loads(text, str(folder / "broker.yaml"))
    with pytest.raises(ConfigError) as error:
        validate(document, ListenerTls)
    (found,) = error.value.faults
    return f"{found.line}:{found.column}: {found.message.partition(': ')[2]} {found.hint}"


@pytest.fixture
def folder(tmp_path: Path, issued: Issued, stranger: Authority) -> Path:
    """Files beside the settings, some of them useless."""
    copy(issued.certificate, tmp_path / "good.pem")
    copy(issued.key, tmp_path / "good.key")
    copy(stranger.issue("other").key, tmp_path / "other.key")
    (tmp_path / "words.pem").write_text("no certificate, patient TEST^BILDE\n")
    block = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"
    (tmp_path / "broken.pem").write_text(block)
    element = b"\x30\x02\x05\x00"
    validity = b"\x30\x1e" + b"\x17\x0d260101000000Z" * 2
    fields = element * 3 + validity
    odd = b"\x30" + bytes([len(fields) + 2]) + b"\x30" + bytes([len(fields)]) + fields
    (tmp_path / "odd.pem").write_text(ssl.DER_cert_to_PEM_cert(odd))
    locked = [
        needs("openssl"),
        "ec",
        "-in",
        issued.key,
        "-aes128",
        "-passout",
        "pass:x",
        "-out",
        tmp_path / "locked.key",
    ]
    subprocess.run(locked, check=True, capture_output=True)
    return tmp_path


@pytest.mark.parametrize(
    ("certificate", "key", "client_ca", "expected"),
    [
        ("gone.pem", "good.key", "good.pem", "1:19: the file is not there"),
        ("words.pem", "good.key", "good.pem", "1:19: the file holds no certificate. It must be in PEM"),
        (
            "broken.pem",
            "good.key",
            "good.pem",
            "1:19: a certificate of the file cannot be read. It must be in PEM",
        ),
        ("odd.pem", "good.key", "good.pem", "1:19: the file cannot be used"),
        ("good.pem", "gone.key", "good.pem", "2:11: the file is not there"),
        ("good.pem", "other.key", "good.pem", "2:11: the key is not that of the certificate. Name the one"),
        ("good.pem", "words.pem", "good.pem", "2:11: the key cannot be used. It must be"),
        (
            "good.pem",
            "locked.key",
            "good.pem",
            "2:11: the key cannot be read: the key has a password. It must be",
        ),
        ("good.pem", "good.key", "good.key", "3:17: the file holds no certificate. It must be in PEM"),
    ],
)
def test_a_file_that_does_not_do_is_told_with_its_place(
    folder: Path, certificate: str, key: str, client_ca: str, expected: str
) -> None:
    text = f"certificate_file: {certificate}\nkey_file: {key}\nclient_ca_file: {client_ca}\n"
    found = fault(folder, text)
    assert found.startswith(expected), found
    assert "TEST^" not in found


def test_a_file_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    found = fault(folder, "certificate_file: good.pem\nkey_file: good.key\n")
    assert found.startswith("1:19: the file cannot be read: Permission denied. The user"), found


def test_a_listener_needs_both(folder: Path) -> None:
    assert "'key_file' is missing" in fault(folder, "certificate_file: good.pem\n")


def test_a_requestor_has_both_or_neither(issued: Issued) -> None:
    assert PeerTls().certificate_file == ""
    with pytest.raises(ValueError, match="both, or neither"):
        PeerTls(certificate_file=str(issued.certificate))


@pytest.mark.parametrize("name", [".example", "pacs..example", "p" * 64, "pacs\ud800"])
def test_a_name_that_no_certificate_can_have_is_told_before_anybody_is_called(name: str) -> None:
    """`ssl` raises no `OSError` for it: each delivery would fail as if by a fault of ours, and be parked one day."""
    with pytest.raises(ValueError, match="must be a name or an address"):
        PeerTls(server_name=name)


@pytest.mark.parametrize("name", ["pacs", "pacs_1.example", "192.0.2.7", "2001:db8::7", "røntgen.example"])
def test_a_name_or_address_of_a_server(name: str) -> None:
    assert PeerTls(server_name=name).server_name == name


# --- renewed ones ---


@pytest.fixture
def pair(tmp_path: Path, issued: Issued) -> Issued:
    """One that may be written over."""
    mine = Issued(certificate=tmp_path / "mine.pem", key=tmp_path / "mine.key")
    copy(issued.certificate, mine.certificate)
    copy(issued.key, mine.key)
    return mine


def test_a_renewed_certificate_counts_from_the_next_connection(
    pair: Issued, stranger: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    renewed = Renewed(listener(pair))
    first = renewed.context()
    assert renewed.context() is first, "read once"
    other = stranger.issue("renewed")
    copy(other.certificate, pair.certificate)
    assert renewed.context() is first, "certificate and key do not fit: half of them is new"
    assert renewed.context() is first
    copy(other.key, pair.key)
    second = renewed.context()
    assert second is not first
    assert renewed.context() is second
    told = [record.levelname for record in caplog.records]
    assert told == ["ERROR", "INFO"], "each once"


def test_files_that_never_did_are_an_error(pair: Issued) -> None:
    renewed = Renewed(listener(pair))
    pair.key.unlink()
    with pytest.raises(FileNotFoundError):
        renewed.context()


def test_a_destination_whose_files_are_gone_is_unreachable(
    server: AssociationServer, pair: Issued, authority: Authority
) -> None:
    tls = PeerTls(ca_file=str(authority.file), certificate_file=str(pair.certificate), key_file=str(pair.key))
    assert said(server.tls_port, tls) == ""
    pair.key.unlink()
    assert said(server.tls_port, tls).endswith("No such file or directory")


# --- who trusts whom ---


def test_a_peer_is_called_by_its_certificate_s_name(server: AssociationServer, authority: Authority) -> None:
    trusting = str(authority.file)
    assert said(server.tls_port, PeerTls(ca_file=trusting)) == ""
    assert said(server.tls_port, PeerTls(ca_file=trusting), host="127.0.0.1") == ""
    wrong = said(server.tls_port, PeerTls(ca_file=trusting, server_name="pacs.example"))
    assert wrong.startswith(
        f"the certificate of localhost:{server.tls_port} is not trusted: Hostname mismatch"
    )


def test_a_server_may_have_another_name_than_its_address(
    authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    tls = listener(authority.issue("pacs", names="DNS:pacs.example"))
    there = AssociationServer("127.0.0.1", 0, spool=tmp_path / "spool", admit=lambda _: True, tls=tls)
    there.start()
    try:
        trusting = {"ca_file": str(authority.file)}
        assert "not trusted" in said(there.tls_port, PeerTls(**trusting))
        assert said(there.tls_port, PeerTls(**trusting, server_name="pacs.example")) == ""
    finally:
        there.stop(0)


def test_whom_nobody_vouches_for_is_not_trusted(server: AssociationServer, stranger: Authority) -> None:
    for tls in (PeerTls(ca_file=str(stranger.file)), PeerTls()):
        assert f"the certificate of localhost:{server.tls_port} is not trusted" in said(server.tls_port, tls)


def test_an_expired_certificate_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    tls = listener(authority.issue("expired", days=-1))
    there = AssociationServer("127.0.0.1", 0, spool=tmp_path / "spool", admit=lambda _: True, tls=tls)
    there.start()
    try:
        assert said(there.tls_port, PeerTls(ca_file=str(authority.file))).endswith("certificate has expired")
    finally:
        there.stop(0)


def test_who_asks_for_a_certificate_takes_only_those_of_its_authorities(
    mutual: AssociationServer, authority: Authority, stranger: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    trusting = str(authority.file)
    mine, other = authority.issue("client"), stranger.issue("client")
    assert said(mutual.tls_port, client(trusting, mine)) == ""
    for tls in (PeerTls(ca_file=trusting), client(trusting, other)):
        assert said(mutual.tls_port, tls).startswith(f"no connection to localhost:{mutual.tls_port}: TLS: ")
    for told in ("peer did not return a certificate", "certificate verify failed"):
        wait_until(lambda told=told: f"broken off: TLS: {told}" in caplog.text, "it is told")  # type: ignore[misc]


def test_who_hangs_up_for_want_of_a_certificate_before_anything_is_written_is_unreachable(
    authority: Authority, issued: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As DCMTK does: else deliveries would be parked one day for what is no fault of theirs."""
    asking = listener(issued, client_ca_file=str(authority.file)).context()

    def hang_up() -> None:
        with pytest.raises(ssl.SSLError), there.accept()[0] as connection:
            asking.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as there:
        thread, secured = threading.Thread(target=hang_up), PeerTls.secured

        def late(self: PeerTls, connection: socket.socket, host: str) -> ssl.SSLSocket:
            found = secured(self, connection, host)
            thread.join(10)
            return found

        monkeypatch.setattr(PeerTls, "secured", late)
        thread.start()
        port = there.getsockname()[1]
        with pytest.raises(UnreachableError, match=f"no connection to localhost:{port}: TLS: .*certificate"):
            Requestor(
                *("localhost", port),
                called_aet="X",
                calling_aet="Y",
                contexts=(),
                connect_timeout=10,
                response_timeout=10,
                max_pdu=16384,
                tls=PeerTls(ca_file=str(authority.file)),
            )


def client(trusting: str, mine: Issued) -> PeerTls:
    return PeerTls(ca_file=trusting, certificate_file=str(mine.certificate), key_file=str(mine.key))


def test_a_port_without_tls_is_no_connection(server: AssociationServer, authority: Authority) -> None:
    tls = PeerTls(ca_file=str(authority.file))
    assert said(server.port, tls) == f"no connection to localhost:{server.port}: TLS: wrong version number"


def test_a_server_that_never_shakes_hands_is_given_up(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        told = echo(
            *("localhost", port),
            called_aet="X",
            calling_aet="Y",
            patience=0.1,
            tls=PeerTls(ca_file=str(authority.file)),
        )
    assert told == f"no connection to localhost:{port}: no answer in time"


def test_all_of_what_is_sent_has_one_time(issued: Issued, authority: Authority) -> None:
    """`ssl`'s own `sendall` would begin anew with each record that a slow peer takes."""
    done = threading.Event()

    def serve() -> None:
        connection, _ = there.accept()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        with context.wrap_socket(connection, server_side=True) as slow:
            while not done.wait(0.02):
                slow.recv(1 << 14)

    with socket.create_server(("127.0.0.1", 0)) as there:
        server = threading.Thread(target=serve)
        server.start()
        connection = socket.create_connection(there.getsockname(), timeout=10)
        with PeerTls(ca_file=str(authority.file)).secured(connection, "localhost") as ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
            ours.settimeout(0.2)
            with pytest.raises(TimeoutError):
                ours.sendall(bytes(50_000_000))
            assert ours.gettimeout() == 0.2
        done.set()
        server.join()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_versions_that_are_spoken(
    server: AssociationServer, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context(cafile=authority.file)
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", server.tls_port), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as secured,
    ):
        assert secured.version() == version.name.replace("_", ".")


@pytest.mark.parametrize(
    ("older", "suites"),
    [
        (ssl.TLSVersion.TLSv1_1, "DEFAULT@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0"),  # CBC
    ],
)
def test_what_is_older_is_refused_both_ways(
    server: AssociationServer,
    authority: Authority,
    issued: Issued,
    caplog: pytest.LogCaptureFixture,
    older: ssl.TLSVersion,
    suites: str,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        caller, called = (
            ssl.create_default_context(cafile=authority.file),
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        )
        for context in (caller, called):
            context.set_ciphers(suites)
            context.minimum_version = context.maximum_version = older
    called.load_cert_chain(issued.certificate, issued.key)
    with (
        socket.create_connection(("127.0.0.1", server.tls_port), timeout=10) as connection,
        pytest.raises(ssl.SSLError),
    ):
        caller.wrap_socket(connection, server_hostname="localhost")
    wait_until(lambda: "broken off: TLS: " in caplog.text, "it is told")

    def serve() -> None:
        connection, _ = there.accept()
        with pytest.raises(ssl.SSLError):
            called.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as there:
        thread = threading.Thread(target=serve)
        thread.start()
        connection = socket.create_connection(there.getsockname(), timeout=10)
        with pytest.raises(ssl.SSLError):
            PeerTls(ca_file=str(authority.file)).secured(connection, "localhost")
        thread.join()
