"""Stores objects at a DICOMweb server, asks what it has, and fetches it. Retrying is the caller's.

One object a request, from its file and in constant memory; what is fetched goes to files as it comes. One `WebClient`
serves one thread. No UID that is asked for stands in an error. PS3.18 10.4 (Retrieve), 10.5 (Store), 10.6 (Search).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal
from urllib.parse import urlencode

from broker.dicom import multipart, uid, web
from broker.dicom.attributes import Attributes
from broker.errors import (
    LocalProtocolError,
    PermanentDeliveryError,
    RemoteProtocolError,
    TransientDeliveryError,
)
from broker.net.instance_file import opened
from broker.net.store_scu import failure
from broker.net.web_answer import Answer
from broker.net.web_connection import Body, WebConnection
from broker.net.web_peer import WebPeer

Level = Literal["studies", "series", "instances"]

_UID: Final[Mapping[Level, str]] = {
    "studies": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "instances": "SOPInstanceUID",
}
_TOLD: Final = (200, 202, 409)
"""Statuses of a Store request with which the answer says what became of each object (PS3.18 table 10.5.3-1)."""
_CHUNK: Final = 1 << 18
_PAGE: Final = 1000
"""Matches that are asked for at a time."""


class WebClient:
    """A DICOMweb user agent for one server. Opens nothing before the first request."""

    def __init__(self, peer: WebPeer) -> None:
        self._connection = WebConnection(peer)

    def store(self, source: Path | BinaryIO, confirm: Callable[[], None] = lambda: None) -> int:
        """Stores the instance in a Part 10 file; the Warning Reason, 0000 where there is none.

        `confirm` is called before the request and directly before the last bytes, without which the server has
        nothing. What it raises passes; the connection is reset then.

        Raises `TransientDeliveryError` or `PermanentDeliveryError` as HTTP status and Failure Reason say (the tables
        of `web_answer` and `store_scu`), or as `broker.net.instance_file.opened` does.
        """
        with opened(source) as instance:
            boundary = secrets.token_hex(16)  # nobody who makes an object can know it
            before, after = multipart.before(boundary), multipart.after(boundary)
            body = Body(
                length=len(before) + instance.size + len(after),
                chunks=_framed(before, instance.file, instance.size, after, confirm),
            )
            headers = {"Content-Type": multipart.content_type(boundary), "Accept": web.JSON}
            with self._connection.exchange("POST", "/studies", headers, body) as answer:
                said = answer.whole() if answer.status in _TOLD else b""
            return _stored(answer, said, instance.meta.sop_instance_uid)

    def search(
        self,
        level: Level,
        keys: Mapping[str, str] | None = None,
        *,
        study_uid: str = "",
        series_uid: str = "",
        fields: Sequence[str] = (),
    ) -> Iterator[Attributes]:
        """What matches, page by page, each match once. `keys`: keyword to value (PS3.18 8.3.4); `fields`: keywords that
        are wanted beside the usual.

        Raises `DeliveryError`: also where the server does not give all that it has.
        """
        found: set[str] = set()
        offset = 0
        while True:
            page, more = self._page(level, keys or {}, study_uid, series_uid, fields, offset)
            new = {_uid_of(match, level): match for match in page}
            if found >= new.keys():
                if new and (more or len(page) >= _PAGE):
                    raise TransientDeliveryError(
                        "QIDO-RS: the same page again, so that the rest cannot be had"
                    )
                return
            yield from (match for key, match in new.items() if key not in found)
            found |= new.keys()
            offset += len(page)

    def instances_of(self, study_uid: str) -> frozenset[str]:
        """SOP Instance UIDs that the archive has of a study; none where it does not know it. Raises as `search`."""
        try:
            return frozenset(_uid_of(m, "instances") for m in self.search("instances", study_uid=study_uid))
        except _NotFoundError:
            # Some say so of a study that they do not have. A wrong address fails here too.
            if any(self.search("studies", {"StudyInstanceUID": study_uid})):
                raise
            return frozenset()

    def retrieve(
        self, into: Path, *, study_uid: str, series_uid: str = "", sop_instance_uid: str = ""
    ) -> tuple[Path, ...]:
        """Fetches a study, a series or an instance, in the transfer syntaxes that it is kept in, to numbered files of
        an empty folder. Of what ends early nothing is left there.

        Raises `DeliveryError` (`PermanentDeliveryError`: the server does not have it), and `OSError` where the files
        cannot be written.
        """
        path = (
            _path("studies", study_uid) + _path("series", series_uid) + _path("instances", sop_instance_uid)
        )
        accept = f'multipart/related; type="{multipart.DICOM}"; transfer-syntax=*'
        written: list[Path] = []
        try:
            with (
                self._connection.exchange("GET", path, {"Accept": accept}, stream=True) as answer,
                _readable("WADO-RS"),
            ):
                if answer.status == 404:
                    raise PermanentDeliveryError("WADO-RS: HTTP 404, not there")
                if answer.status != 200:
                    raise answer.failure()
                boundary = multipart.boundary_of(answer.header("Content-Type"))
                for part in multipart.parts(answer.read, boundary):
                    with (into / f"{len(written) + 1:06}.dcm").open("xb") as file:
                        written.append(Path(file.name))
                        file.writelines(part.content)
                while answer.read(_CHUNK):  # what stands behind the last boundary
                    pass
        except BaseException:
            for path_written in written:
                path_written.unlink(missing_ok=True)
            raise
        return tuple(written)

    def verify(self) -> None:
        """Searches for a study that nobody has: whether address, certificate and credentials are right.

        Raises `DeliveryError`.
        """
        for _ in self.search("studies", {"StudyInstanceUID": uid.IMPLEMENTATION_CLASS_UID}):
            pass

    def close(self) -> None:
        """Closes the connection. Idempotent."""
        self._connection.close()

    def _page(
        self,
        level: Level,
        keys: Mapping[str, str],
        study_uid: str,
        series_uid: str,
        fields: Sequence[str],
        offset: int,
    ) -> tuple[tuple[Attributes, ...], bool]:
        """One page, and whether the server says that there is more (PS3.18 8.3.4.4)."""
        asked = [*keys.items(), *(("includefield", name) for name in fields)]
        query = urlencode([*asked, ("limit", _PAGE), ("offset", offset)])
        path = f"{_path('studies', study_uid)}{_path('series', series_uid)}/{level}?{query}"
        with (
            self._connection.exchange("GET", path, {"Accept": web.JSON}) as answer,
            _readable("QIDO-RS"),
        ):
            if answer.status == 404:
                raise _NotFoundError("QIDO-RS: HTTP 404")
            if answer.status not in (200, 204, 206):
                raise answer.failure()
            found = web.read_json(answer.whole()) if answer.status != 204 else ()
            return found, answer.header("Warning").startswith("299")


class _NotFoundError(TransientDeliveryError):
    """The address is wrong, or there is no such study: servers differ."""


def _framed(
    before: bytes, file: BinaryIO, left: int, after: bytes, confirm: Callable[[], None]
) -> Iterator[bytes]:
    """The file with what stands around it; the last of its bytes leave together with what ends the body."""
    confirm()
    file.seek(0)
    while left:
        chunk = file.read(min(_CHUNK, left))
        if not chunk:
            raise OSError("the file is shorter than it was")
        left -= len(chunk)
        if left:
            yield before + chunk
            before = b""
    confirm()
    yield before + chunk + after


def _stored(answer: Answer, text: bytes, sop_instance_uid: str) -> int:
    """The warning of what was stored. Only an answer that names the object says that it was."""
    if answer.status not in _TOLD:
        raise answer.failure()
    try:
        said = web.read_store_answer(text).of(sop_instance_uid)
    except RemoteProtocolError:
        said = None
    if said is None:
        if answer.status == 409:
            raise answer.failure()
        raise TransientDeliveryError(
            f"HTTP {answer.status}, but its answer does not say that the object is stored"
        )
    stored, code = said
    if not stored:
        raise failure(code, f"HTTP {answer.status}, Failure Reason")
    return code


@contextmanager
def _readable(service: str) -> Iterator[None]:
    try:
        yield
    except RemoteProtocolError as error:
        raise TransientDeliveryError(f"{service}: {error}") from error


def _path(level: Level, wanted: str) -> str:
    """A part of the path; nothing where no UID is given."""
    if not wanted:
        return ""
    if not uid.valid(wanted):
        raise LocalProtocolError(f"{_UID[level]}: not a UID")
    return f"/{level}/{wanted}"


def _uid_of(match: Attributes, level: Level) -> str:
    value = match.get(_UID[level], "")
    if not isinstance(value, str) or not value:
        raise TransientDeliveryError(f"QIDO-RS: a match without {_UID[level]}")
    return value
