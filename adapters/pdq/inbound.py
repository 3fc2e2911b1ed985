"""The demographics listener over MLLP: each query answered from the patient register (IHE ITI-21 supplier, ITI-9).

Nothing is stored of a query: who asked again is answered again. Who was told of whom is in the audit before the answer
leaves. What a query means is `query`'s, how an answer looks `answer`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import structlog
from pydantic import AfterValidator, Field

from adapters.pdq import answer, query
from adapters.pdq.answer import Page, Stamp
from broker.adapter import InboundContext, InboundSpec, Options
from broker.errors import (
    UNSUPPORTED_EVENT_CODE,
    UNSUPPORTED_MESSAGE_TYPE,
    Location,
    Refused,
    RemoteProtocolError,
    StoreError,
)
from broker.event import Identifier
from broker.hl7.ack import is_ack
from broker.hl7.charset import Charset
from broker.hl7.demographics import read_issuer
from broker.hl7.er7 import Header, Message
from broker.ids import message_id
from broker.net.hl7_listener import Issuer
from broker.net.mllp_peer import Peer
from broker.net.mllp_server import MllpServer
from broker.reception import acknowledge, check_header
from broker.scalars import Duration, Text
from broker.statement import IheClaim, Statement

log = structlog.get_logger("broker.pdq")

CANCEL: Final = "QCN^J01"
QUERIES: Final = {"QBP^Q22": query.read_pdq, "QBP^Q23": query.read_pix}
ANSWERS: Final = {"QBP^Q22": "RSP^K22^RSP_K21", "QBP^Q23": "RSP^K23^RSP_K23", CANCEL: "ACK^J01"}


def _asker(text: str) -> str:
    if text.count("|") != 1:
        raise ValueError("must be MSH-3|MSH-4, such as EPJ|STO")
    return text


class Demographics(Options):
    """Options of the demographics listener."""

    port: int = Field(ge=0, le=65535, description="TCP port (MLLP).")
    bind: Text = Field(default="", description="Address; empty: the broker's `bind`.")
    issuers: tuple[Issuer, ...] = Field(
        min_length=1,
        description="Domains that a query may name, namespace&oid&ISO each; any other is answered AE.",
    )
    charset: Charset = Field(
        default="8859/1", description="MSH-18 where it is empty: how queries are read and answered."
    )
    askers: tuple[Annotated[Text, AfterValidator(_asker)], ...] | None = Field(
        default=None,
        description="Who may ask, as MSH-3|MSH-4: [EPJ|STO]. Unset: everybody, while bound to loopback only.",
    )
    min_letters: int = Field(default=3, ge=1, description="Letters that a name needs before its wildcard.")
    max_hits: int = Field(
        default=500, ge=1, le=10_000, description="More patients than this are not told of: the answer is AE."
    )
    page: int = Field(
        default=100, ge=1, le=10_000, description="Patients in one answer; fewer where RCP-2 asks for fewer."
    )
    max_connections: int = Field(default=200, ge=1, description="Connections at once.")
    idle_timeout: Duration | None = Field(
        default=None, description="Close a silent connection; unset: never."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What an answer tells."""

    raw: bytes
    lossy: int
    """Characters that its character set could not show."""
    keys: Sequence[str] = ()
    total: int = 0


