"""Command sets and messages: what pynetdicom understands, however it is cut; of other bytes only our own error."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_FIND_RSP, C_STORE_RSP, N_ACTION_RSP, N_CREATE_RSP, DIMSEMessage
from pynetdicom.pdu import P_DATA_TF

from broker.dicom import command
from broker.dicom.command import Command, Message, MessageReader
from broker.errors import RemoteProtocolError

CT = "1.2.840.10008.5.1.4.1.1.2"


class Kept:
    """A place for a data set."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: memoryview) -> None:
        self.content += bytes(data)


def request(field: int, **more: bytes) -> bytes:
    """A command set; `more` by `x` and the element in hexadecimal."""
    fields = {
        0x0002: command.uid(CT),
        0x0100: command.us(field),
        0x0110: command.us(7),
        0x0800: command.us(0x0101),
    }
    fields |= {int(name[1:], 16): value for name, value in more.items()}
    return command.encode(dict(sorted(fields.items())))


def pdv(content: bytes, control: int, context_id: int = 1) -> bytes:
    return struct.pack(">LBB", len(content) + 2, context_id, control) + content


def read(*bodies: bytes) -> list[Message]:
    reader = MessageReader(lambda context_id, request: Kept())
    return [message for body in bodies for message in reader.feed(memoryview(body))]


def by_pynetdicom(pdus: bytes) -> DIMSEMessage:
    """The message in P-DATA-TFs, read by another implementation."""
    found = DIMSEMessage()
    while pdus:
        end = 6 + struct.unpack_from(">xxL", pdus)[0]
        decoded = P_DATA_TF()
        decoded.decode(pdus[:end])
        found.decode_msg(decoded.to_primitive())
        pdus = pdus[end:]
    return found


def test_a_response_by_its_fields() -> None:
    report = Command.read(
        command.encode({0x0100: command.us(0x0100), 0x0110: command.us(9), 0x0800: command.us(0x0101)})
    )
    answer = Command.read(report.response(0x0110))

    assert (report.is_response, answer.is_response) == (False, True)
    assert (answer.message_id, answer.status, answer.field) == (9, 0x0110, 0x8100)
    with pytest.raises(RemoteProtocolError, match="0900"):
        Command.read(
            command.encode({0x0100: command.us(0x8100), 0x0120: command.us(9), 0x0800: command.us(0x0101)})
        )


