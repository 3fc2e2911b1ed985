"""What an inbound adapter must keep, tried on its reader and its listener: what is broken comes out as texts.

No check stands here (`conformance`): these are the trials behind them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from broker.adapter import (
    InboundContext,
    InboundSpec,
    ListenerPlace,
    Reader,
    Reception,
    Stored,
    Verdict,
    WorklistRow,
)
from broker.event import EVENT_TYPES
from broker.hl7.er7 import Message
from broker.testing.samples import CONTACT, HL7, MARK, MESSAGE_ID, NOW
from broker.testing.unless import unless


def inputs(samples: Iterable[bytes]) -> Iterator[bytes]:
    """Samples whole, cut short, with other letters and other ends; and bytes that are nothing at all."""
    chance = random.Random(0)
    yield from (
        b"",
        b"\0",
        b"\r\n",
        b"MSH",
        b"MSH|",
        b"MSH|^~\\&|",
        b"\xef\xbb\xbfMSH|^~\\&",
        b"{}",
        b"<?xml?>",
    )
    for length in (1, 100, 5000):
        yield chance.randbytes(length)
    for sample in samples:
        yield sample
        yield from (sample[: len(sample) * part // 9] for part in range(1, 9))
        yield sample.replace(b"UNICODE UTF-8", b"KLINGON")
        yield sample.replace(b"UNICODE UTF-8", b"ASCII")
        yield sample.replace(MARK.encode(), b"\xff\xfe")
        yield sample.replace(b"\r", b"\n")
        yield sample + sample
        yield b"BHS|^~\\&|\r" + sample


def judges(reader: Reader, inputs: Iterable[bytes]) -> Iterator[str]:
    for raw in inputs:
        found = _receive(reader, raw)
        what = f"an input of {len(raw)} bytes"
        yield from unless(found.raw == raw or bool(found.blob), f"{what}: the bytes are not kept")
        yield from unless(
            (found.verdict is Verdict.ACCEPTED) == bool(found.events), f"{what}: events and verdict differ"
        )
        yield from unless(
            found.verdict is Verdict.ACCEPTED or bool(found.reason), f"{what}: not taken, and no reason"
        )
        yield from unless(
            found.verdict is not Verdict.REJECTED or bool(found.answer_code), f"{what}: refused in silence"
        )
        yield from unless(not found.answers or bool(found.answer_code), f"{what}: answered without a code")


def is_pure(
    read: Callable[[Any, ListenerPlace], Reader], config: Any, place: ListenerPlace, inputs: Iterable[bytes]
) -> Iterator[str]:
    first, second = read(config, place), read(config, place)
    for raw in inputs:
        yield from unless(
            _receive(first, raw) == _receive(second, raw),
            f"an input of {len(raw)} bytes is judged in two ways",
        )


def makes(spec: InboundSpec[Any], reader: Reader, inputs: Iterable[bytes]) -> Iterator[str]:
    """No event comes of a message that the spec does not announce; a spec that announces nothing keeps this."""
    unknown = [event for event in spec.events if event not in EVENT_TYPES]
    yield from unless(not unknown, f"makes: no event is called {', '.join(unknown)}")
    for raw in inputs if spec.makes is not None else ():
        reception = _receive(reader, raw)
        announced = (spec.makes or {}).get(reception.message_type, ())
        for event in reception.events:
            yield from unless(
                event.type in announced, f"makes {event.type} of {reception.message_type}, unannounced"
            )


def tells_nothing(reader: Reader) -> Iterator[str]:
    """Every field of every sample is spoilt in turn: what is said of it may name the place only."""
    for sample in HL7:
        lines = sample.decode().split("\r")
        for number, line in enumerate(lines):
            fields = line.split("|")
            for field in range(2 if line.startswith("MSH") else 1, len(fields)):
                spoilt = "|".join([*fields[:field], MARK, *fields[field + 1 :]])
                raw = "\r".join([*lines[:number], spoilt, *lines[number + 1 :]]).encode()
                found = _receive(reader, raw)
                told = [found.reason, found.answer_code, *found.flags, *map(_said, found.answers)]
                place = f"{line[:3]}-{field + (line[:3] == 'MSH')}"
                yield from unless(
                    not any(MARK in text or CONTACT in text for text in told), f"a value at {place} is told"
                )


def _said(answer: bytes) -> str:
    """What an answer says of itself: without MSH and MSA-2, where the sender's own header is echoed."""
    message = Message.parse(answer)
    texts = [text for segment in message if segment.name not in ("MSH", "MSA") for text in segment.fields]
    return "|".join([*texts, message["MSA-1"], message["MSA-3"]])


def _receive(reader: Reader, raw: bytes) -> Reception:
    return reader.receive(raw, message_id=MESSAGE_ID, now=NOW, peer="192.0.2.1")


def lives(spec: InboundSpec[Any], config: Any, place: ListenerPlace, data: Path) -> Iterator[str]:
    services: list[object] = []
    context = InboundContext(
        name=place.name,
        site=place.site,
        bind="127.0.0.1",
        config_folder=place.config_folder,
        spool=data,
        intake=_Intake(),
        worklist=_NoRows(),
        clock=lambda: NOW,
        register_dicom=services.append,
        known_aets=frozenset(),
        count=lambda _name, _labels: None,
    )

    async def live() -> bool:
        listener = spec.factory(config, context)
        await listener.start()
        try:
            return bool(listener.addresses or services)
        finally:
            await listener.stop()
            await listener.stop()

    yield from unless(asyncio.run(live()), "it neither listens nor registers a DICOM service")


class _Intake:
    """Takes everything (`broker.adapter.Intake`)."""

    async def accept(self, reception: Reception) -> Stored:
        return self.accept_blocking(reception)

    async def accept_all(self, receptions: Sequence[Reception]) -> list[Stored]:
        return [self.accept_blocking(reception) for reception in receptions]

    def accept_blocking(self, reception: Reception) -> Stored:
        return Stored(answers=reception.answers, answer_code=reception.answer_code)


class _NoRows:
    """An empty worklist (`broker.adapter.WorklistReader`)."""

    def candidates(self, **_: Any) -> Iterable[WorklistRow]:
        return ()
