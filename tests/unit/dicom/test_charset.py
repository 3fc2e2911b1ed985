"""`broker.dicom.charset`: terms as senders write them, and the ladder of a peer's own terms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dicom import charset
from broker.errors import LocalProtocolError

NAME = "Ødegård^Åse"


@pytest.mark.parametrize("term", ["ISO_IR 6", "ISO_IR 100", "ISO_IR 192", "ISO_IR 101", "GB18030"])
def test_every_written_term_has_a_codec(term: str) -> None:
    assert charset.known(term)
    assert b"".join(c.encode(charset.codec(term)) for c in "A^b=1") == b"A^b=1"


def test_an_unknown_term_cannot_be_written() -> None:
    assert not charset.known("ISO 2022 IR 87")
    with pytest.raises(LocalProtocolError):
        charset.codec("ISO_IR 999")


@pytest.mark.parametrize(
    ("terms", "codecs"),
    [
        ((), ("ascii",)),
        (("",), ("ascii",)),
        (("ISO_IR 100",), ("latin_1",)),
        (("ISO-IR 100",), ("latin_1",)),
        (("iso_ir_100",), ("latin_1",)),
        (("ISO 2022 IR 100",), ("latin_1",)),
        (("UTF-8",), ("utf_8",)),
        (("ISO_IR 192 ",), ("utf_8",)),
        (("", "ISO 2022 IR 87"), ("ascii", "iso2022_jp")),
        (("ISO 2022 IR 87",), ("ascii", "iso2022_jp")),
        (("nonsense",), ("ascii",)),
    ],
)
def test_terms_are_read_however_they_are_spelt(terms: tuple[str, ...], codecs: tuple[str, ...]) -> None:
    assert charset.codecs(terms) == codecs


@pytest.mark.parametrize("declared", ["ascii", "latin_1", "utf_8"])
def test_utf_8_that_was_not_declared_is_read_where_it_can_be_seen(declared: str) -> None:
    decoded = charset.decode(NAME.encode("utf_8"), [declared])
    assert decoded == (NAME if declared != "latin_1" else NAME.encode("utf_8").decode("latin_1"))


def test_latin_1_that_was_not_declared_is_read() -> None:
    assert charset.decode(NAME.encode("latin_1"), ["ascii"]) == NAME
    assert charset.decode(NAME.encode("latin_1"), ["utf_8"]) == NAME


@given(st.binary())
def test_no_bytes_are_lost(raw: bytes) -> None:
    if b"\x1b" not in raw:
        assert "\ufffd" not in charset.decode(raw, ["ascii"]) or b"\xef\xbf\xbd" in raw


def test_japanese_with_code_extensions() -> None:
    """PS3.5 H.3.1, the first example."""
    raw = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
    assert charset.decode(raw, charset.codecs(("", "ISO 2022 IR 87")), person_name=True) == (
        "Yamada^Tarou=山田^太郎=やまだ^たろう"
    )


def test_the_first_term_that_shows_everything_is_chosen() -> None:
    ladder = ("ISO_IR 6", "ISO_IR 100", "ISO_IR 192")
    assert charset.choose(["Hansen"], ladder) == "ISO_IR 6"
    assert charset.choose(["Hansen", NAME], ladder) == "ISO_IR 100"
    assert charset.choose(["Hansen", NAME, "Čuđe"], ladder) == "ISO_IR 192"


def test_the_term_that_loses_least_is_chosen_when_none_shows_everything() -> None:
    assert charset.choose(["Čuđe"], ("ISO_IR 6", "ISO_IR 100")) == "ISO_IR 6"
    assert charset.choose(["Čuđe", NAME], ("ISO_IR 6", "ISO_IR 100")) == "ISO_IR 100"
    assert charset.choose(["Čuđe ï"], ("ISO_IR 100", "ISO_IR 110")) == "ISO_IR 110"
    assert charset.transliterate("Čuđe", "ISO_IR 100") == ("Cude", 2)
    assert charset.transliterate(NAME, "ISO_IR 6") == ("Oedegaard^Aase", 3)


def test_a_peer_without_a_term_is_a_bug() -> None:
    with pytest.raises(LocalProtocolError):
        charset.choose([], ())
