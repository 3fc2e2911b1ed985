"""Every HL7 file of the shared data goes over a real socket into a running broker, and is answered by rule.

What each is answered stands in `tests/golden/shared_hl7.tsv`: our answers only, nothing of the files' own text.
UPDATE_GOLDEN=1 writes it anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.golden import FOLDER
from tests.support.mllp import FS_CR, MllpClient, framed
from tests.support.peers_table import summary
from tests.support.shared import shared_files, shared_folder

pytestmark = pytest.mark.integration

TABLE = FOLDER / "shared_hl7.tsv"
HEADERS = (b"MSH", b"FHS", b"BHS")
BOM = b"\xef\xbb\xbf"
FILES = [path for path in shared_files("hl7/**/*") if path.suffix in (".hl7", ".mllp")]
LISTENERS = {"ADT": "pas", "ORM": "orders", "OMG": "orders", "OMI": "orders", "ORU": "results"}
SENTINEL = b"MSH|^~\\&|SENTINEL||||20260309||ZZZ^Z99|{number}|P|2.5\r"
"""Sent behind every message: answered AR, by every listener. What comes before its answer is the message's own."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One file, where it went, and what came back before the sentinel's answer."""

    name: str
    listener: str
    content: bytes
    answers: tuple[bytes, ...]

    @property
    def taken_apart(self) -> bool:
        """Whether it was a batch and is answered by one."""
        return bool(self.answers) and self.answers[0].startswith((b"FHS", b"BHS"))

    @property
    def receptions(self) -> int:
        """What the journal holds of it: of a batch its envelope and each member."""
        return 1 + len(_messages(self.content)) if self.taken_apart else 1

    @property
    def described(self) -> str:
        """`AA`, `CA AA`, `AR 201 MSH-9.2`, `none (MSH-15 NE)`; of a batch one for each member: `AA / AE 102 PID-7`."""
        if not self.answers:
            return f"none ({_why_none(self.content)})"
        if self.taken_apart:
            members = _messages(self.answers[0])
            return " / ".join(" ".join([_field(ack, b"MSA", 1).decode(), *_error(ack)]) for ack in members)
        codes = [_field(answer, b"MSA", 1).decode() for answer in self.answers]
        return " ".join([*codes, *_error(self.answers[-1])])


def test_every_file_is_answered_and_none_is_lost(start_broker: Any) -> None:
    broker: Broker = start_broker()
    sent = list(_send_all(broker))

    # None hung and none closed its connection, or `_send_all` had not come so far. None is lost:
    received = broker.command_json("status")["received"]
    kept = sum(row["messages"] for row in received if row["source"] in LISTENERS.values())
    assert kept == sum(1 + one.receptions for one in sent) - _repeats(broker)
    assert not [row for row in received if row["verdict"] == "junk"]

    _compare(sent)
    silent = [one for one in sent if not one.answers]
    assert all(_may_be_silent(one.content) for one in silent), [one.name for one in silent]
    for one in sent:
        if one.taken_apart:
            (answer,) = one.answers
            asked = [_field(message, b"MSH", 10) for message in _messages(one.content)]
            assert [_field(ack, b"MSA", 2) for ack in _messages(answer)] == asked, one.name
            continue
        for answer in one.answers:
            assert _field(answer, b"MSA", 2) == _control_id(one.content), one.name
    _no_value_of_theirs_in_what_we_say(sent)


def test_the_table_beside_the_peers_knows_every_answer() -> None:
    told = summary()

    assert f"| all | {len(FILES)} |" in told


def _send_all(broker: Broker) -> Iterator[Sent]:
    """All files, in one connection for each listener."""
    clients = {"pas": broker.pas(), "orders": broker.orders(), "results": broker.results()}
    try:
        for number, path in enumerate(FILES):
            content = _content(path)
            listener = _listener(path, content)
            sentinel = SENTINEL.replace(b"{number}", b"S%d" % number)
            raw = path.read_bytes() if path.suffix == ".mllp" else framed(content)
            clients[listener].send_raw(raw + framed(sentinel))
            answers = list(_until(clients[listener], b"S%d" % number))
            name = path.relative_to(shared_folder()).as_posix()
            yield Sent(name, listener, content, tuple(answers))
    finally:
        for client in clients.values():
            client.close()


def _control_id(content: bytes) -> bytes:
    """MSH-10; of a batch BHS-11 or FHS-11."""
    name = content.removeprefix(BOM).lstrip()[:3]
    return _field(content, name, 10 if name == b"MSH" else 11) if name in HEADERS else b""


def _messages(content: bytes) -> list[bytes]:
    """Each from its MSH on; what stands before the first is left out."""
    content = b"\r" + content.removeprefix(BOM).replace(b"\n", b"\r")
    return [b"MSH" + rest for rest in content.split(b"\rMSH")[1:]]


def _until(client: MllpClient, control_id: bytes) -> Iterator[bytes]:
    while _field(answer := client.receive(), b"MSA", 2) != control_id:
        yield answer


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    return raw[1 : raw.index(FS_CR)] if path.suffix == ".mllp" else raw


def _listener(path: Path, content: bytes) -> str:
    """By the type that MSH-9 names, else by the folder."""
    kind = _field(content, b"MSH", 9).decode("latin-1")
    by_folder = {"orders": "orders", "results": "results"}.get(path.parent.name, "pas")
    return LISTENERS.get(kind[:3], by_folder)


def _repeats(broker: Broker) -> int:
    """Messages that came before, byte for byte: answered from the store, written once."""
    _, page = broker.http("/metrics")
    lines = page.decode().splitlines()
    found = [
        line for line in lines if line.startswith("broker_messages_received_total{") and '"repeat"' in line
    ]
    return sum(int(float(line.rpartition(" ")[2])) for line in found)


def _may_be_silent(content: bytes) -> bool:
    return _why_none(content) != "?"


def _why_none(content: bytes) -> str:
    if _field(content, b"MSH", 9).startswith((b"ACK", b"MCF")):
        return "an acknowledgement"
    for number in (15, 16):
        if _field(content, b"MSH", number) == b"NE":
            return f"MSH-{number} NE"
    return "?"


def _field(message: bytes, segment: bytes, number: int) -> bytes:
    """A field of the first such segment by HL7's numbering, whatever the separators; empty when there is none."""
    lines = message.removeprefix(BOM).lstrip().replace(b"\n", b"\r").split(b"\r")
    for line in lines:
        if line.startswith(segment):
            fields = line.split(lines[0][3:4])
            index = number - (segment in HEADERS)
            return fields[index].strip() if index < len(fields) else b""
    return b""


