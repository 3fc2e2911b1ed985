"""An HL7 listener over MLLP: every frame is judged, written to the journal, and only then answered.

A frame holds one message, or a batch, which is written and answered as one. What a message means is the
adapter's mapping; how frames are cut is `broker.hl7.framing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Generic, Literal, TypeVar
from zoneinfo import ZoneInfo

import structlog
from pydantic import AfterValidator, Field

from broker import csvfile
from broker.adapter import InboundContext, ListenerPlace, Options, Reception, Stored, Verdict
from broker.errors import ConfigError, Refused, RemoteProtocolError, StoreError, UnwritableError, did_you_mean
from broker.hl7.ack import answers
from broker.hl7.charset import Charset
from broker.hl7.demographics import Issuers, read_issuer
from broker.hl7.er7 import Header, is_batch
from broker.hl7.framing import Junk
from broker.hl7.garbled import LETTERS_LOST, MOJIBAKE, REPAIRED, Policy
from broker.identity import FLAGS, Rules
from broker.ids import message_id
from broker.net.mllp_peer import Peer
from broker.net.mllp_server import MllpServer
from broker.reception import Hl7Reader, Profile, acknowledge, refuse
from broker.scalars import Duration, Text, ZoneName

log = structlog.get_logger("broker.hl7")

SLICE: Final = 64
"""Members of a batch that are judged, and later counted, before anything else has its turn."""

C = TypeVar("C", bound="Hl7Listener")


def _issuer(text: str) -> str:
    read_issuer(text)
    return text


Issuer = Annotated[Text, AfterValidator(_issuer)]
"""`namespace&oid&ISO`, as `read_issuer` reads it."""


class Hl7Source(Options):
    """Options of whatever takes HL7 in: how a sender's messages are read."""

    site: Text = Field(default="", description="Site of what comes in here; empty: the broker's `site`.")
    issuer: Issuer = Field(description="Issuer of an identifier that names none: namespace&oid&ISO.")
    issuers: tuple[Issuer, ...] = Field(
        default=(), description="Known issuers; a name alone is completed from them."
    )
    h_issuers: tuple[Issuer, ...] = Field(
        default=(),
        description="Issuers that give H-numbers (month + 40), which are temporary (docs/identifiers.md).",
    )
    temporary_issuers: tuple[Issuer, ...] = Field(
        default=(), description="Issuers all of whose identifiers are temporary: a trauma series."
    )
    temporary_ids: tuple[Text, ...] = Field(
        default=(), description="Patterns of temporary identifiers of issuers that are not national: [TR-*]."
    )
    bad_check_digit: Literal["flag", "refuse"] | None = Field(
        default=None,
        description="What becomes of a national number or H-number in PID-3 whose check digits are wrong; emergencies"
        " are never refused for it. Unset: `flag` while `environment` is `mixed`, else `refuse`.",
    )
    charset: Charset = Field(
        default="8859/1", description="MSH-18 where it is empty and the bytes are not UTF-8."
    )
    fallback_charset: Charset = Field(
        default="", description="Used, and flagged, where the bytes are not what MSH-18 says."
    )
    mojibake: Policy = Field(
        default="flag",
        description="A message with UTF-8 that was read as Latin-1 (BjÃ¸rn): flag and count it; repair it, where all of"
        " it goes back, else flag it; or refuse it (AE).",
    )
    processing_ids: tuple[Text, ...] = Field(default=(), description="MSH-11 that is taken; empty: any.")
    ignore: tuple[Text, ...] = Field(default=(), description="Types answered AA and counted: ADT^A60, MDM^*.")
    validate_: Literal["off", "warn", "strict"] = Field(
        default="off",
        alias="validate",
        description="Deep validation by the sender's version: off, warn or strict.",
    )
    repeat_window: Duration = Field(
        default="7d",
        validate_default=True,
        description="How long the same MSH-3, MSH-4 and MSH-10 mean the same message: it gets its stored answer,"
        " other content is refused. 0s: control ids mean nothing.",
    )
    max_batch: int = Field(default=10_000, ge=1, description="Most messages in one batch (FHS, BHS).")
    time_zone: ZoneName | None = Field(
        default=None, description="Where times without an offset are local; unset: the broker's `time_zone`."
    )