class DemographicsListener:
    """A running listener (`broker.adapter.Inbound`)."""

    def __init__(self, config: Demographics, context: InboundContext) -> None:
        self._config, self._context = config, context
        self._host = config.bind or context.bind
        self._rules = query.Rules(
            known=tuple(map(read_issuer, config.issuers)), min_letters=config.min_letters
        )
        self._server = MllpServer(
            self._host,
            config.port,
            self._handle,
            max_frame=1024 * 1024,
            max_connections=config.max_connections,
            idle_timeout=config.idle_timeout,
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        return (f"mllp://{self._host}:{self._server.port}",)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(grace=3.0)

    async def _handle(self, raw: bytes, peer: Peer) -> Sequence[bytes]:
        return await asyncio.to_thread(self._answer, raw, peer)

    def _answer(self, raw: bytes, peer: Peer) -> tuple[bytes, ...]:
        now = self._context.clock()
        header: Header | None = None
        try:
            header = Header.read(raw)
            if is_ack(header):
                return ()
            check_header(raw, header)
            self._check_asker(header)
            kind = f"{header.message_code}^{header.trigger.upper()}"
            if kind == CANCEL:
                self._count("cancelled")
                return acknowledge(header, ["AA"], message_id=message_id(now), now=now)
            if kind not in QUERIES:
                raise _not_answered(header)
            message = Message.parse(raw, header=header, default_charset=self._config.charset)
            stamp = Stamp(control_id=message_id(now), now=now, charset=self._config.charset)
            return (self._respond(kind, message, stamp, peer),)
        except StoreError:
            log.exception("a query cannot be answered", listener=self._context.name)
            error: RemoteProtocolError = Refused("the broker cannot answer at present; ask again later")
        except RemoteProtocolError as exc:
            error = exc
        self._count("refused")
        log.warning("query refused", listener=self._context.name, peer=peer.host, reason=str(error))
        return acknowledge(header, [error.ack_code], message_id=message_id(now), now=now, error=error)

    def _respond(self, kind: str, message: Message, stamp: Stamp, peer: Peer) -> bytes:
        """The answer of what could be read, audited."""
        try:
            asked = QUERIES[kind](message, self._rules)
            told = self._demographics if kind == "QBP^Q22" else self._cross_references
            found = told(message, asked, stamp)
            outcome = "found" if found.keys else "none"
        except query.Unanswerable as exc:
            raw, lossy = answer.refusal(message, exc.errors, stamp)
            found, outcome = _Told(raw=raw, lossy=lossy), "refused"
        self._context.patients.disclose(
            who=answer.of_header(message.header)[:100],
            what=kind,
            detail={
                "listener": self._context.name,
                "peer": peer.host,
                "outcome": outcome,
                "answers": len(found.keys),
                "found": found.total,
            },
            keys=found.keys,
        )
        self._count(outcome)
        if found.lossy:
            self._context.count("broker_patient_answers_lossy_total", {"source": self._context.name})
        return found.raw

    def _demographics(self, message: Message, asked: query.Query, stamp: Stamp) -> _Told:
        directory, most = self._context.patients, self._config.max_hits
        found = directory.find(asked.wanted, most)
        if len(found) > most:
            raise query.too_many(most)
        if asked.pointer and asked.pointer not in found:
            raise query.unknown_pointer()
        rest = [key for key in found if key > asked.pointer]
        keys = rest[: min(asked.quantity or self._config.page, self._config.page)]
        remaining = len(rest) - len(keys)
        page = Page(
            patients=tuple(map(directory.get, keys)),
            total=len(found),
            remaining=remaining,
            pointer=keys[-1] if remaining else "",
        )
        raw, lossy = answer.demographics(message, page, asked.domains, stamp)
        return _Told(raw=raw, lossy=lossy, keys=keys, total=len(found))

    def _cross_references(self, message: Message, asked: query.Query, stamp: Stamp) -> _Told:
        directory = self._context.patients
        keys = directory.find(asked.wanted, 1)
        if not keys:
            raise query.unknown_identifier()
        keys = [*keys, *directory.linked(keys[0])]
        wanted = {domain.issuer for domain in asked.domains}
        others: dict[tuple[str, str], Identifier] = {
            identifier.key: identifier
            for key in keys
            for identifier in directory.get(key).identifiers
            if identifier.key != asked.wanted.identifiers[0].key
            and (not wanted or identifier.issuer in wanted)
        }
        raw, lossy = answer.cross_references(message, others.values(), stamp)
        return _Told(raw=raw, lossy=lossy, keys=keys if others else (), total=len(others))

    def _check_asker(self, header: Header) -> None:
        askers = self._config.askers
        if askers is None and self._host in ("127.0.0.1", "localhost", "::1"):
            return
        if answer.of_header(header) not in (askers or ()):
            raise Refused(
                "whom MSH-3 and MSH-4 name may not ask here (`askers`)",
                location=Location(segment="MSH", field=3),
            )

    def _count(self, outcome: str) -> None:
        labels = {"source": self._context.name, "outcome": outcome}
        self._context.count("broker_patient_queries_total", labels)


def _not_answered(header: Header) -> Refused:
    if header.message_code == "QBP":
        where = Location(segment="MSH", field=9, component=2)
        return Refused("this query is not answered here", error_code=UNSUPPORTED_EVENT_CODE, location=where)
    where = Location(segment="MSH", field=9)
    text = "only queries are answered here"
    return Refused(text, error_code=UNSUPPORTED_MESSAGE_TYPE, location=where)


def statement(config: Demographics) -> Statement:
    """What a demographics listener with these options claims."""
    who = (
        "everybody while it is bound to loopback, else nobody"
        if config.askers is None
        else ", ".join(config.askers).replace("|", " of ")
    )
    return Statement(
        answers=ANSWERS,
        remarks=(
            f"QPD-3 takes {', '.join(query.searched())}; all of them must be true. Any other is refused (AE).",
            f"`*` stands at the end of a name, behind {config.min_letters} letters at least. Case and accents do not"
            " count.",
            f"At most {config.max_hits} patients are told of, {config.page} in one answer; DSC continues. RCP-2 may ask"
            " for fewer.",
            "Never answered, for anyone: address, telephone, next of kin, employer.",
            f"May ask: {who}.",
        ),
        claims=(
            IheClaim(
                transaction="ITI-21",
                name="Patient Demographics Query",
                profile="PDQ",
                actor="Patient Demographics Supplier",
                limits="no address, telephone, mother's name or account is searched or answered; no ITI-22 (visits)",
            ),
            IheClaim(
                transaction="ITI-9",
                name="PIX Query",
                profile="PIX",
                actor="Patient Identifier Cross-reference Manager",
                limits="domains are those of `issuers`",
            ),
        ),
    )


INBOUND = InboundSpec(
    name="pdq",
    summary="Patient demographics and identifier queries (IHE ITI-21, ITI-9)",
    config=Demographics,
    factory=DemographicsListener,
    role="worklist",
    makes={},
    statement=statement,
)