def test_a_request_by_its_fields() -> None:
    store = Command.read(request(command.C_STORE, x0800=command.us(1), x1000=b"1.2.3\0"))
    assert (store.field, store.message_id, store.has_dataset) == (command.C_STORE, 7, True)
    assert (store.sop_class_uid, store.sop_instance_uid, store.type_id) == (CT, "1.2.3", 0)
    change = Command.read(request(command.N_SET, x0002=b"", x0003=b"1.2\0", x1001=b"1.4 "))
    assert (change.sop_class_uid, change.sop_instance_uid) == ("1.2", "1.4")
    assert Command.read(request(command.N_ACTION, x1008=command.us(2))).type_id == 2
    assert Command.read(request(command.N_EVENT_REPORT, x1002=command.us(1))).type_id == 1
    get = Command.read(request(command.N_GET, x1005=b"\x10\x00\x20\x00\x40\x00\x52\x02"))
    assert get.attributes == (0x00100020, 0x00400252)
    cancel = Command.read(request(command.C_CANCEL, x0120=command.us(9)))
    assert cancel.message_id == 9


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        request(command.C_ECHO)[:-1],
        request(command.C_ECHO, x0110=b""),
        request(command.C_ECHO, x0100=b"\1\0\0\0"),
        command.encode({0x0100: command.us(command.C_ECHO), 0x0110: command.us(1)}),
        b"\x08\x00" + request(command.C_ECHO)[2:],
        request(command.C_CANCEL),
    ],
)
def test_a_command_set_that_is_none(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Command.read(data)


@pytest.mark.parametrize(
    ("fields", "ask"),
    [
        ({"x0002": b"\xe6\xb8"}, lambda c: c.sop_class_uid),
        ({"x1005": b"\x10\x00\x20"}, lambda c: c.attributes),
        ({}, lambda c: c.type_id),
    ],
)
def test_a_value_that_is_not_of_its_form(fields: dict[str, bytes], ask: object) -> None:
    with pytest.raises(RemoteProtocolError):
        ask(Command.read(request(command.N_ACTION, **fields)))  # type: ignore[operator]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_set_or_our_error(data: bytes) -> None:
    try:
        fields = command.decode(data)
    except RemoteProtocolError:
        return
    assert sum(8 + len(value) for value in fields.values()) <= len(data)


@given(st.dictionaries(st.integers(1, 0xFFFF), st.binary(max_size=20).filter(lambda v: len(v) % 2 == 0)))
def test_what_is_encoded_is_decoded(fields: dict[int, bytes]) -> None:
    fields = dict(sorted(fields.items()))
    decoded = command.decode(command.encode(fields))
    length = decoded.pop(0)
    assert decoded == fields
    assert int.from_bytes(length, "little") == len(command.encode(fields)) - 12


@given(st.binary(max_size=60), st.integers(1, 70), st.integers(1, 70), st.booleans())
def test_a_message_is_read_however_it_is_cut(dataset: bytes, every: int, first: int, together: bool) -> None:
    raw = request(command.C_STORE, x0800=command.us(1), x1000=b"1.2.3\0")
    commands = [raw[start : start + first] for start in range(0, len(raw), first)]
    parts = [dataset[start : start + every] for start in range(0, len(dataset), every)] or [b""]
    bodies = [pdv(part, 1) for part in commands[:-1]] + [pdv(commands[-1], 3)]
    bodies += [pdv(part, 0) for part in parts[:-1]] + [pdv(parts[-1], 2)]
    [message] = read(b"".join(bodies)) if together else read(*bodies)
    assert message.command == Command.read(raw)
    assert isinstance(message.dataset, Kept)
    assert message.dataset.content == dataset


def test_messages_that_share_a_pdu() -> None:
    bodies = pdv(request(command.C_ECHO), 3) + pdv(request(command.C_ECHO, x0110=command.us(8)), 3, 5)
    assert [(m.context_id, m.command.message_id) for m in read(bodies)] == [(1, 7), (5, 8)]


@pytest.mark.parametrize(
    "bodies",
    [
        [pdv(b"data", 2)],
        [pdv(request(command.C_STORE, x0800=command.us(1)), 3), pdv(request(command.C_ECHO), 3)],
        [pdv(request(command.C_ECHO)[:20], 1), pdv(request(command.C_ECHO)[20:], 3, 5)],
        [pdv(bytes(20_000), 1), pdv(bytes(20_000), 1)],
        [b"\0\0\0\1\1"],
        [b"\0\0\0\1\1\3"],
        [b"\0\0\1\0\1\3data"],
        [b"\xff\xff\xff\xff\1\3data"],
    ],
)
def test_fragments_that_make_no_message(bodies: list[bytes]) -> None:
    with pytest.raises(RemoteProtocolError):
        read(*bodies)


@given(st.data())
def test_a_message_that_was_damaged_is_read_or_our_error(data: st.DataObject) -> None:
    whole = pdv(request(command.C_STORE, x0800=command.us(1), x1000=b"1.2.3\0"), 3) + pdv(b"x" * 10, 2)
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        read(bytes(damaged[:cut]))
    except RemoteProtocolError:
        return


@pytest.mark.parametrize(
    ("field", "kind", "more"),
    [
        (command.C_STORE, C_STORE_RSP, {"x1000": b"1.2.3\0"}),
        (command.C_FIND, C_FIND_RSP, {}),
        (command.N_CREATE, N_CREATE_RSP, {}),
        (command.N_ACTION, N_ACTION_RSP, {"x1008": command.us(1), "x0003": b"1.2\0", "x1001": b"1.4\0"}),
    ],
)
@pytest.mark.parametrize("max_length", [0, 16, 50, 131072])
def test_responses_are_what_pynetdicom_understands(
    field: int, kind: type[DIMSEMessage], more: dict[str, bytes], max_length: int
) -> None:
    response = Command.read(request(field, **more)).response(
        0x0110, has_dataset=True, comment="where Æ", error_id=0xA710, sop_instance_uid="1.2.9"
    )
    pdus = command.command_pdus(3, response, max_length) + command.dataset_pdus(3, b"d" * 101, max_length)
    found = by_pynetdicom(pdus)
    assert isinstance(found, kind)
    assert found.context_id == 3
    said = found.command_set
    assert (said.MessageIDBeingRespondedTo, said.Status, said.ErrorComment) == (7, 0x0110, "where ?")
    assert (said.ErrorID, said.AffectedSOPInstanceUID, said.AffectedSOPClassUID) == (0xA710, "1.2.9", CT)
    assert found.data_set.getvalue() == b"d" * 101


@given(st.integers(16, 200), st.binary(max_size=500))
def test_no_pdu_is_longer_than_the_peer_takes(max_length: int, dataset: bytes) -> None:
    pdus, lengths = command.dataset_pdus(1, dataset, max_length), []
    while pdus:
        lengths.append(struct.unpack_from(">xxL", pdus)[0])
        pdus = pdus[6 + lengths[-1] :]
    assert max(lengths) <= max_length
    assert all(length % 2 == 0 for length in lengths[:-1])