class Hl7Listener(Hl7Source):
    """Options of every HL7 listener."""

    port: int = Field(ge=0, le=65535, description="TCP port (MLLP).")
    bind: Text = Field(default="", description="Address; empty: the broker's `bind`.")
    max_frame: int = Field(
        default=64 * 1024 * 1024, ge=1024, description="Longest message or batch in bytes."
    )
    max_connections: int = Field(default=500, ge=1, description="Connections at once.")
    idle_timeout: Duration | None = Field(
        default=None, description="Close a silent connection; unset: never."
    )


def issuer_names(texts: Sequence[str]) -> frozenset[str]:
    """What identifiers of these issuers have as `Identifier.issuer`."""
    return frozenset(read_issuer(text).issuer for text in texts)


def profile(
    config: Hl7Source, place: ListenerPlace, tables: Mapping[str, Mapping[str, str]] | None = None
) -> Profile:
    """How a listener with these options reads."""
    rules = Rules(
        environment=place.environment,
        bad_check_digit=config.bad_check_digit,
        h_issuers=issuer_names(config.h_issuers),
        temporary_issuers=issuer_names(config.temporary_issuers),
        temporary_ids=config.temporary_ids,
    )
    issuers = Issuers(
        default=read_issuer(config.issuer),
        known=tuple(read_issuer(text) for text in config.issuers),
        rules=rules,
    )
    return Profile(
        name=place.name,
        site=config.site or place.site,
        issuers=issuers,
        charset=config.charset,
        fallback_charset=config.fallback_charset,
        mojibake=config.mojibake,
        processing_ids=config.processing_ids,
        ignore=config.ignore,
        validate=config.validate_,
        repeat_window=timedelta(seconds=config.repeat_window),
        max_batch=config.max_batch,
        zone=ZoneInfo(config.time_zone or place.time_zone),
        tables=tables or {},
    )


def read_table(
    folder: Path, file: str, keys: Sequence[str], value: str, *, allowed: Sequence[str] = ()
) -> Mapping[str, str]:
    """A code table of a listener: key columns joined with `|`, and one value. Raises `ConfigError` with every fault."""
    path = folder / file
    table: dict[str, str] = {}
    faults = []
    for row in csvfile.read(path, required=(*keys, value)):
        key, meaning = "|".join(row.cells[column] for column in keys), row.cells[value]
        if key in table:
            faults.append(csvfile.fault(path, row, f"the key {key} stands twice."))
        if allowed and meaning not in allowed:
            hint = did_you_mean(meaning, allowed) or f"Write one of {', '.join(allowed)}."
            faults.append(csvfile.fault(path, row, f"'{meaning}' is no {value}.", hint))
        table[key] = meaning
    if faults:
        raise ConfigError(faults)
    return MappingProxyType(table)


