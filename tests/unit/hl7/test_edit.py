from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import LocalProtocolError, UnmappableError
from broker.hl7.edit import Verbatim, blank, build, components, edit, escape, recode
from broker.hl7.er7 import Header, Message, Separators

ORM = (
    b"MSH|^~\\&|A|B|C|D|2026||ORM^O01|1|P|2.4||||||8859/1\r\n"
    b"PID|1||111^^^X&1.2&ISO~222||\xd8deg\xe5rd^Bj\xf8rn\n"
    b"PID |2||333||Dahl\r"
    b"ORC|NW|77^EPJ|||\r"
)


@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({"ORC-1": "SC"}, b"ORC|NW|", b"ORC|SC|"),
        ({"ORC-2": "8"}, b"77^EPJ", b"8"),
        ({"ORC-2.1": "8"}, b"77^EPJ", b"8^EPJ"),
        ({"ORC-2.2": ""}, b"77^EPJ", b"77^"),
        ({"ORC-2.4": "x"}, b"77^EPJ", b"77^EPJ^^x"),
        ({"ORC-2": Verbatim("8^RIS")}, b"77^EPJ", b"8^RIS"),
        ({"ORC-2": "8^RIS"}, b"77^EPJ", b"8\\S\\RIS"),
        ({"ORC-2": ("8", "9")}, b"77^EPJ", b"8~9"),
        ({"ORC-2.1": ("8", "9")}, b"77^EPJ", b"8^EPJ~9"),
        ({"ORC-7": "x"}, b"EPJ|||\r", b"EPJ|||||x\r"),
        ({"ORC-7.2.2": "x"}, b"EPJ|||\r", b"EPJ|||||^&x\r"),
        ({"ORC-7.2": ""}, b"EPJ|||\r", b"EPJ|||||\r"),
        ({"MSH-3": "Z"}, b"|A|B|", b"|Z|B|"),
        ({"PID-3": "9"}, b"111^^^X&1.2&ISO~222", b"9"),
        ({"PID-3(1)": "9"}, b"111^^^X&1.2&ISO~222", b"9~222"),
        ({"PID-3(2).4": "Y"}, b"~222", b"~222^^^Y"),
        ({"PID-3(4)": "9"}, b"~222", b"~222~~9"),
        ({"PID-3.4": "Y"}, b"X&1.2&ISO", b"Y"),
        ({"PID-3.4.2": "Y"}, b"X&1.2&ISO", b"X&Y&ISO"),
        ({"PID[2]-5": "Åse"}, b"Dahl", b"\xc5se"),
    ],
)
def test_an_edit_changes_its_place_and_nothing_else(changes: dict[str, str], old: bytes, new: bytes) -> None:
    assert ORM.count(old) == 1

    assert edit(ORM, changes) == ORM.replace(old, new)
    assert edit(Message.parse(ORM), changes) == ORM.replace(old, new)


def test_a_null_gives_way_to_a_component() -> None:
    raw = b'MSH|^~\\&|A\rPID|1||||""'

    assert edit(raw, {"PID-5.2": "Kari"}) == b"MSH|^~\\&|A\rPID|1||||^Kari"


def test_several_edits_are_made_in_order() -> None:
    assert edit(ORM, {"ORC-2": "8", "ORC-2.2": "RIS"}) == ORM.replace(b"77^EPJ", b"8^RIS")


def test_what_the_messages_character_set_cannot_show_is_transliterated_and_reported() -> None:
    lossy: list[str] = []

    written = edit(ORM, {"PID[2]-5": "Čáhci", "ORC-1": "ø"}, on_lossy=lossy.append)

    assert written == ORM.replace(b"Dahl", "Cáhci".encode("latin-1")).replace(b"NW", b"\xf8")
    assert lossy == ["PID[2]-5"]


def test_a_missing_segment_is_added_only_when_asked() -> None:
    with pytest.raises(UnmappableError, match="ZDS-1") as caught:
        edit(ORM, {"ZDS-1": "1.2"})
    assert str(caught.value.location) == "ZDS-1"

    assert edit(ORM, {"ZDS-1": "1.2", "ZDS[2]-2": "x"}, add=True) == ORM + b"ZDS|1.2\r\nZDS||x\r\n"
    assert edit(ORM.rstrip(), {"ZDS-1": "1.2"}, add=True) == ORM.rstrip() + b"\r\nZDS|1.2\r\n"
    with pytest.raises(UnmappableError):
        edit(ORM, {"ZDS[2]-1": "1.2"}, add=True)


@pytest.mark.parametrize("path", ["MSH-1", "MSH-2", "MSH-18"])
def test_what_says_how_the_message_is_written_is_not_edited(path: str) -> None:
    with pytest.raises(LocalProtocolError, match=path):
        edit(ORM, {path: "x"})