def _error(answer: bytes) -> list[str]:
    """Code and place of ERR, in the form of either version; nothing where there is none."""
    component = _field(answer, b"MSH", 2)[:1]
    if place := _field(answer, b"ERR", 2):
        return [_field(answer, b"ERR", 3).split(component)[0].decode(), _place(place.split(component))]
    *parts, condition = _field(answer, b"ERR", 1).split(component)
    if parts and (code := re.match(rb"\d+", condition)):
        return [code[0].decode(), _place(parts)]
    return condition.decode().split()[::-1]  # HL7 v2.1: text


def _place(parts: list[bytes]) -> str:
    segment, sequence, number, repetition, part = [*(text.decode() for text in parts), "", "", "", ""][:5]
    text = segment if sequence in ("", "1") else f"{segment}[{sequence}]"
    text += f"-{number}" if number else ""
    text += f"({repetition})" if repetition not in ("", "1") else ""
    return text + (f".{part}" if part else "")


def _compare(sent: list[Sent]) -> None:
    rows = ["file\tlistener\tanswer", *(f"{one.name}\t{one.listener}\t{one.described}" for one in sent)]
    actual = "\n".join(sorted(rows[1:]))
    if os.environ.get("UPDATE_GOLDEN"):
        TABLE.write_text(f"{rows[0]}\n{actual}\n", encoding="utf-8")
        return
    assert f"{rows[0]}\n{actual}\n" == TABLE.read_text(encoding="utf-8"), "UPDATE_GOLDEN=1 writes it anew"


def _no_value_of_theirs_in_what_we_say(sent: list[Sent]) -> None:
    """MSA-3 and ERR name places. Only MSH and MSA-2 echo the sender's own header."""
    for one in sent:
        words = _field(one.content, b"PID", 5).replace(b"~", b"^").split(b"^")
        own = {_field(message, b"MSH", 10) for message in _messages(one.content)}
        names = {word for word in words if len(word) > 3} - own
        for answer in one.answers:
            said = b"\r".join(line for line in answer.split(b"\r") if not line.startswith(HEADERS))
            assert not [word for word in names if word in said], one.name