class Listener(Generic[C]):
    """A running HL7 listener (`broker.adapter.Inbound`); `read` is the adapter's `reader`."""

    def __init__(
        self, config: C, context: InboundContext, read: Callable[[C, ListenerPlace], Hl7Reader]
    ) -> None:
        self._reader = read(config, context.place)
        self._context = context
        self._host = config.bind or context.bind
        self._server = MllpServer(
            self._host,
            config.port,
            self._handle,
            max_frame=config.max_frame,
            max_connections=config.max_connections,
            idle_timeout=config.idle_timeout,
            on_junk=self._junk,
            on_oversize=self._oversize,
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        return (f"mllp://{self._host}:{self._server.port}",)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(grace=3.0)

    async def _handle(self, raw: bytes, peer: Peer) -> Sequence[bytes]:
        now = self._context.clock()
        if is_batch(raw):
            return await self._handle_batch(raw, peer, now)
        judge = partial(self._reader.receive, raw, message_id=message_id(now), now=now, peer=peer.host)
        # Deep validation takes many times as long as all the rest: other connections must not wait for it.
        deep = self._reader.profile.validate != "off"
        return await self._accept(await asyncio.to_thread(judge) if deep else judge())

    async def _handle_batch(self, raw: bytes, peer: Peer, now: datetime) -> Sequence[bytes]:
        """Judged in slices, each in a thread: other connections go on, and a stop waits for one slice at most."""
        new_id = partial(message_id, now)
        batch = await asyncio.to_thread(
            self._reader.receive_batch, raw, new_id=new_id, now=now, peer=peer.host
        )
        receptions: list[Reception] = []
        while part := await asyncio.to_thread(lambda: list(islice(batch.receptions, SLICE))):
            receptions += part
        return batch.answer(await self._accept_all(receptions))

    async def _accept(self, reception: Reception) -> Sequence[bytes]:
        (answers,) = await self._accept_all([reception])
        return answers

    async def _accept_all(self, receptions: Sequence[Reception]) -> list[tuple[bytes, ...]]:
        """Commit 1, then the answers. While the journal cannot be written the sender is told so (invariant 1)."""
        try:
            stored = await self._context.intake.accept_all(receptions)
        except UnwritableError as exc:
            return await self._turned_away(receptions, str(exc))
        except StoreError:
            log.exception("messages cannot be stored", listener=self._context.name)
            return await self._turned_away(receptions, "the broker cannot store messages at present")
        for number, (reception, said) in enumerate(zip(receptions, stored, strict=True), 1):
            tell(self._context, reception, said)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        return [said.answers for said in stored]

    async def _turned_away(self, receptions: Sequence[Reception], why: str) -> list[tuple[bytes, ...]]:
        for _ in receptions:
            self._context.count("broker_messages_turned_away_total", {"protocol": "hl7"})
        return await asyncio.to_thread(lambda: [_unavailable(reception, why) for reception in receptions])

    async def _junk(self, junk: Junk, peer: Peer) -> None:
        """Bytes outside any frame: kept and counted, nobody to answer."""
        now = self._context.clock()
        reception = Reception(
            message_id=message_id(now),
            source=self._context.name,
            site=self._reader.profile.site,
            peer=peer.host,
            protocol="hl7",
            received=now,
            verdict=Verdict.JUNK,
            reason=junk.reason,
            raw=junk.data,
        )
        await self._accept(reception)
        log.warning(
            "bytes outside any frame were kept",
            listener=self._context.name,
            reason=junk.reason,
            bytes=len(junk.data),
        )

    async def _oversize(self, head: bytes, size: int, peer: Peer) -> Sequence[bytes]:
        """A message above the limit: refused by its header; its beginning is kept."""
        now, limit = self._context.clock(), self._server.max_frame
        error = Refused(f"the message has {size} bytes, this listener takes {limit}")
        reception = refuse(
            head, error, self._reader.profile, message_id=message_id(now), now=now, peer=peer.host
        )
        return await self._accept(reception)


def tell(context: InboundContext, reception: Reception, stored: Stored) -> None:
    """Counts what was written, and logs what was refused."""
    reception = stored.refused or reception
    context.count(
        "broker_messages_received_total",
        {"source": reception.source, "verdict": "repeat" if stored.repeat else reception.verdict.value},
    )
    if not stored.repeat:
        count_flags(context, reception)
    if reception.verdict is Verdict.REJECTED:
        log.warning(
            "message refused",
            listener=reception.source,
            message=reception.message_id,
            answer=reception.answer_code,
            reason=reception.reason,
        )


def count_flags(context: InboundContext, reception: Reception) -> None:
    """Counts what was remarked of the text and the identifiers of a message or an object."""
    if {LETTERS_LOST, MOJIBAKE, REPAIRED} & {*reception.flags}:
        context.count("broker_messages_garbled_total", {"source": reception.source})
    for flag in reception.flags:
        if flag in FLAGS:
            context.count("broker_identifier_flags_total", {"flag": flag, "source": reception.source})


def _unavailable(reception: Reception, why: str) -> tuple[bytes, ...]:
    """AR, or CE in enhanced mode: the message cannot be kept. Nothing is acknowledged from memory.

    Never CA: it would say that the message was safely stored (HL7 v2.5.1 2.9.3.1).
    """
    if not reception.answer_code:
        return ()
    try:
        header: Header | None = Header.read(reception.raw)
    except RemoteProtocolError:
        header = None
    return acknowledge(
        header,
        ["CE" if code == "CR" else code for code in answers(header, "AR")],
        message_id=reception.message_id,
        now=reception.received,
        error=Refused(f"{why}; send again later"),
    )