def test_the_messages_own_separators_are_used() -> None:
    raw = b"MSH#!@%*#A\rPID#1##x\r"

    assert edit(raw, {"PID-3": ("a!b", "c"), "PID-4.2": "%#"}) == b"MSH#!@%*#A\rPID#1##a%S%b@c#!%E%%F%\r"


def test_without_an_escape_character_separators_in_values_become_blanks() -> None:
    assert edit(b"MSH|^~&|A\rPID|1", {"PID-2": "a&b|c\\d"}) == b"MSH|^~&|A\rPID|1|a b c\\d"


def test_blanking_takes_every_occurrence_and_repetition() -> None:
    raw = ORM + b"NK1|1|Dahl\rOBX|1\rNK1|2|Berg"

    written = blank(raw, ["PID-3.1", "PID-5", "PV1-3", "ORC-99"], ["NK1", "GT1"])

    expected = raw.replace(b"111^", b"^").replace(b"~222", b"~").replace(b"333", b"").replace(b"Dahl", b"")
    expected = (
        expected.replace(b"\xd8deg\xe5rd^Bj\xf8rn", b"").replace(b"NK1|1|\r", b"").replace(b"NK1|2|Berg", b"")
    )
    assert written == expected


def test_blanking_one_occurrence_or_repetition() -> None:
    assert blank(ORM, ["PID[2]-3"]) == ORM.replace(b"333", b"")
    assert blank(ORM, ["PID-3(2)"]) == ORM.replace(b"~222", b"~")


def test_recoding() -> None:
    utf8 = recode(ORM, "UNICODE UTF-8")

    assert utf8 == ORM.replace(b"8859/1", b"UNICODE UTF-8").decode("latin-1").encode("utf-8")
    assert recode(utf8, "8859/1") == ORM
    assert recode(b"\xef\xbb\xbfMSH|^~\\&|\xc3\xb8\r", "ASCII") == b"MSH|^~\\&|oe" + b"|" * 15 + b"ASCII\r"


def test_building_a_message() -> None:
    written = build(
        [
            ("MSH", {3: "BROKER", 7: "20261101", 9: components("ORM", "O01", "ORM_O01"), 10: "1", 11: "P"}),
            (
                "PID",
                {3: (components("1", "", "", "STO"), Verbatim("2^^^NOR")), "5.1": "Ødegård", "5.2": "A&B"},
            ),
            ("ORC", {1: "SC", 5: "CM"}),
        ],
    )

    assert written.decode() == (
        "MSH|^~\\&|BROKER||||20261101||ORM^O01^ORM_O01|1|P|2.5.1||||||UNICODE UTF-8\r"
        "PID|||1^^^STO~2^^^NOR||Ødegård^A\\T\\B\r"
        "ORC|SC||||CM\r"
    )


@pytest.mark.parametrize("segments", [[], [("PID", {})], [("MSH", {}), ("pid", {})]])
def test_what_is_no_message_is_not_built(segments: list[tuple[str, dict[int | str, str]]]) -> None:
    with pytest.raises(LocalProtocolError):
        build(segments)


def test_components_leave_no_trailing_separators() -> None:
    assert components("a", "", "b^c", "") == "a^^b\\S\\c"


def test_controls_are_escaped_so_that_no_value_can_break_a_frame() -> None:
    assert escape("a\x0bb\x1c\rc\nd\r\ne\tf") == "a\\X0B\\b\\X1C\\\\X0D\\c\\.br\\d\\.br\\e\tf"
    assert escape("a|b", Separators(escape="")) == "a b"


fields = st.text(st.sampled_from('ab^~&\\|"ø'), max_size=10).map(lambda text: text.replace("|", ""))


@given(
    st.lists(fields, min_size=5, max_size=8),
    st.integers(1, 9),
    st.one_of(st.none(), st.integers(1, 3)),
    st.one_of(st.none(), st.integers(1, 3)),
    st.text(st.characters(codec="latin-1", exclude_characters="\r"), max_size=8),
)
def test_what_was_set_is_read_back_and_the_other_fields_stand(
    before: list[str], field: int, repetition: int | None, component: int | None, value: str
) -> None:
    raw = ("MSH|^~\\&|A|||||||||||||||8859/1\rZZZ|" + "|".join(before) + "\rZZZ|x").encode("latin-1")
    path = f"ZZZ-{field}" + (f"({repetition})" if repetition else "") + (f".{component}" if component else "")

    def read(raw: bytes) -> Message:
        return Message(
            raw, Header.read(raw), "iso8859-1"
        )  # else some of these texts would be taken for UTF-8

    message = read(edit(read(raw), {path: value}))

    if value != '""':
        assert message[path] == value or (component and message.text(path) == "" == value)
    assert [message.text(f"ZZZ-{n}") for n in range(1, len(before) + 1) if n != field] == [
        text for n, text in enumerate(before, 1) if n != field
    ]
    assert message["ZZZ[2]-1"] == "x"
