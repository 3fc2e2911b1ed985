"""Six fields read from an order: a bare split, ours, and hl7apy where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from broker.hl7.er7 import Message
from tests.bench.microseconds import best, microseconds
from tests.bench.stage import Stage, say
from tests.bench.table import Table, ratio
from tests.bench.targets import at_most
from tests.support.messages import Person, orm

PATHS = ("MSH-10", "PID-3.1", "PID-5.1", "ORC-3.1", "OBR-4.1", "OBR-18")

TEXT = """MSH-10, PID-3.1, PID-5.1, ORC-3.1, OBR-4.1 and OBR-18 of an ORM^O01, from its bytes to six texts; the best of
several rounds, in one process. A bare split knows the separators and the character set beforehand, minds no escape,
repetition or null, and does not look whether it is a message at all. Split on every level, it stands for what a parser
does that builds the whole message. hl7apy is set to tolerant."""

LIMIT = (
    "two thirds go to reading and judging the header, finding the character set and cutting into segments, a third to"
    " the six look-ups, which mind repetitions, components and escapes; the bare split minds none of it"
)


def measure(stage: Stage) -> Table:
    """Microseconds per message."""
    message = orm("O1", Person(number="600001", family="Sørby", given="Áile"), "000001")
    ways: dict[str, Callable[[bytes], list[str]]] = {
        "bare split into segments and fields": bare,
        "bare split into segments, fields, repetitions and components": bare_whole,
        "`broker.hl7.er7`": ours,
    }
    if find_spec("hl7apy") is not None:
        ways["hl7apy, tolerant"] = tolerant
    texts = ours(message)
    times = {}
    for name, way in ways.items():
        if way(message) != texts:
            raise RuntimeError(f"{name} read something else")
        times[name] = best(lambda way=way: way(message))  # type: ignore[misc]
        say(f"  {name}: {microseconds(times[name])}")
    first, whole, *_ = times.values()
    rows = [
        [name, microseconds(time), ratio(time, first), ratio(time, whole)] for name, time in times.items()
    ]
    columns = ("", "time", "/ bare split", "/ bare split of everything")
    target = at_most(
        "read six fields of an order / bare split", times["`broker.hl7.er7`"] / first, 2.0, LIMIT
    )
    return Table(title="Six fields of an order", text=TEXT, columns=columns, rows=rows, targets=[target])


def bare(message: bytes) -> list[str]:
    fields = {line[:3]: line.split("|") for line in message.decode().split("\r")}
    return [
        fields["MSH"][9],
        fields["PID"][3].split("^", 1)[0],
        fields["PID"][5].split("^", 1)[0],
        fields["ORC"][3].split("^", 1)[0],
        fields["OBR"][4].split("^", 1)[0],
        fields["OBR"][18],
    ]


def bare_whole(message: bytes) -> list[str]:
    parts = {
        line[:3]: [[part.split("^") for part in field.split("~")] for field in line.split("|")]
        for line in message.decode().split("\r")
    }
    pid, orc, obr = parts["PID"], parts["ORC"], parts["OBR"]
    return [parts["MSH"][9][0][0], pid[3][0][0], pid[5][0][0], orc[3][0][0], obr[4][0][0], obr[18][0][0]]


def ours(message: bytes) -> list[str]:
    read = Message.parse(message)
    return [read[path] for path in PATHS]


def tolerant(message: bytes) -> list[str]:
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.parser import parse_message

    read = parse_message(message.decode(), validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=False)
    return [
        read.msh.msh_10.value,
        read.pid.pid_3.pid_3_1.value,
        read.pid.pid_5.pid_5_1.value,
        read.orc.orc_3.orc_3_1.value,
        read.obr.obr_4.obr_4_1.value,
        read.obr.obr_18.value,
    ]
