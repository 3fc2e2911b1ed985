"""`broker.text`: what a person reads when a letter cannot be shown, and what a search must not depend on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.text import UNSHOWABLE, encodable, fold, mojibake, nfc, transliterate, unmojibake
from tests.support.shared import REPOSITORY


@pytest.mark.parametrize(
    ("text", "codec", "shown", "changed"),
    [
        ("Åse", "ascii", "Aase", 1),
        ("ÅS", "ascii", "AAS", 1),
        ("ÆRØ", "ascii", "AEROE", 2),
        ("Ærø", "ascii", "Aeroe", 2),
        ("Åse Ærø", "latin_1", "Åse Ærø", 0),
        ("Łukasz Čuđe", "latin_1", "Lukasz Cude", 3),
        ("Đorđe Žižek", "ascii", "Dorde Zizek", 4),
        ("Юлия Щукина", "latin_1", "Julija Sjtsjukina", 10),
        ("Γιώργος", "latin_1", "Giorgos", 7),
        ("“Kari” – O’Neil", "latin_1", '"Kari" - O\'Neil', 4),
        ("A\u030ase", "latin_1", "Åse", 0),
        ("山田", "latin_1", UNSHOWABLE * 2, 2),
    ],
)
def test_what_cannot_be_shown_is_written_as_its_reader_would(
    text: str, codec: str, shown: str, changed: int
) -> None:
    assert transliterate(text, codec) == (shown, changed)


@given(st.text(), st.sampled_from(["ascii", "latin_1", "iso8859_2", "utf_8", "iso_ir_144", "shift_jis"]))
def test_every_text_becomes_encodable_and_never_gains_a_question_mark(text: str, codec: str) -> None:
    shown, changed = transliterate(text, codec)
    if all(not 0xD800 <= ord(char) <= 0xDFFF for char in text) or codec != "utf_8":
        assert encodable(shown, codec)
    assert shown.count("?") <= text.count("?")
    assert changed or shown == text or not encodable(text, codec)


@pytest.mark.parametrize(
    ("one", "other"),
    [("ØSTBY", "ostby"), ("Åsen", "asen"), ("Müller", "MULLER"), ("Đurić", "duric"), ("Ærlig", "aerlig")],
)
def test_folded_texts_differ_neither_in_case_nor_accents(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert fold(fold(text)) == fold(text)


NAMES = {
    "Norwegian": "Ærø Åse Bjørn",
    "Northern Sámi": "Áile Čohkka Đivttas Eŋggá Šokšu Ŧuovli Žuvva",
    "Lule Sámi": "Åŋar Ńiv",
    "Southern Sámi": "Gïelese Jïvteven",
    "Kven": "Šeikka Žorža",
    "Skolt Sámi": "Ǩeʹrjj Ǯiõmâš Ǧeđǧǧ Ʒuõǥǥ",
}
WHOLE = {
    "latin_1": {"Norwegian", "Southern Sámi"},
    "iso8859_4": {"Norwegian", "Northern Sámi", "Kven"},
    "iso8859_15": {"Norwegian", "Southern Sámi", "Kven"},
    "utf_8": set(NAMES),
    "ascii": set(),
}
"""Codec to the names that it shows, as the standards' tables have it."""


@pytest.mark.parametrize("codec", WHOLE)
@pytest.mark.parametrize("language", NAMES)
def test_every_name_of_the_region_goes_into_every_set_and_back(language: str, codec: str) -> None:
    name = NAMES[language]
    shown, changed = transliterate(name, codec)

    assert (changed == 0) == (language in WHOLE[codec])
    assert changed or shown == name
    assert shown.encode(codec).decode(codec) == shown
    assert not set(shown) & {"?", UNSHOWABLE}
    assert len(shown) >= len(name), "nothing is left out"


@given(st.text(st.characters(codec="utf-8")), st.sampled_from(sorted(WHOLE)))
def test_a_set_that_has_all_letters_loses_none(text: str, codec: str) -> None:
    shown, changed = transliterate(text, codec)

    assert encodable(shown, codec)
    assert changed or nfc(shown) == nfc(text)
    if encodable(text, codec):
        assert (shown, changed) == (text, 0)


@pytest.mark.parametrize(
    ("char", "codec", "shown"), [("ǻ", "latin_1", "å"), ("ǻ", "ascii", "aa"), ("Ǽ", "ascii", "AE")]
)
def test_a_letter_loses_one_mark_after_the_other(char: str, codec: str, shown: str) -> None:
    assert transliterate(char, codec) == (shown, 1)


def test_the_page_says_what_the_code_does() -> None:
    page = (REPOSITORY / "docs" / "charsets.md").read_text(encoding="utf-8")
    table = page.partition("| letter | instead |")[2].partition("\n\n")[0]
    cells = [cell.strip() for line in table.splitlines()[2:] for cell in line.strip("|").split("|")]
    pairs = dict(zip(cells[::2], cells[1::2], strict=True))

    assert len(pairs) == 27
    assert {letter: transliterate(letter, "ascii")[0] for letter in pairs} == pairs


@pytest.mark.parametrize("letter", "æøåÆØÅáčđŋšŧžÁČĐŊŠŽńïöäé")
@pytest.mark.parametrize("codec", ["latin-1", "cp1252"])
def test_utf_8_read_as_latin_1_is_seen_and_goes_back(letter: str, codec: str) -> None:
    try:
        garbled = f"Bj{letter}rn".encode().decode(codec)
    except UnicodeDecodeError:
        return  # Windows-1252 has no letter for that byte: its reader would have refused it

    assert mojibake(garbled)
    assert unmojibake(garbled) == f"Bj{letter}rn"
    assert not mojibake(f"Bj{letter}rn")


@given(st.text(st.characters(codec="latin-1", exclude_characters="ÃÄÅÆÇÈÉ")))
def test_latin_1_without_its_leading_letters_is_no_mojibake(text: str) -> None:
    assert not mojibake(text)
