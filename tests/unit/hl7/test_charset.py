from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Refused
from broker.hl7.charset import FALLBACK, MISMATCH, codec, decode, encode

NAMES = "Bjørn Ødegård Åse"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("8859/1", "iso8859-1"),
        ("8859/15", "iso8859-15"),
        ("ISO-8859-1", "iso8859-1"),
        ("ASCII", "ascii"),
        ("UNICODE UTF-8", "utf-8"),
        ("UTF-8", "utf-8"),
        ("utf8", "utf-8"),
        ("UNICODE", "utf-8"),
        ("ISO IR100", "iso8859-1"),
        ("ISO IR 87", "iso2022_jp_2"),
        ("GB 18030-2000", "gb18030"),
    ],
)
def test_names_of_table_0211_and_those_that_peers_use(name: str, expected: str) -> None:
    assert codec(name) == expected
    "".encode(expected)


@pytest.mark.parametrize("name", ["x", "8859/12", "UNICODE UTF-16", "KOI8-R"])
def test_an_unknown_name_is_refused_naming_msh_18(name: str) -> None:
    with pytest.raises(Refused) as caught:
        codec(name)

    assert (caught.value.ack_code, caught.value.error_code, str(caught.value.location)) == (
        "AE",
        "103",
        "MSH-18",
    )
    assert name not in str(caught.value)


@pytest.mark.parametrize(
    ("sent_in", "declared", "expected"),
    [
        ("utf-8", (), ("utf-8", ())),
        ("latin-1", (), ("iso8859-1", ())),
        ("latin-1", ("8859/1",), ("iso8859-1", ())),
        ("utf-8", ("UNICODE UTF-8",), ("utf-8", ())),
        ("utf-8", ("8859/1",), ("utf-8", (MISMATCH,))),
        ("utf-8", ("ASCII",), ("utf-8", (MISMATCH,))),
        ("latin-1", ("ASCII",), ("iso8859-1", (MISMATCH,))),
        ("utf-8", ('""',), ("utf-8", ())),
    ],
)
def test_what_is_declared_and_what_is_sent(
    sent_in: str, declared: tuple[str, ...], expected: tuple[str, tuple[str, ...]]
) -> None:
    raw = NAMES.encode(sent_in)

    found = decode(raw, declared, "8859/1")

    assert found == expected
    assert raw.decode(found[0]) == NAMES


def test_plain_ascii_is_read_as_the_listener_says() -> None:
    assert decode(b"abc", (), "8859/15") == ("iso8859-15", ())
    assert decode(b"abc", ("UNICODE UTF-8",), "8859/1") == ("utf-8", ())


def test_bytes_that_are_not_what_msh_18_says_are_refused_or_read_with_the_fallback() -> None:
    raw = NAMES.encode("latin-1")

    with pytest.raises(Refused, match="MSH-18") as caught:
        decode(raw, ("UNICODE UTF-8",), "8859/1")

    assert caught.value.ack_code == "AE"
    assert decode(raw, ("UNICODE UTF-8",), "8859/1", "8859/1") == ("iso8859-1", (FALLBACK,))


def test_japanese_code_extension_rules_whatever_stands_beside_it() -> None:
    raw = "MSH|山田".encode("iso2022_jp_2")

    assert decode(raw, ("", "ISO IR87"), "8859/1") == ("iso2022_jp_2", ())
    assert decode(raw, ("ASCII", "ISO IR87"), "8859/1") == ("iso2022_jp_2", ())


def test_what_a_codec_cannot_show_is_transliterated_and_counted() -> None:
    assert encode("Sámi č đ ŋ š ŧ ž", "iso8859-1") == ("Sámi c d n s t z".encode("latin-1"), 6)
    assert encode("Sámi č đ ŋ š ŧ ž", "iso8859-4") == ("Sámi č đ ŋ š ŧ ž".encode("iso8859-4"), 0)


@given(st.text(), st.sampled_from(["ascii", "iso8859-1", "iso8859-15", "utf-8"]))
def test_no_question_mark_is_ever_made(text: str, codec: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return  # lone surrogates are no text

    encoded, changed = encode(text, codec)

    assert encoded.decode(codec).count("?") <= text.count("?") + text.count("？")
    assert (changed == 0) == (encoded.decode(codec) == text)
