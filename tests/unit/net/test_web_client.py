"""The DICOMweb client against a server that does what it is told: what is stored, found and fetched, and what fails."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.dicom import multipart
from broker.errors import (
    AskPersonError,
    DeliveryError,
    LocalProtocolError,
    PermanentDeliveryError,
    TransientDeliveryError,
    UnreachableError,
)
from broker.net import web_client
from broker.net.store_scu import PERMANENT
from broker.net.web_client import WebClient
from broker.net.web_peer import WebPeer
from broker.store.lease import LostLeaseError
from tests.support.images import write_image
from tests.support.webserver import Request, WebServer, stored

UID = "2.25.3"


@contextlib.contextmanager
def client(behave: Callable[[Request], Any]) -> Iterator[tuple[WebServer, WebClient]]:
    with WebServer(behave) as server:
        made = WebClient(WebPeer.model_validate({"url": server.url, "response_timeout": "5s"}))
        try:
            yield server, made
        finally:
            made.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write_image(tmp_path / "a.dcm", SOPInstanceUID=UID)
    return tmp_path / "a.dcm"


# --- STOW-RS


def store(path: Path, status: int, body: bytes, **headers: str) -> int:
    def behave(request: Request) -> None:
        request.body()
        request.answer(status, body, **headers)

    with client(behave) as (_, web):
        return web.store(path)


@pytest.mark.parametrize("pixels", [16, 512, 1024])
def test_the_file_arrives_byte_for_byte(tmp_path: Path, pixels: int) -> None:
    """Smaller than a chunk, a chunk, several."""
    path, objects = tmp_path / "a.dcm", []
    write_image(path, SOPInstanceUID=UID, pixels=pixels)

    def behave(request: Request) -> None:
        objects.append(request.object())
        request.answer(200, stored(UID))

    with client(behave) as (server, web):
        assert [web.store(path), web.store(path)] == [0, 0]

    assert objects == [path.read_bytes()] * 2
    assert {(r.method, r.path, r.headers["accept"]) for r in server.requests} == {
        ("POST", "/web/studies", "application/dicom+json")
    }


@pytest.mark.parametrize("status", [200, 202])
def test_a_warning_is_a_success_and_told(image: Path, status: int) -> None:
    assert store(image, status, stored(warned={UID: 0xB000})) == 0xB000


@pytest.mark.parametrize("status", [200, 202, 409])
@pytest.mark.parametrize("reason", [0xA700, 0xC123, 0x0110, 0x0124, 0xB00E, *sorted(PERMANENT), 0xA900])
def test_a_failure_reason_means_what_it_means_of_c_store(image: Path, status: int, reason: int) -> None:
    lasting = reason in PERMANENT or reason == 0xA900
    kind = PermanentDeliveryError if lasting else TransientDeliveryError
    with pytest.raises(DeliveryError, match=f"HTTP {status}, Failure Reason {reason:04X}") as told:
        store(image, status, stored("2.25.4", failed={UID: reason}))

    assert type(told.value) is kind


@pytest.mark.parametrize("body", [b"", b"<html>sign in</html>", b"{}", stored("2.25.4")])
def test_nothing_is_called_stored_that_the_answer_does_not_name(image: Path, body: bytes) -> None:
    with pytest.raises(TransientDeliveryError, match="does not say"):
        store(image, 200, body)
    with pytest.raises(PermanentDeliveryError, match="HTTP 409"):
        store(image, 409, body)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, PermanentDeliveryError), (401, UnreachableError), (500, TransientDeliveryError)],
)
def test_another_status_says_it_all(image: Path, status: int, kind: type[DeliveryError]) -> None:
    with pytest.raises(DeliveryError, match=f"HTTP {status}") as told:
        store(image, status, stored(UID))

    assert type(told.value) is kind


def test_a_lease_is_looked_at_before_the_first_and_before_the_last_bytes(tmp_path: Path) -> None:
    path, seen = tmp_path / "a.dcm", list[int]()
    write_image(path, SOPInstanceUID=UID, pixels=1024)

    def behave(request: Request) -> None:
        request.body()
        request.answer(200, stored(UID))

    with client(behave) as (server, web):
        web.store(path, lambda: seen.append(len(server.requests)))

    assert (len(seen), seen[0]) == (2, 0)


def test_what_another_node_may_be_sending_by_now_does_not_arrive(tmp_path: Path) -> None:
    path, looks, bodies = tmp_path / "a.dcm", list[int](), list[bytes]()
    write_image(path, SOPInstanceUID=UID, pixels=1024)
    begun = threading.Event()

    def behave(request: Request) -> None:
        begun.set()
        bodies.append(request.body())

    def confirm() -> None:
        looks.append(0)
        if len(looks) == 2:
            begun.wait(10)
            raise LostLeaseError("way pacs 0")

    with client(behave) as (server, web):
        with pytest.raises(LostLeaseError):
            web.store(path, confirm)
        server.join()

    assert bodies == []


@pytest.mark.parametrize("content", [None, b"", b"no DICOM", bytes(128) + b"DICM"])
def test_a_file_that_is_gone_or_broken_is_for_a_person(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.dcm"
    if content is not None:
        path.write_bytes(content)
    with client(lambda request: request.answer(200)) as (server, web), pytest.raises(AskPersonError):
        web.store(path)

    assert server.requests == []


# --- QIDO-RS


class Archive:
    """Has instances, and gives at most `most` of them in one answer."""

    def __init__(
        self, uids: list[str], *, most: int = 1000, warns: bool = True, offsets: bool = True
    ) -> None:
        self.uids, self.most, self.warns, self.offsets = uids, most, warns, offsets
        self.asked: list[tuple[str, dict[str, list[str]]]] = []

    def __call__(self, request: Request) -> None:
        parts = urlsplit(request.path)
        query = parse_qs(parts.query)
        self.asked.append((parts.path, query))
        offset = int(query["offset"][0]) if self.offsets else 0
        end = offset + min(self.most, int(query["limit"][0]))
        page = [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in self.uids[offset:end]]
        more = {"Warning": '299 web "there is more"'} if self.warns and self.uids[end:] else {}
        request.answer(200 if page else 204, json.dumps(page).encode() if page else b"", **more)


UIDS = [f"2.25.{number}" for number in range(10, 35)]


@pytest.mark.parametrize("page", [7, 25, 1000])
@pytest.mark.parametrize(
    "archive", [Archive(UIDS), Archive(UIDS, most=10), Archive(UIDS, most=10, warns=False)]
)
def test_every_page_is_asked_for(archive: Archive, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_client, "_PAGE", page)
    with client(archive) as (_, web):
        assert web.instances_of("1.2.3") == frozenset(UIDS)

    assert {path for path, _ in archive.asked} == {"/web/studies/1.2.3/instances"}


def test_one_that_gives_everything_at_once_whatever_is_asked() -> None:
    with client(Archive(UIDS, offsets=False, warns=False)) as (_, web):
        assert web.instances_of("1.2.3") == frozenset(UIDS)


@pytest.mark.parametrize(
    "archive", [Archive(UIDS, most=10, offsets=False), Archive(UIDS, offsets=False, warns=False)]
)
def test_a_list_that_does_not_go_on_is_not_taken_for_whole(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_client, "_PAGE", 20)
    with client(archive) as (_, web), pytest.raises(TransientDeliveryError, match="the rest cannot be had"):
        web.instances_of("1.2.3")


def test_keys_and_fields_are_asked_for() -> None:
    archive = Archive([])
    with client(archive) as (_, web):
        keys = {"PatientName": "Sørby^Å*", "StudyDate": "20260101-20260309"}
        assert list(web.search("series", keys, study_uid="1.2", fields=("Modality",))) == []

    ((path, query),) = archive.asked
    assert path == "/web/studies/1.2/series"
    assert query == {
        "PatientName": ["Sørby^Å*"],
        "StudyDate": ["20260101-20260309"],
        "includefield": ["Modality"],
        "limit": ["1000"],
        "offset": ["0"],
    }


def test_a_study_that_is_not_there_has_no_instances() -> None:
    def behave(request: Request) -> None:
        request.answer(404 if "/studies/" in request.path else 204)

    with client(behave) as (_, web):
        assert web.instances_of("1.2.3") == frozenset()


def test_a_wrong_address_does_not_say_that_a_study_is_not_there() -> None:
    with client(lambda request: request.answer(404)) as (_, web):
        with pytest.raises(DeliveryError, match="404"):
            web.instances_of("1.2.3")
        with pytest.raises(DeliveryError, match="404"):
            web.verify()


@pytest.mark.parametrize("body", [b"", b"<html>sign in</html>", b"[{}]", b'[{"0008001Z": {"vr": "UI"}}]'])
def test_what_is_no_list_is_not_taken_for_an_empty_one(body: bytes) -> None:
    answers = client(lambda request: request.answer(200, body))
    with answers as (_, web), pytest.raises(TransientDeliveryError, match="QIDO-RS: "):
        web.instances_of("1.2.3")


def test_what_is_no_uid_is_not_asked_for() -> None:
    answers = client(lambda request: request.answer(204))
    with answers as (server, web), pytest.raises(LocalProtocolError, match="StudyInstanceUID"):
        web.instances_of("../1.2")

    assert server.requests == []


def test_verifying_asks_for_nobody() -> None:
    archive = Archive([])
    with client(archive) as (_, web):
        web.verify()

    assert [path for path, _ in archive.asked] == ["/web/studies"]


# --- WADO-RS


def whole(*objects: bytes, cut: int = 0) -> bytes:
    body = b"".join(multipart.before("bb") + one + b"\r\n" for one in objects) + b"--bb--\r\n"
    return body[: len(body) - cut]


def serve(body: bytes, kind: str = multipart.content_type("bb")) -> Callable[[Request], None]:
    return lambda request: request.answer(200, body, Content_Type=kind)


def test_what_is_fetched_is_what_is_there(tmp_path: Path) -> None:
    objects = [b"one", bytes(3 << 20), b"\r\n--b"]
    with client(serve(whole(*objects))) as (server, web):
        found = web.retrieve(tmp_path, study_uid="1.2", series_uid="1.3", sop_instance_uid="1.4")
        (tmp_path / "b").mkdir()
        again = web.retrieve(tmp_path / "b", study_uid="1.2")

    assert [path.read_bytes() for path in found] == objects == [path.read_bytes() for path in again]
    assert [r.path for r in server.requests] == [
        "/web/studies/1.2/series/1.3/instances/1.4",
        "/web/studies/1.2",
    ]
    assert [r.connection_number for r in server.requests] == [0, 0]
    assert server.requests[0].headers["accept"] == (
        'multipart/related; type="application/dicom"; transfer-syntax=*'
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (whole(b"one", b"two", cut=9), multipart.content_type("bb")),
        (b"", multipart.content_type("bb")),
        (whole(b"one"), "application/dicom+json"),
    ],
)
def test_of_what_ends_early_nothing_is_left(tmp_path: Path, body: bytes, kind: str) -> None:
    with client(serve(body, kind)) as (_, web), pytest.raises(TransientDeliveryError, match="WADO-RS: "):
        web.retrieve(tmp_path, study_uid="1.2")

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "000002.dcm").write_bytes(b"mine")
    with client(serve(whole(b"one", b"two"))) as (_, web), pytest.raises(FileExistsError):
        web.retrieve(tmp_path, study_uid="1.2")

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]


@pytest.mark.parametrize(("status", "kind"), [(404, PermanentDeliveryError), (503, UnreachableError)])
def test_what_is_not_to_be_had(tmp_path: Path, status: int, kind: type[DeliveryError]) -> None:
    with client(lambda request: request.answer(status)) as (_, web), pytest.raises(kind):
        web.retrieve(tmp_path, study_uid="1.2")
